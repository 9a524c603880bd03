"""RMS norm in Triton, plain or of a gated input, forward and backward.

    y = weight u / sqrt(mean(u^2) + epsilon),   u = x,  or  u = x silu(gate)

The gated form is Mamba-2's (Dao and Gu 2024, section 7): the gate comes before the norm. A program takes a tile of
rows at once; backward it walks its own tiles, so that the weight's gradient is a sum of few parts in fixed order and
needs no atomics.
Not covered: norms of groups of features, biases, rows of more than 16,384 features, second derivatives.
"""

from typing import Any

import torch
import triton
from torch import Tensor

from aira_kernels.fused import norm_kernels
from aira_kernels.fused.launch import accumulator, last_axis_dense, power_of_two, rows_of_a_tile, triton_type

LARGEST_WIDTH = 16_384
_ROW_PROGRAMS = 512
"""Programs of the backward pass at most, and parts of the weight's gradient: about four a processor of an H100."""


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


def _warps(block: int, tile: int) -> int:
    return min(max(block * tile // 512, 1), 16)


@torch.library.custom_op("aira_kernels::rms_norm", mutates_args=())
def _forward(x: Tensor, gate: Tensor | None, weight: Tensor, epsilon: float) -> tuple[Tensor, Tensor]:
    x, weight = last_axis_dense(x), weight.contiguous()
    gated = x if gate is None else last_axis_dense(gate)
    rows, width = x.shape
    y = torch.empty(x.shape, dtype=x.dtype, device=x.device)
    scale = torch.empty(rows, dtype=accumulator(x.dtype), device=x.device)
    block = power_of_two(width)
    tile = rows_of_a_tile(block)
    norm_kernels.normalize[(triton.cdiv(rows, tile),)](
        x, gated, weight, y, scale, rows, width, x.stride(0), gated.stride(0), BLOCK=block, ROWS=tile,
        EPSILON=epsilon, GATED=gate is not None, ACC=triton_type(scale.dtype), num_warps=_warps(block, tile),
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
    block = power_of_two(width)
    tile = rows_of_a_tile(block)
    tiles_each = triton.cdiv(triton.cdiv(rows, tile), _ROW_PROGRAMS)
    parts = triton.cdiv(rows, tile * tiles_each)
    dweight = torch.empty(parts, width, dtype=scale.dtype, device=x.device)
    norm_kernels.normalize_backward[(parts,)](
        grad, x, gated, dense_weight, scale, dx, dgate, dweight, rows, width, tiles_each, x.stride(0),
        gated.stride(0), BLOCK=block, ROWS=tile, GATED=gate is not None, ACC=triton_type(scale.dtype),
        num_warps=_warps(block, tile),
    )  # fmt: skip
    return dx, dgate, dweight.sum(0).to(weight.dtype)


@_backward.register_fake
def _(grad: Tensor, x: Tensor, gate: Tensor | None, weight: Tensor, scale: Tensor) -> tuple[Tensor, Tensor, Tensor]:
    return (
        x.new_empty(x.shape),
        x.new_empty(0) if gate is None else gate.new_empty(gate.shape),
        weight.new_empty(weight.shape),
    )


def _setup(ctx: Any, inputs: tuple[Any, ...], output: tuple[Tensor, Tensor]) -> None:  # noqa: ANN401
    x, gate, weight, _ = inputs
    ctx.gated = gate is not None
    ctx.set_materialize_grads(False)
    ctx.save_for_backward(x, gate, weight, output[1])


def _differentiate(ctx: Any, grad: Tensor | None, _scale_grad: Tensor | None) -> tuple[Tensor | None, ...]:  # noqa: ANN401
    if grad is None:  # Nobody uses y.
        return None, None, None, None
    dx, dgate, dweight = _backward(grad, *ctx.saved_tensors)
    return dx, dgate if ctx.gated else None, dweight, None


_forward.register_autograd(_differentiate, setup_context=_setup)
