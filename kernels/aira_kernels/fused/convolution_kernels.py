"""Triton kernels of the causal convolution with SiLU; `convolution` launches them and has the formulas."""

# Triton reads these functions itself: their arguments are pointers and numbers, or constants where marked.
# ruff: noqa: ANN001, ANN201
# mypy: disable-error-code="no-untyped-def,untyped-decorator"

import triton
import triton.language as tl


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
    """dx (B, L, E), contiguous, and parts (B x blocks of positions, T + 1, E) of the gradients of taps and bias.

    One program a block of positions and channels of a sequence.
    """
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
        # d silu(z)/dz = sigmoid(z) (1 + z (1 - sigmoid(z))); `pre` is computed anew for each position that is reached.
        dpre = grad * sigmoid * (1.0 + pre * (1.0 - sigmoid))
        weight_at = weight_ptr + (TAPS - 1 - ahead) * channels + channel
        dx += dpre * tl.load(weight_at, mask=channel < channels, other=0.0).to(ACC)
        # Taps and bias are summed over each position once, not once for each that it reaches.
        if ahead == 0:
            tl.store(part + TAPS * channels, tl.sum(dpre, axis=0), mask=flat < channels)
            for tap in tl.static_range(TAPS):
                source = position - (TAPS - 1) + tap
                source_there = (source >= 0) & (source < length) & (channel < channels)
                x = tl.load(x_channel + source * x_stride_l, mask=source_there, other=0.0).to(ACC)
                tl.store(part + tap * channels, tl.sum(dpre * x, axis=0), mask=flat < channels)
    there = (position < length) & (channel < channels)
    tl.store(dx_ptr + (batch * length + position) * channels + channel, dx, mask=there)
