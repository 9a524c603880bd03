"""RMS norm in Triton, plain or of a gated input, forward and backward.

    y = weight u / sqrt(mean(u^2) + epsilon),   u = x,  or  u = x silu(gate)

The gated form is Mamba-2's (Dao and Gu 2024, section 7): the gate comes before the norm. A program walks its own rows, so
that the weight's gradient is a sum of few parts in fixed order and needs no atomics. Not covered: norms of groups of
features, biases, rows of more than 16,384 features, second derivatives.
"""

from typing import Any

import torch
import triton
import triton.language as tl
from torch import Tensor

from aira_kernels.fused.launch import accumulator, last_axis_dense, power_of_two, triton_type

LARGEST_WIDTH = 16_384
_ROW_PROGRAMS = 512
"""Programs of the backward pass at most, and so parts of the weight's gradient: about four for each processor of a H100."""


@triton.jit
def normalize(
    x_ptr, gate_ptr, weight_ptr, y_ptr, scale_ptr, width, x_stride, gate_stride, epsilon,
    BLOCK: tl.constexpr, GATED: tl.constexpr, ACC: tl.constexpr,
):  # fmt: skip
    """One row a program: y, contiguous, and 1 / sqrt(mean(u^2) + epsilon)."""
    row = tl.program_id(0).to(tl.int64)
    column = tl.arange(0, BLOCK)
    there = column < width
    u = tl.load(x_ptr + row * x_stride + column, mask=there, other=0.0).to(ACC)
    if GATED:
        gate = tl.load(gate_ptr + row * gate_stride + column, mask=there, other=0.0).to(ACC)
        u *= gate / (1.0 + tl.exp(-gate))
    scale = 1.0 / tl.sqrt(tl.sum(u * u, axis=0) / width + epsilon)
    weight = tl.load(weight_ptr + column, mask=there, other=0.0).to(ACC)
    tl.store(y_ptr + row * width + column, u * scale * weight, mask=there)
    tl.store(scale_ptr + row, scale)


@triton.jit
def normalize_backward(
    grad_ptr, x_ptr, gate_ptr, weight_ptr, scale_ptr, dx_ptr, dgate_ptr, dweight_ptr,
    rows, width, rows_each, x_stride, gate_stride,
    BLOCK: tl.constexpr, GATED: tl.constexpr, ACC: tl.constexpr,
):  # fmt: skip
    """Gradients of x and gate, contiguous, and one part of the weight's for the `rows_each` rows of this program."""
    part = tl.program_id(0)
    column = tl.arange(0, BLOCK)
    there = column < width
    weight = tl.load(weight_ptr + column, mask=there, other=0.0).to(ACC)
    dweight = tl.zeros((BLOCK,), dtype=ACC)
    for index in range(part * rows_each, tl.minimum((part + 1) * rows_each, rows)):
        row = tl.cast(index, tl.int64)
        u = tl.load(x_ptr + row * x_stride + column, mask=there, other=0.0).to(ACC)
        grad = tl.load(grad_ptr + row * width + column, mask=there, other=0.0).to(ACC)
        scale = tl.load(scale_ptr + row)
        if GATED:
            x = u
            gate = tl.load(gate_ptr + row * gate_stride + column, mask=there, other=0.0).to(ACC)
            sigmoid = 1.0 / (1.0 + tl.exp(-gate))
            u = x * gate * sigmoid
        normed = u * scale
        dweight += grad * normed
        weighted = grad * weight
        du = scale * (weighted - normed * (tl.sum(weighted * normed, axis=0) / width))
        if GATED:
            dgate = du * x * sigmoid * (1.0 + gate * (1.0 - sigmoid))
            tl.store(dgate_ptr + row * width + column, dgate, mask=there)
            du *= gate * sigmoid
        tl.store(dx_ptr + row * width + column, du, mask=there)
    tl.store(dweight_ptr + part * width + column, dweight, mask=there)


