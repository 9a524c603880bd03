"""Triton kernels of the SSD scan's forward pass; `scan` launches them.

The maths, with S_i the sum of dt a over positions 0..i of a chunk, S_end that over the whole chunk, and H the state
(P, N) that enters the chunk:

    y_i   = sum_{j <= i} exp(S_i - S_j) (c_i . b_j) dt_j x_j  +  exp(S_i) H c_i  +  skip x_i
    H_out = exp(S_end) H + sum_j exp(S_end - S_j) dt_j x_j b_j^T

S is summed in float64 and kept as two numbers, `high` (rounded to the accumulator's type) and `low` (the rest). The
difference of two highs is exact where they are close and has a small relative error where they are not, so a
span S_i - S_j keeps its digits however large S has grown. Spans of later positions are masked before exp.

Conventions: B batch, K chunks, Q positions of a chunk, H heads, G groups, P features of a head, N state. Scratch
tensors are contiguous and named by their axes. A program finds its place from one flat index, tile fastest, so that the
heads of a chunk run together and share its maps in L2. Offsets of whole tensors are 64-bit. Sums are in ACC: float32,
or float64 for float64 inputs. Not covered: an initial state, other than float inputs.
"""

# Triton reads these functions itself: their arguments are pointers and numbers, or constants where marked.
# ruff: noqa: ANN001, ANN201
# mypy: disable-error-code="no-untyped-def,untyped-decorator"

import triton
import triton.language as tl

from aira_kernels.fused.launch import operand

FORGOTTEN = tl.constexpr(-1000.0)
"""Below this, exp is 0 in float64 too. A step's dt a is cut off here so that its sums stay finite."""


