"""Triton kernels of LayerNorm; `layer_norm` launches them and has the formula."""

# Triton reads these functions itself: their arguments are pointers and numbers, or constants where marked.
# ruff: noqa: ANN001, ANN201
# mypy: disable-error-code="no-untyped-def,untyped-decorator"

import triton
import triton.language as tl


@triton.jit
def normalize(
    x_ptr, weight_ptr, bias_ptr, y_ptr, moments_ptr, rows, width, x_stride,
    BLOCK: tl.constexpr, ROWS: tl.constexpr, EPSILON: tl.constexpr, ACC: tl.constexpr,
):  # fmt: skip
    """y, contiguous, and moments (2, rows): the mean, and 1 / sqrt(variance + epsilon). One program a tile of rows."""
    row, column = tl.program_id(0) * ROWS + tl.arange(0, ROWS), tl.arange(0, BLOCK)
    row = row.to(tl.int64)
    there = (row < rows)[:, None] & (column < width)[None, :]
    x = tl.load(x_ptr + row[:, None] * x_stride + column[None, :], mask=there, other=0.0).to(ACC)
    mean = tl.sum(x, axis=1) / width
    # Columns past the width hold 0, not the mean, so they are left out of the squares by hand.
    centred = tl.where(there, x - mean[:, None], 0.0)
    scale = 1.0 / tl.sqrt(tl.sum(centred * centred, axis=1) / width + EPSILON)
    weight = tl.load(weight_ptr + column, mask=column < width, other=0.0).to(ACC)
    bias = tl.load(bias_ptr + column, mask=column < width, other=0.0).to(ACC)
    y = centred * scale[:, None] * weight[None, :] + bias[None, :]
    tl.store(y_ptr + row[:, None] * width + column[None, :], y, mask=there)
    tl.store(moments_ptr + row, mean, mask=row < rows)
    tl.store(moments_ptr + rows + row, scale, mask=row < rows)


@triton.jit
def normalize_backward(
    grad_ptr, x_ptr, weight_ptr, moments_ptr, dx_ptr, parts_ptr, rows, width, tiles_each, x_stride,
    BLOCK: tl.constexpr, ROWS: tl.constexpr, ACC: tl.constexpr,
):  # fmt: skip
    """dx, contiguous, and for the `tiles_each` tiles of this program one part (2, width) of the gradients of weight
    and bias.
    """
    program, column = tl.program_id(0), tl.arange(0, BLOCK)
    weight = tl.load(weight_ptr + column, mask=column < width, other=0.0).to(ACC)
    dweight = tl.zeros((ROWS, BLOCK), dtype=ACC)
    dbias = tl.zeros((ROWS, BLOCK), dtype=ACC)
    for index in range(tiles_each):
        row = ((program * tiles_each + index) * ROWS + tl.arange(0, ROWS)).to(tl.int64)
        there = (row < rows)[:, None] & (column < width)[None, :]
        x = tl.load(x_ptr + row[:, None] * x_stride + column[None, :], mask=there, other=0.0).to(ACC)
        grad = tl.load(grad_ptr + row[:, None] * width + column[None, :], mask=there, other=0.0).to(ACC)
        mean = tl.load(moments_ptr + row, mask=row < rows, other=0.0)
        scale = tl.load(moments_ptr + rows + row, mask=row < rows, other=0.0)
        normed = tl.where(there, (x - mean[:, None]) * scale[:, None], 0.0)
        dweight += grad * normed
        dbias += grad
        weighted = grad * weight[None, :]
        # With n = (x - m) s: dx = s (g - mean(g) - n mean(g n)). What moves all features alike, and what lies along n,
        # is taken out: y hardly changes with either.
        along = tl.sum(weighted * normed, axis=1) / width
        centre = tl.sum(weighted, axis=1) / width
        dx = scale[:, None] * (weighted - centre[:, None] - normed * along[:, None])
        tl.store(dx_ptr + row[:, None] * width + column[None, :], dx, mask=there)
    part = parts_ptr + program.to(tl.int64) * 2 * width + column
    tl.store(part, tl.sum(dweight, axis=0), mask=column < width)
    tl.store(part + width, tl.sum(dbias, axis=0), mask=column < width)
