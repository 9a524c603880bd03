"""The SSD scan in Triton: the operators torch sees.

`ssd_scan` computes what `aira_kernels.ssd` defines, plus the skip D x, for any number of groups. It is registered as
two opaque operators with shapes for tracing, so `torch.compile` keeps one graph. Nothing in it waits for the device, so
a CUDA graph can capture it after one warm-up call (the first call compiles kernels). `ssd_scan_and_state` also hands
out the state behind the last position, for texts that go on; it has no gradients.

Not covered: an initial state, second derivatives, sequence packing.
"""

from typing import Any

import torch
from torch import Tensor

from aira_kernels.fused import scan_launch
from aira_kernels.fused.launch import accumulator
from aira_kernels.fused.scan_launch import LARGEST_CHUNK, scan_tiles

LARGEST_FEATURES = 256


def ssd_scan(
    x_BLHP: Tensor,
    dt_BLH: Tensor,
    a_H: Tensor,
    b_BLGN: Tensor,
    c_BLGN: Tensor,
    skip_H: Tensor,
    chunk: int = LARGEST_CHUNK,
) -> Tensor:
    """y_t = h_t c_t + skip x_t with h_t = exp(dt_t a) h_{t-1} + dt_t x_t b_t^T and h_0 = 0 (Dao and Gu 2024).

    Args:
        x_BLHP: inputs, at most 256 features a head. Any strides over the first three axes.
        dt_BLH: positive step sizes.
        a_H: decay rates, at most 0.
        b_BLGN: input maps; H / G heads share a group.
        c_BLGN: output maps.
        skip_H: factor of the direct path.
        chunk: positions scanned at once, rounded up to a power of two from 16 to 128. Changes rounding and speed only.

    Returns:
        y of shape (B, L, H, P), contiguous, in x's type.

    Raises:
        ValueError: shapes that do not fit together.
        TypeError: types other than the four float types.
    """
    _check(x_BLHP, dt_BLH, a_H, b_BLGN, c_BLGN, skip_H)
    y: Tensor = _forward(x_BLHP, dt_BLH, a_H, b_BLGN, c_BLGN, skip_H, chunk)
    return y


def ssd_scan_and_state(
    x_BLHP: Tensor,
    dt_BLH: Tensor,
    a_H: Tensor,
    b_BLGN: Tensor,
    c_BLGN: Tensor,
    skip_H: Tensor,
    chunk: int = LARGEST_CHUNK,
) -> tuple[Tensor, Tensor]:
    """Return y of `ssd_scan`, and h after the last position, of shape (B, H, P, N) in the type that sums are taken in.

    Arguments and errors are those of `ssd_scan`. There are no gradients.
    """
    _check(x_BLHP, dt_BLH, a_H, b_BLGN, c_BLGN, skip_H)
    found: tuple[Tensor, Tensor] = _forward_and_state(x_BLHP, dt_BLH, a_H, b_BLGN, c_BLGN, skip_H, chunk)
    return found


def _check(x: Tensor, dt: Tensor, a: Tensor, b: Tensor, c: Tensor, skip: Tensor) -> None:
    if x.dim() != 4 or b.dim() != 4:
        raise ValueError(
            f"expected x of shape (B, L, H, P) and maps of (B, L, G, N), got {[*x.shape]} and {[*b.shape]}"
        )
    batch, length, heads, features = x.shape
    groups, state = b.shape[2:]
    expected = {"dt": (dt, (batch, length, heads)), "a": (a, (heads,)), "skip": (skip, (heads,))}
    expected |= {"b": (b, (batch, length, groups, state)), "c": (c, (batch, length, groups, state))}
    for name, (tensor, shape) in expected.items():
        if tuple(tensor.shape) != shape:
            raise ValueError(f"{name} has shape {[*tensor.shape]}, expected {[*shape]}")
    if 0 in (*x.shape, groups, state) or heads % groups or features > LARGEST_FEATURES:
        raise ValueError(
            f"{heads} heads of {features} features in {groups} groups over {length} positions: expected none empty, "
            f"groups that divide the heads, and at most {LARGEST_FEATURES} features a head"
        )


@torch.library.custom_op("aira_kernels::ssd_scan", mutates_args=())
def _forward(x: Tensor, dt: Tensor, a: Tensor, b: Tensor, c: Tensor, skip: Tensor, chunk: int) -> Tensor:
    return scan_launch.forward(x, dt, a, b, c, skip, scan_tiles(x.shape[1], b.shape[3], x.dtype, chunk))


@_forward.register_fake
def _(x: Tensor, dt: Tensor, a: Tensor, b: Tensor, c: Tensor, skip: Tensor, chunk: int) -> Tensor:
    return x.new_empty(x.shape)


@torch.library.custom_op("aira_kernels::ssd_scan_and_state", mutates_args=())
def _forward_and_state(
    x: Tensor, dt: Tensor, a: Tensor, b: Tensor, c: Tensor, skip: Tensor, chunk: int
) -> tuple[Tensor, Tensor]:
    left = _empty_state(x, b)
    return scan_launch.forward(x, dt, a, b, c, skip, scan_tiles(x.shape[1], b.shape[3], x.dtype, chunk), left), left


@_forward_and_state.register_fake
def _(x: Tensor, dt: Tensor, a: Tensor, b: Tensor, c: Tensor, skip: Tensor, chunk: int) -> tuple[Tensor, Tensor]:
    return x.new_empty(x.shape), _empty_state(x, b)


def _empty_state(x: Tensor, b: Tensor) -> Tensor:
    batch, _, heads, features = x.shape
    return x.new_empty(batch, heads, features, b.shape[3], dtype=accumulator(x.dtype))


@torch.library.custom_op("aira_kernels::ssd_scan_backward", mutates_args=())
def _backward(
    grad: Tensor, x: Tensor, dt: Tensor, a: Tensor, b: Tensor, c: Tensor, skip: Tensor, chunk: int
) -> tuple[Tensor, Tensor, Tensor, Tensor, Tensor, Tensor]:
    tiles = scan_tiles(x.shape[1], b.shape[3], x.dtype, chunk)
    return scan_launch.backward(grad, x, dt, a, b, c, skip, tiles)


@_backward.register_fake
def _(
    grad: Tensor, x: Tensor, dt: Tensor, a: Tensor, b: Tensor, c: Tensor, skip: Tensor, chunk: int
) -> tuple[Tensor, Tensor, Tensor, Tensor, Tensor, Tensor]:
    dx, ddt, da, db, dc, dskip = (part.new_empty(part.shape) for part in (x, dt, a, b, c, skip))
    return dx, ddt, da, db, dc, dskip


def _setup(ctx: Any, inputs: tuple[Any, ...], output: Tensor) -> None:  # noqa: ANN401
    *tensors, ctx.chunk = inputs
    ctx.save_for_backward(*tensors)


def _differentiate(ctx: Any, grad: Tensor) -> tuple[Tensor | None, ...]:  # noqa: ANN401
    return (*_backward(grad, *ctx.saved_tensors, ctx.chunk), None)


_forward.register_autograd(_differentiate, setup_context=_setup)
