"""A causal depthwise convolution with SiLU in Triton, forward and backward.

    pre_l = bias + sum_{t < T} weight_t x_{l - T + 1 + t},   y_l = silu(pre_l)      for each channel alone

The backward pass computes `pre` anew instead of keeping it: at four taps that costs less than the memory traffic.
Each program owns a block of positions and channels, and writes one part of the weight's gradient; the parts are summed
in fixed order. Not covered: an initial state, other activations, second derivatives.
"""

from typing import Any

import torch
import triton
import triton.language as tl
from torch import Tensor

from aira_kernels.fused.launch import accumulator, last_axis_dense, power_of_two, triton_type

_BLOCK_L = 32
_BLOCK_E = 64


@triton.jit
def convolved(
    x_channel, weight_ptr, bias, position, channel, length, channels, x_stride_l,
    TAPS: tl.constexpr, ACC: tl.constexpr,
):  # fmt: skip
    """The convolution before SiLU at `position` (a column) and `channel` (a row)."""
    pre = tl.zeros_like(position * channel).to(ACC) + bias[None, :]
    for tap in tl.static_range(TAPS):
        source = position - (TAPS - 1) + tap
        there = (source >= 0) & (source < length) & (channel < channels)
        x = tl.load(x_channel + source * x_stride_l, mask=there, other=0.0).to(ACC)
        pre += x * tl.load(weight_ptr + tap * channels + channel, mask=channel < channels, other=0.0).to(ACC)
    return pre