def rms_norm(x: Tensor, weight: Tensor, epsilon: float, gate: Tensor | None = None) -> Tensor:
    """Normalize the last axis, of x or of x silu(gate).

    Args:
        x: any number of leading axes.
        weight: one factor a feature.
        epsilon: added to the mean square.
        gate: as x in shape, or None.

    Returns:
        As x in shape and type, contiguous.

    Raises:
        ValueError: shapes that do not fit together.
        TypeError: types other than the four float types.
    """
    width = x.shape[-1]
    if weight.shape != (width,) or (gate is not None and gate.shape != x.shape):
        gate_shape = None if gate is None else [*gate.shape]
        raise ValueError(f"x {[*x.shape]}, weight {[*weight.shape]} and gate {gate_shape} do not fit together")
    if not 0 < width <= LARGEST_WIDTH or x.numel() == 0:
        raise ValueError(f"expected rows of 1 to {LARGEST_WIDTH} features and at least one, got {[*x.shape]}")
    rows = x.reshape(-1, width)
    gate_rows = None if gate is None else gate.reshape(-1, width)
    y: Tensor = _forward(rows, gate_rows, weight, epsilon)[0]
    return y.view(x.shape)


def _warps(block: int) -> int:
    return min(max(block // 512, 1), 16)


@torch.library.custom_op("aira_kernels::rms_norm", mutates_args=())
def _forward(x: Tensor, gate: Tensor | None, weight: Tensor, epsilon: float) -> tuple[Tensor, Tensor]:
    x, weight = last_axis_dense(x), weight.contiguous()
    gated = x if gate is None else last_axis_dense(gate)
    rows, width = x.shape
    y = torch.empty(x.shape, dtype=x.dtype, device=x.device)
    scale = torch.empty(rows, dtype=accumulator(x.dtype), device=x.device)
    block = power_of_two(width)
    normalize[(rows,)](
        x, gated, weight, y, scale, width, x.stride(0), gated.stride(0), epsilon,
        BLOCK=block, GATED=gate is not None, ACC=triton_type(scale.dtype), num_warps=_warps(block),
    )  # fmt: skip
    return y, scale


@_forward.register_fake
def _(x: Tensor, gate: Tensor | None, weight: Tensor, epsilon: float) -> tuple[Tensor, Tensor]:
    return x.new_empty(x.shape), x.new_empty(x.shape[:1], dtype=accumulator(x.dtype))


@torch.library.custom_op("aira_kernels::rms_norm_backward", mutates_args=())
def _backward(
    grad: Tensor, x: Tensor, gate: Tensor | None, weight: Tensor, scale: Tensor
) -> tuple[Tensor, Tensor, Tensor]:
    grad, x, dense_weight = grad.contiguous(), last_axis_dense(x), weight.contiguous()
    gated = x if gate is None else last_axis_dense(gate)
    rows, width = x.shape
    dx = torch.empty(x.shape, dtype=x.dtype, device=x.device)
    dgate = dx.new_empty(0) if gate is None else torch.empty(gate.shape, dtype=gate.dtype, device=x.device)
    rows_each = triton.cdiv(rows, _ROW_PROGRAMS)
    parts = triton.cdiv(rows, rows_each)
    dweight = torch.empty(parts, width, dtype=scale.dtype, device=x.device)
    block = power_of_two(width)
    normalize_backward[(parts,)](
        grad, x, gated, dense_weight, scale, dx, dgate, dweight, rows, width, rows_each, x.stride(0), gated.stride(0),
        BLOCK=block, GATED=gate is not None, ACC=triton_type(scale.dtype), num_warps=_warps(block),
    )  # fmt: skip
    return dx, dgate, dweight.sum(0).to(weight.dtype)


@_backward.register_fake
def _(
    grad: Tensor, x: Tensor, gate: Tensor | None, weight: Tensor, scale: Tensor
) -> tuple[Tensor, Tensor, Tensor]:
    return x.new_empty(x.shape), x.new_empty(0) if gate is None else gate.new_empty(gate.shape), weight.new_empty(weight.shape)


def _setup(ctx: Any, inputs: tuple[Any, ...], output: tuple[Tensor, Tensor]) -> None:  # noqa: ANN401
    x, gate, weight, _ = inputs
    ctx.gated = gate is not None
    ctx.set_materialize_grads(False)
    ctx.save_for_backward(x, gate, weight, output[1])


def _differentiate(ctx: Any, grad: Tensor, _scale_grad: Tensor | None) -> tuple[Tensor | None, ...]:  # noqa: ANN401
    dx, dgate, dweight = _backward(grad, *ctx.saved_tensors)
    return dx, dgate if ctx.gated else None, dweight, None


_forward.register_autograd(_differentiate, setup_context=_setup)
