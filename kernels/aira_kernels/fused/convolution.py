"""A causal depthwise convolution with SiLU in Triton, forward and backward.

    pre_l = bias + sum_{t < T} weight_t x_{l - T + 1 + t},   y_l = silu(pre_l)      for each channel alone

The backward pass computes `pre` anew instead of keeping it: at four taps that costs less than the memory traffic.
Each program owns a block of positions and channels, and writes one part of the weight's gradient; the parts are summed
in fixed order. Not covered: an initial state, other activations, second derivatives.
"""

from typing import Any

import torch
import triton
from torch import Tensor

from aira_kernels.fused import convolution_kernels
from aira_kernels.fused.launch import accumulator, last_axis_dense, power_of_two, triton_type

_BLOCK_L = 32
_BLOCK_E = 64


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
    convolution_kernels.convolve[(batch * triton.cdiv(length, block_l) * triton.cdiv(channels, block_e),)](
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
    convolution_kernels.convolve_backward[(blocks_l * triton.cdiv(channels, block_e),)](
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
    dx, dweight, dbias = _backward(grad, *ctx.saved_tensors)
    return dx, dweight, dbias


_forward.register_autograd(_differentiate, setup_context=_setup)