@triton.jit
def convolve(
    x_ptr, weight_ptr, bias_ptr, y_ptr, length, channels, x_stride_b, x_stride_l,
    TAPS: tl.constexpr, BLOCK_L: tl.constexpr, BLOCK_E: tl.constexpr, ACC: tl.constexpr,
):  # fmt: skip
    """y of shape (B, L, E), contiguous. One program a block of positions and channels of a sequence."""
    blocks_e, blocks_l = tl.cdiv(channels, BLOCK_E), tl.cdiv(length, BLOCK_L)
    place = tl.program_id(0)
    batch = (place // (blocks_e * blocks_l)).to(tl.int64)
    position = ((place // blocks_e) % blocks_l * BLOCK_L + tl.arange(0, BLOCK_L))[:, None].to(tl.int64)
    channel = ((place % blocks_e) * BLOCK_E + tl.arange(0, BLOCK_E))[None, :]
    flat = (place % blocks_e) * BLOCK_E + tl.arange(0, BLOCK_E)
    bias = tl.load(bias_ptr + flat, mask=flat < channels, other=0.0).to(ACC)
    x_channel = x_ptr + batch * x_stride_b + channel
    pre = convolved(x_channel, weight_ptr, bias, position, channel, length, channels, x_stride_l, TAPS, ACC)
    there = (position < length) & (channel < channels)
    tl.store(y_ptr + (batch * length + position) * channels + channel, pre / (1.0 + tl.exp(-pre)), mask=there)


@triton.jit
def convolve_backward(
    grad_ptr, x_ptr, weight_ptr, bias_ptr, dx_ptr, parts_ptr, length, channels, x_stride_b, x_stride_l,
    TAPS: tl.constexpr, BLOCK_L: tl.constexpr, BLOCK_E: tl.constexpr, ACC: tl.constexpr,
):  # fmt: skip
    """dx of shape (B, L, E), contiguous, and parts (B x blocks of positions, T + 1, E): the taps' gradients, the bias's."""
    blocks_e, blocks_l = tl.cdiv(channels, BLOCK_E), tl.cdiv(length, BLOCK_L)
    place = tl.program_id(0)
    sequence_block = place // blocks_e
    batch = (sequence_block // blocks_l).to(tl.int64)
    position = (sequence_block % blocks_l * BLOCK_L + tl.arange(0, BLOCK_L))[:, None].to(tl.int64)
    flat = (place % blocks_e) * BLOCK_E + tl.arange(0, BLOCK_E)
    channel = flat[None, :]
    bias = tl.load(bias_ptr + flat, mask=flat < channels, other=0.0).to(ACC)
    x_channel = x_ptr + batch * x_stride_b + channel
    part = parts_ptr + sequence_block.to(tl.int64) * (TAPS + 1) * channels + flat
    dx = tl.zeros((BLOCK_L, BLOCK_E), dtype=ACC)
    for ahead in tl.static_range(TAPS):
        # Position l reaches the outputs l .. l + T - 1, the last of them through the first tap.
        reached = position + ahead
        pre = convolved(x_channel, weight_ptr, bias, reached, channel, length, channels, x_stride_l, TAPS, ACC)
        sigmoid = 1.0 / (1.0 + tl.exp(-pre))
        there = (reached < length) & (channel < channels)
        grad = tl.load(grad_ptr + (batch * length + reached) * channels + channel, mask=there, other=0.0).to(ACC)
        dpre = grad * sigmoid * (1.0 + pre * (1.0 - sigmoid))
        weight_at = weight_ptr + (TAPS - 1 - ahead) * channels + channel
        dx += dpre * tl.load(weight_at, mask=channel < channels, other=0.0).to(ACC)
        if ahead == 0:
            tl.store(part + TAPS * channels, tl.sum(dpre, axis=0), mask=flat < channels)
            for tap in tl.static_range(TAPS):
                source = position - (TAPS - 1) + tap
                source_there = (source >= 0) & (source < length) & (channel < channels)
                x = tl.load(x_channel + source * x_stride_l, mask=source_there, other=0.0).to(ACC)
                tl.store(part + tap * channels, tl.sum(dpre * x, axis=0), mask=flat < channels)
    there = (position < length) & (channel < channels)
    tl.store(dx_ptr + (batch * length + position) * channels + channel, dx, mask=there)


def causal_convolution_silu(x_BLE: Tensor, weight_TE: Tensor, bias_E: Tensor) -> Tensor:
    """Convolve each channel with its own taps and apply SiLU.

    Args:
        x_BLE: any strides over the first two axes.
        weight_TE: the last tap reads the present position.
        bias_E: added before SiLU.

    Returns:
        As x in shape and type, contiguous.

    Raises:
        ValueError: shapes that do not fit together.
        TypeError: types other than the four float types.
    """
    if x_BLE.dim() != 3 or weight_TE.shape[1:] != x_BLE.shape[2:] or bias_E.shape != x_BLE.shape[2:]:
        shapes = [[*part.shape] for part in (x_BLE, weight_TE, bias_E)]
        raise ValueError(f"x {shapes[0]}, weight {shapes[1]} and bias {shapes[2]} do not fit (B, L, E), (T, E), (E)")
    if x_BLE.numel() == 0 or len(weight_TE) == 0:
        raise ValueError(f"expected at least one position and one tap, got {[*x_BLE.shape]} and {[*weight_TE.shape]}")
    y: Tensor = _forward(x_BLE, weight_TE, bias_E)
    return y


def _blocks(length: int, channels: int) -> tuple[int, int]:
    return power_of_two(length, at_most=_BLOCK_L), power_of_two(channels, at_most=_BLOCK_E)


@torch.library.custom_op("aira_kernels::causal_convolution_silu", mutates_args=())
def _forward(x: Tensor, weight: Tensor, bias: Tensor) -> Tensor:
    x, weight, bias = last_axis_dense(x), weight.contiguous(), bias.contiguous()
    batch, length, channels = x.shape
    block_l, block_e = _blocks(length, channels)
    y = torch.empty(x.shape, dtype=x.dtype, device=x.device)
    convolve[(batch * triton.cdiv(length, block_l) * triton.cdiv(channels, block_e),)](
        x, weight, bias, y, length, channels, x.stride(0), x.stride(1),
        TAPS=len(weight), BLOCK_L=block_l, BLOCK_E=block_e, ACC=triton_type(accumulator(x.dtype)), num_warps=4,
    )  # fmt: skip
    return y


@_forward.register_fake
def _(x: Tensor, weight: Tensor, bias: Tensor) -> Tensor:
    return x.new_empty(x.shape)


@torch.library.custom_op("aira_kernels::causal_convolution_silu_backward", mutates_args=())
def _backward(grad: Tensor, x: Tensor, weight: Tensor, bias: Tensor) -> tuple[Tensor, Tensor, Tensor]:
    grad, x = grad.contiguous(), last_axis_dense(x)
    batch, length, channels = x.shape
    block_l, block_e = _blocks(length, channels)
    blocks_l, taps = batch * triton.cdiv(length, block_l), len(weight)
    dx = torch.empty(x.shape, dtype=x.dtype, device=x.device)
    parts = torch.empty(blocks_l, taps + 1, channels, dtype=accumulator(x.dtype), device=x.device)
    convolve_backward[(blocks_l * triton.cdiv(channels, block_e),)](
        grad, x, weight.contiguous(), bias.contiguous(), dx, parts, length, channels, x.stride(0), x.stride(1),
        TAPS=taps, BLOCK_L=block_l, BLOCK_E=block_e, ACC=triton_type(parts.dtype), num_warps=4,
    )  # fmt: skip
    total = parts.sum(0)
    return dx, total[:-1].to(weight.dtype, copy=True), total[-1].to(bias.dtype, copy=True)


@_backward.register_fake
def _(grad: Tensor, x: Tensor, weight: Tensor, bias: Tensor) -> tuple[Tensor, Tensor, Tensor]:
    return x.new_empty(x.shape), weight.new_empty(weight.shape), bias.new_empty(bias.shape)


def _setup(ctx: Any, inputs: tuple[Tensor, ...], output: Tensor) -> None:  # noqa: ANN401
    ctx.save_for_backward(*inputs)


def _differentiate(ctx: Any, grad: Tensor) -> tuple[Tensor, ...]:  # noqa: ANN401
    return _backward(grad, *ctx.saved_tensors)


_forward.register_autograd(_differentiate, setup_context=_setup)