@triton.jit
def decay_sums(
    dt_ptr, rate_ptr, step_BKHQ_ptr, high_BKHQ_ptr, low_BKHQ_ptr,
    length, heads, chunks, dt_stride_b, dt_stride_l, dt_stride_h,
    CHUNK: tl.constexpr, BLOCK_H: tl.constexpr, ACC: tl.constexpr,
):  # fmt: skip
    """Steps by chunk, and the running sums of dt a in two parts. One program a block of heads of a chunk."""
    head_blocks = tl.cdiv(heads, BLOCK_H)
    place = tl.program_id(0)
    batch_chunk = (place // head_blocks).to(tl.int64)
    batch, chunk = batch_chunk // chunks, batch_chunk % chunks
    head = (place % head_blocks) * BLOCK_H + tl.arange(0, BLOCK_H)
    within = tl.arange(0, CHUNK)
    position = chunk * CHUNK + within
    there = (head[:, None] < heads) & (position[None, :] < length)
    offset = batch * dt_stride_b + position[None, :] * dt_stride_l + head[:, None].to(tl.int64) * dt_stride_h
    # Positions past the end take steps of size 0: they change no state and add nothing.
    step = tl.load(dt_ptr + offset, mask=there, other=0.0).to(tl.float64)
    rate = tl.load(rate_ptr + head, mask=head < heads, other=0.0).to(tl.float64)
    log_decay = tl.maximum(step * rate[:, None], FORGOTTEN, propagate_nan=tl.PropagateNan.ALL)
    total = tl.cumsum(log_decay, axis=1)
    # Split here, where the sum is still whole: S_i - S_j is later taken as (high - high) + (low - low), so its error is
    # that of the difference and not that of sums that may have grown a thousand times as large.
    high = total.to(ACC)
    out = (batch_chunk * heads + head[:, None]) * CHUNK + within[None, :]
    tl.store(step_BKHQ_ptr + out, step.to(ACC), mask=head[:, None] < heads)
    tl.store(high_BKHQ_ptr + out, high, mask=head[:, None] < heads)
    tl.store(low_BKHQ_ptr + out, (total - high.to(tl.float64)).to(ACC), mask=head[:, None] < heads)


@triton.jit
def overlaps(
    b_ptr, c_ptr, overlap_BKGQR_ptr,
    length, groups, state, chunks, b_stride_b, b_stride_l, b_stride_g, c_stride_b, c_stride_l, c_stride_g,
    CHUNK: tl.constexpr, BLOCK_Q: tl.constexpr, BLOCK_N: tl.constexpr,
    ACC: tl.constexpr, DOT: tl.constexpr, PRODUCT: tl.constexpr, PRECISION: tl.constexpr,
):  # fmt: skip
    """c_i . b_j for the pairs of a chunk; rows i in blocks. One program a block of rows, chunk and group."""
    tiles: tl.constexpr = CHUNK // BLOCK_Q
    place = tl.program_id(0)
    chunk_group = (place // tiles).to(tl.int64)
    batch_chunk, group = chunk_group // groups, chunk_group % groups
    batch, chunk = batch_chunk // chunks, batch_chunk % chunks
    rows = (place % tiles) * BLOCK_Q + tl.arange(0, BLOCK_Q)
    columns = tl.arange(0, CHUNK)
    c_row = c_ptr + batch * c_stride_b + group * c_stride_g + (chunk * CHUNK + rows)[:, None] * c_stride_l
    b_row = b_ptr + batch * b_stride_b + group * b_stride_g + (chunk * CHUNK + columns)[None, :] * b_stride_l
    c_there, b_there = (chunk * CHUNK + rows)[:, None] < length, (chunk * CHUNK + columns)[None, :] < length
    # Taken once a group, though every head of it needs them: heads share b and c, and only decays tell them apart.
    acc = tl.zeros((BLOCK_Q, CHUNK), dtype=ACC)
    for start in range(0, state, BLOCK_N):
        n = start + tl.arange(0, BLOCK_N)
        c = operand(tl.load(c_row + n[None, :], mask=c_there & (n[None, :] < state), other=0.0), DOT, PRODUCT)
        b = operand(tl.load(b_row + n[:, None], mask=b_there & (n[:, None] < state), other=0.0), DOT, PRODUCT)
        acc += tl.dot(c, b, input_precision=PRECISION, out_dtype=ACC)
    out = chunk_group * CHUNK * CHUNK + rows[:, None] * CHUNK + columns[None, :]
    tl.store(overlap_BKGQR_ptr + out, acc)


@triton.jit
def chunk_states(
    x_ptr, b_ptr, step_BKHQ_ptr, high_BKHQ_ptr, low_BKHQ_ptr, states_BKHPN_ptr,
    length, heads, groups, features, state, chunks,
    x_stride_b, x_stride_l, x_stride_h, b_stride_b, b_stride_l, b_stride_g,
    CHUNK: tl.constexpr, BLOCK_Q: tl.constexpr, BLOCK_P: tl.constexpr, BLOCK_N: tl.constexpr,
    FROM_START: tl.constexpr, ACC: tl.constexpr, DOT: tl.constexpr, PRODUCT: tl.constexpr, PRECISION: tl.constexpr,
):  # fmt: skip
    """The sum over a chunk of weight_j x_j b_j^T, shape (P, N). One program a block of N, head and chunk.

    Forward, the weight is dt_j exp(S_end - S_j): what the chunk adds to the state. FROM_START, it is exp(S_j): with
    dy for x and c for b that is the gradient of the state which enters the chunk.
    """
    tiles = tl.cdiv(state, BLOCK_N)
    place = tl.program_id(0)
    chunk_head = (place // tiles).to(tl.int64)
    batch_chunk, head = chunk_head // heads, chunk_head % heads
    batch, chunk = batch_chunk // chunks, batch_chunk % chunks
    group = head // (heads // groups)
    p, n = tl.arange(0, BLOCK_P), (place % tiles) * BLOCK_N + tl.arange(0, BLOCK_N)
    scratch = chunk_head * CHUNK
    high_end = tl.load(high_BKHQ_ptr + scratch + CHUNK - 1)
    low_end = tl.load(low_BKHQ_ptr + scratch + CHUNK - 1)
    x_head = x_ptr + batch * x_stride_b + head * x_stride_h + p[:, None]
    b_group = b_ptr + batch * b_stride_b + group * b_stride_g + n[None, :]
    added = tl.zeros((BLOCK_P, BLOCK_N), dtype=ACC)
    for start in range(0, CHUNK, BLOCK_Q):
        within = start + tl.arange(0, BLOCK_Q)
        position = chunk * CHUNK + within
        high, low = tl.load(high_BKHQ_ptr + scratch + within), tl.load(low_BKHQ_ptr + scratch + within)
        if FROM_START:
            weight = tl.exp(high + low)
        else:
            weight = tl.load(step_BKHQ_ptr + scratch + within) * tl.exp((high_end - high) + (low_end - low))
        x_there = (position[None, :] < length) & (p[:, None] < features)
        b_there = (position[:, None] < length) & (n[None, :] < state)
        x = tl.load(x_head + position[None, :] * x_stride_l, mask=x_there, other=0.0).to(ACC)
        b = operand(tl.load(b_group + position[:, None] * b_stride_l, mask=b_there, other=0.0), DOT, PRODUCT)
        # The weight goes to x in ACC, before x is rounded for the product: b is shared by heads and stays as loaded.
        x = operand(x * weight[None, :], DOT, PRODUCT)
        added += tl.dot(x, b, input_precision=PRECISION, out_dtype=ACC)
    out = chunk_head * features * state + p[:, None] * state + n[None, :]
    tl.store(states_BKHPN_ptr + out, added, mask=(p[:, None] < features) & (n[None, :] < state))


@triton.jit
def pass_states(
    added_BKHPN_ptr, entering_BKHPN_ptr, high_BKHQ_ptr, low_BKHQ_ptr, other_BKHPN_ptr, product_BKHT_ptr,
    heads, features_by_state, chunks,
    CHUNK: tl.constexpr, BLOCK: tl.constexpr, BACKWARD: tl.constexpr, ACC: tl.constexpr,
):  # fmt: skip
    """The recurrence over chunks: writes, for each chunk, what enters it. One program a block of (P, N) of a head.

    BACKWARD runs from the last chunk to the first on gradients, which decay alike: what it writes for a chunk is the
    gradient of the state that leaves it. It also writes exp(S_end) <that gradient, state entering (`other`)>, the
    chunk's share in the gradient of its every dt a, in one part a block.
    """
    tiles = tl.cdiv(features_by_state, BLOCK)
    place = tl.program_id(0)
    tile = place % tiles
    batch_head = (place // tiles).to(tl.int64)
    batch, head = batch_head // heads, batch_head % heads
    inside = tile * BLOCK + tl.arange(0, BLOCK)
    there = inside < features_by_state
    # The one sequential part: its length is the number of chunks, and (P, N) is split among programs since every
    # element of the state decays alike. What is stored may be rounded to x's type; what is carried on stays in ACC.
    carried = tl.zeros((BLOCK,), dtype=ACC)
    for step in range(chunks):
        chunk = chunks - 1 - step if BACKWARD else step
        chunk_head = (batch * chunks + chunk) * heads + head
        end = chunk_head * CHUNK + CHUNK - 1
        decay = tl.exp(tl.load(high_BKHQ_ptr + end) + tl.load(low_BKHQ_ptr + end))
        at = chunk_head * features_by_state + inside
        tl.store(entering_BKHPN_ptr + at, carried, mask=there)
        if BACKWARD:
            other = tl.load(other_BKHPN_ptr + at, mask=there, other=0.0).to(ACC)
            tl.store(product_BKHT_ptr + chunk_head * tiles + tile, tl.sum(carried * other, axis=0) * decay)
        carried = carried * decay + tl.load(added_BKHPN_ptr + at, mask=there, other=0.0).to(ACC)


@triton.jit
def outputs(
    x_ptr, c_ptr, skip_ptr, step_BKHQ_ptr, high_BKHQ_ptr, low_BKHQ_ptr, overlap_BKGQR_ptr, entering_BKHPN_ptr, y_ptr,
    length, heads, groups, features, state, chunks,
    x_stride_b, x_stride_l, x_stride_h, c_stride_b, c_stride_l, c_stride_g,
    CHUNK: tl.constexpr, BLOCK_Q: tl.constexpr, BLOCK_P: tl.constexpr, BLOCK_N: tl.constexpr,
    HAS_STATE: tl.constexpr, ACC: tl.constexpr, DOT: tl.constexpr, PRODUCT: tl.constexpr, PRECISION: tl.constexpr,
):  # fmt: skip
    """y of shape (B, L, H, P), contiguous. One program a block of positions, head and chunk."""
    tiles: tl.constexpr = CHUNK // BLOCK_Q
    place = tl.program_id(0)
    tile = place % tiles
    chunk_head = (place // tiles).to(tl.int64)
    batch_chunk, head = chunk_head // heads, chunk_head % heads
    batch, chunk = batch_chunk // chunks, batch_chunk % chunks
    group = head // (heads // groups)
    rows, p = tile * BLOCK_Q + tl.arange(0, BLOCK_Q), tl.arange(0, BLOCK_P)
    position = chunk * CHUNK + rows
    scratch = chunk_head * CHUNK
    high, low = tl.load(high_BKHQ_ptr + scratch + rows), tl.load(low_BKHQ_ptr + scratch + rows)
    x_head = x_ptr + batch * x_stride_b + head * x_stride_h
    overlap_rows = overlap_BKGQR_ptr + (batch_chunk * groups + group) * CHUNK * CHUNK + rows[:, None] * CHUNK
    acc = tl.zeros((BLOCK_Q, BLOCK_P), dtype=ACC)
    # Blocks of columns above the diagonal are skipped; in the diagonal block the mask below does it.
    for start in range(0, (tile + 1) * BLOCK_Q, BLOCK_Q):
        columns = start + tl.arange(0, BLOCK_Q)
        span = (high[:, None] - tl.load(high_BKHQ_ptr + scratch + columns)[None, :]) + (
            low[:, None] - tl.load(low_BKHQ_ptr + scratch + columns)[None, :]
        )
        weight = tl.exp(tl.where(rows[:, None] >= columns[None, :], span, float("-inf")))
        weight *= tl.load(overlap_rows + columns[None, :]) * tl.load(step_BKHQ_ptr + scratch + columns)[None, :]
        at = (chunk * CHUNK + columns)[:, None] * x_stride_l + p[None, :]
        there = ((chunk * CHUNK + columns)[:, None] < length) & (p[None, :] < features)
        x = operand(tl.load(x_head + at, mask=there, other=0.0), DOT, PRODUCT)
        acc += tl.dot(operand(weight, DOT, PRODUCT), x, input_precision=PRECISION, out_dtype=ACC)
    if HAS_STATE:
        read = tl.zeros((BLOCK_Q, BLOCK_P), dtype=ACC)
        c_row = c_ptr + batch * c_stride_b + group * c_stride_g + position[:, None] * c_stride_l
        entering = entering_BKHPN_ptr + chunk_head * features * state + p[None, :] * state
        for start in range(0, state, BLOCK_N):
            n = start + tl.arange(0, BLOCK_N)
            c = tl.load(c_row + n[None, :], mask=(position[:, None] < length) & (n[None, :] < state), other=0.0)
            h = tl.load(entering + n[:, None], mask=(p[None, :] < features) & (n[:, None] < state), other=0.0)
            read += tl.dot(operand(c, DOT, PRODUCT), operand(h, DOT, PRODUCT), input_precision=PRECISION, out_dtype=ACC)
        # exp(S_i) is at most 1, since rates are not positive: the state a chunk inherits can only fade in it.
        acc += read * tl.exp(high + low)[:, None]
    there = (position[:, None] < length) & (p[None, :] < features)
    x = tl.load(x_head + position[:, None] * x_stride_l + p[None, :], mask=there, other=0.0).to(ACC)
    acc += x * tl.load(skip_ptr + head).to(ACC)
    out = ((batch * length + position[:, None]) * heads + head) * features + p[None, :]
    tl.store(y_ptr + out, acc, mask=there)
