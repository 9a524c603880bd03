"""Triton kernels of the RMS norms; `norm` launches them and has the formulas."""

# Triton reads these functions itself: their arguments are pointers and numbers, or constants where marked.
# ruff: noqa: ANN001, ANN201
# mypy: disable-error-code="no-untyped-def,untyped-decorator"

import triton
import triton.language as tl


@triton.jit
def normalize(
    x_ptr, gate_ptr, weight_ptr, y_ptr, scale_ptr, rows, width, x_stride, gate_stride,
    BLOCK: tl.constexpr, ROWS: tl.constexpr, EPSILON: tl.constexpr, GATED: tl.constexpr, ACC: tl.constexpr,
):  # fmt: skip
    """y, contiguous, and 1 / sqrt(mean(u^2) + epsilon). One program a tile of rows.

    Epsilon is a constant of the kernel: as an argument it would come in float32, which float64 rows would notice.
    """
    row, column = (tl.program_id(0) * ROWS + tl.arange(0, ROWS)).to(tl.int64), tl.arange(0, BLOCK)
    there = (row < rows)[:, None] & (column < width)[None, :]
    u = tl.load(x_ptr + row[:, None] * x_stride + column[None, :], mask=there, other=0.0).to(ACC)
    if GATED:
        gate = tl.load(gate_ptr + row[:, None] * gate_stride + column[None, :], mask=there, other=0.0).to(ACC)
        u *= gate / (1.0 + tl.exp(-gate))
    # Columns past the width were read as 0 and add nothing to the sum; the mean divides by the true width.
    scale = 1.0 / tl.sqrt(tl.sum(u * u, axis=1) / width + EPSILON)
    weight = tl.load(weight_ptr + column, mask=column < width, other=0.0).to(ACC)
    tl.store(y_ptr + row[:, None] * width + column[None, :], u * scale[:, None] * weight[None, :], mask=there)
    tl.store(scale_ptr + row, scale, mask=row < rows)


@triton.jit
def normalize_backward(
    grad_ptr, x_ptr, gate_ptr, weight_ptr, scale_ptr, dx_ptr, dgate_ptr, dweight_ptr,
    rows, width, tiles_each, x_stride, gate_stride,
    BLOCK: tl.constexpr, ROWS: tl.constexpr, GATED: tl.constexpr, ACC: tl.constexpr,
):  # fmt: skip
    """Gradients of x and gate, contiguous, and one part of the weight's for the `tiles_each` tiles of this program."""
    part, column = tl.program_id(0), tl.arange(0, BLOCK)
    weight = tl.load(weight_ptr + column, mask=column < width, other=0.0).to(ACC)
    dweight = tl.zeros((ROWS, BLOCK), dtype=ACC)
    for index in range(tiles_each):
        row = ((part * tiles_each + index) * ROWS + tl.arange(0, ROWS)).to(tl.int64)
        there = (row < rows)[:, None] & (column < width)[None, :]
        u = tl.load(x_ptr + row[:, None] * x_stride + column[None, :], mask=there, other=0.0).to(ACC)
        grad = tl.load(grad_ptr + row[:, None] * width + column[None, :], mask=there, other=0.0).to(ACC)
        scale = tl.load(scale_ptr + row, mask=row < rows, other=0.0)[:, None]
        if GATED:
            x = u
            gate = tl.load(gate_ptr + row[:, None] * gate_stride + column[None, :], mask=there, other=0.0).to(ACC)
            sigmoid = 1.0 / (1.0 + tl.exp(-gate))
            u = x * gate * sigmoid
        normed = u * scale
        dweight += grad * normed
        weighted = grad * weight[None, :]
        # With n = u s and s = (mean(u^2) + epsilon)^(-1/2), ds/du_k = -s^3 u_k / D. So from dy . (weight n), with g the
        # weighted gradient: du = s (g - n mean(g n)): what lies along n is taken out, since scaling u changes y little.
        du = scale * (weighted - normed * (tl.sum(weighted * normed, axis=1) / width)[:, None])
        if GATED:
            # d silu(z)/dz = sigmoid(z) (1 + z (1 - sigmoid(z))), and u = x silu(z).
            dgate = du * x * sigmoid * (1.0 + gate * (1.0 - sigmoid))
            tl.store(dgate_ptr + row[:, None] * width + column[None, :], dgate, mask=there)
            du *= gate * sigmoid
        tl.store(dx_ptr + row[:, None] * width + column[None, :], du, mask=there)
    tl.store(dweight_ptr + part.to(tl.int64) * width + column, tl.sum(dweight, axis=0), mask=column < width)
