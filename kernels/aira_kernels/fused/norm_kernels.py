"""Triton kernels of the RMS norms; `norm` launches them and has the formulas."""

# Triton reads these functions itself: their arguments are pointers and numbers, or constants where marked.
# ruff: noqa: ANN001, ANN201
# mypy: disable-error-code="no-untyped-def,untyped-decorator"

import triton
import triton.language as tl


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
    # Columns past the width were read as 0 and add nothing to the sum; the mean divides by the true width.
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
        # With n = u s and s = (mean(u^2) + epsilon)^(-1/2), ds/du_k = -s^3 u_k / D. So from dy . (weight n), with g the
        # weighted gradient: du = s (g - n mean(g n)): what lies along n is taken out, since scaling u changes y little.
        du = scale * (weighted - normed * (tl.sum(weighted * normed, axis=0) / width))
        if GATED:
            # d silu(z)/dz = sigmoid(z) (1 + z (1 - sigmoid(z))), and u = x silu(z).
            dgate = du * x * sigmoid * (1.0 + gate * (1.0 - sigmoid))
            tl.store(dgate_ptr + row * width + column, dgate, mask=there)
            du *= gate * sigmoid
        tl.store(dx_ptr + row * width + column, du, mask=there)
    tl.store(dweight_ptr + part * width + column, dweight, mask=there)
