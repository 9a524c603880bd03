"""Triton kernels of the SSD scan's backward pass; `scan` launches them. Notation as in `scan_forward`.

With dy the gradient of y and dU that of the state leaving the chunk (`pass_states`, run backwards):

    dw_j       = sum_{i >= j} exp(S_i - S_j) (c_i . b_j) dy_i + exp(S_end - S_j) dU b_j
    dx_j       = dt_j dw_j + skip dy_j
    doverlap_ij = sum over the group's heads of exp(S_i - S_j) dt_j (dy_i . x_j),  i >= j
    dc_i       = sum_j doverlap_ij b_j + sum over heads of exp(S_i) H^T dy_i
    db_j       = sum_i doverlap_ij c_i + sum over heads of exp(S_end - S_j) dt_j dU^T x_j

The gradient of dt a at position t gathers every path whose decay includes that step:

    sum_{j < t <= i} pair_ij + sum_{i >= t} left_i + sum_{j < t} right_j + exp(S_end) <dU, H>

where pair_ij = exp(S_i - S_j) (c_i . b_j) dt_j (dy_i . x_j) and left and right are the paths from the state that enters
and to the state that leaves. Every term carries its own decay. The shorter form, differences of row and column sums,
cancels large numbers where decays are extreme; it is not used.
"""

# Triton reads these functions itself: their arguments are pointers and numbers, or constants where marked.
# ruff: noqa: ANN001, ANN201
# mypy: disable-error-code="no-untyped-def,untyped-decorator"

import triton
import triton.language as tl

from aira_kernels.fused.launch import operand


@triton.jit
def input_gradients(
    grad_ptr, x_ptr, b_ptr, skip_ptr, step_BKHQ_ptr, high_BKHQ_ptr, low_BKHQ_ptr, overlap_BKGQR_ptr, leaving_BKHPN_ptr,
    dx_ptr, direct_BKHQ_ptr, dskip_BKHT_ptr,
    length, heads, groups, features, state, chunks,
    x_stride_b, x_stride_l, x_stride_h, b_stride_b, b_stride_l, b_stride_g,
    CHUNK: tl.constexpr, BLOCK_Q: tl.constexpr, BLOCK_P: tl.constexpr, BLOCK_N: tl.constexpr,
    HAS_STATE: tl.constexpr, ACC: tl.constexpr, DOT: tl.constexpr, PRODUCT: tl.constexpr, PRECISION: tl.constexpr,
):  # fmt: skip
    """dx, the part dw . x of the gradient of dt, and parts of the skip's. One program a block j, head and chunk."""
    tiles: tl.constexpr = CHUNK // BLOCK_Q
    place = tl.program_id(0)
    tile = place % tiles
    chunk_head = (place // tiles).to(tl.int64)
    batch_chunk, head = chunk_head // heads, chunk_head % heads
    batch, chunk = batch_chunk // chunks, batch_chunk % chunks
    group = head // (heads // groups)
    columns, p = tile * BLOCK_Q + tl.arange(0, BLOCK_Q), tl.arange(0, BLOCK_P)
    position = chunk * CHUNK + columns
    scratch = chunk_head * CHUNK
    high, low = tl.load(high_BKHQ_ptr + scratch + columns), tl.load(low_BKHQ_ptr + scratch + columns)
    grad_head = grad_ptr + (batch * length * heads + head) * features
    overlap_columns = overlap_BKGQR_ptr + (batch_chunk * groups + group) * CHUNK * CHUNK + columns[:, None]
    # dw is the gradient of w_j = dt_j x_j, which is what the formulas of the forward pass read of both.
    dw = tl.zeros((BLOCK_Q, BLOCK_P), dtype=ACC)
    # The transpose of the forward pass: position j is read by the rows i >= j, so blocks run from the diagonal down.
    for start in range(tile * BLOCK_Q, CHUNK, BLOCK_Q):
        rows = start + tl.arange(0, BLOCK_Q)
        span = (tl.load(high_BKHQ_ptr + scratch + rows)[None, :] - high[:, None]) + (
            tl.load(low_BKHQ_ptr + scratch + rows)[None, :] - low[:, None]
        )
        weight = tl.exp(tl.where(rows[None, :] >= columns[:, None], span, float("-inf")))
        weight *= tl.load(overlap_columns + rows[None, :] * CHUNK)
        at = (chunk * CHUNK + rows)[:, None] * heads * features + p[None, :]
        there = ((chunk * CHUNK + rows)[:, None] < length) & (p[None, :] < features)
        grad = operand(tl.load(grad_head + at, mask=there, other=0.0), DOT, PRODUCT)
        dw += tl.dot(operand(weight, DOT, PRODUCT), grad, input_precision=PRECISION, out_dtype=ACC)
    if HAS_STATE:
        high_end = tl.load(high_BKHQ_ptr + scratch + CHUNK - 1)
        low_end = tl.load(low_BKHQ_ptr + scratch + CHUNK - 1)
        kept = tl.zeros((BLOCK_Q, BLOCK_P), dtype=ACC)
        b_row = b_ptr + batch * b_stride_b + group * b_stride_g + position[:, None] * b_stride_l
        leaving = leaving_BKHPN_ptr + chunk_head * features * state + p[None, :] * state
        for start in range(0, state, BLOCK_N):
            n = start + tl.arange(0, BLOCK_N)
            b = tl.load(b_row + n[None, :], mask=(position[:, None] < length) & (n[None, :] < state), other=0.0)
            u = tl.load(leaving + n[:, None], mask=(p[None, :] < features) & (n[:, None] < state), other=0.0)
            kept += tl.dot(operand(b, DOT, PRODUCT), operand(u, DOT, PRODUCT), input_precision=PRECISION, out_dtype=ACC)
        dw += kept * tl.exp((high_end - high) + (low_end - low))[:, None]
    there = (position[:, None] < length) & (p[None, :] < features)
    x_at = batch * x_stride_b + head * x_stride_h + position[:, None] * x_stride_l + p[None, :]
    x = tl.load(x_ptr + x_at, mask=there, other=0.0).to(ACC)
    grad_at = position[:, None] * heads * features + p[None, :]
    grad = tl.load(grad_head + grad_at, mask=there, other=0.0).to(ACC)
    # Through w alone; what dt does through decays is added by `decay_gradients`.
    tl.store(direct_BKHQ_ptr + scratch + columns, tl.sum(dw * x, axis=1))
    tl.store(dskip_BKHT_ptr + chunk_head * tiles + tile, tl.sum(tl.sum(grad * x, axis=1), axis=0))
    step = tl.load(step_BKHQ_ptr + scratch + columns)
    dx = dw * step[:, None] + grad * tl.load(skip_ptr + head).to(ACC)
    tl.store(dx_ptr + (batch * length * heads + head) * features + grad_at, dx, mask=there)


@triton.jit
def overlap_gradients(
    grad_ptr, x_ptr, step_BKHQ_ptr, high_BKHQ_ptr, low_BKHQ_ptr, overlap_BKGQR_ptr, doverlap_BKGQR_ptr, pairs_BKHTQ_ptr,
    length, heads, groups, features, chunks, x_stride_b, x_stride_l, x_stride_h,
    CHUNK: tl.constexpr, BLOCK_Q: tl.constexpr, BLOCK_P: tl.constexpr,
    ACC: tl.constexpr, DOT: tl.constexpr, PRODUCT: tl.constexpr, PRECISION: tl.constexpr,
):  # fmt: skip
    """doverlap, and for each t the sum of pair_ij over j < t <= i. One program a block of rows i, group and chunk.

    A program walks the heads of its group one after the other, so that their sum needs no atomics and its order is
    always the same.
    """
    tiles: tl.constexpr = CHUNK // BLOCK_Q
    place = tl.program_id(0)
    tile = place % tiles
    chunk_group = (place // tiles).to(tl.int64)
    batch_chunk, group = chunk_group // groups, chunk_group % groups
    batch, chunk = batch_chunk // chunks, batch_chunk % chunks
    rows, columns, p = tile * BLOCK_Q + tl.arange(0, BLOCK_Q), tl.arange(0, CHUNK), tl.arange(0, BLOCK_P)
    rows_there = ((chunk * CHUNK + rows)[:, None] < length) & (p[None, :] < features)
    columns_there = ((chunk * CHUNK + columns)[None, :] < length) & (p[:, None] < features)
    causal = rows[:, None] >= columns[None, :]
    square = chunk_group * CHUNK * CHUNK + rows[:, None] * CHUNK + columns[None, :]
    overlap = tl.load(overlap_BKGQR_ptr + square)
    total = tl.zeros((BLOCK_Q, CHUNK), dtype=ACC)
    for member in range(heads // groups):
        head = group * (heads // groups) + member
        chunk_head = batch_chunk * heads + head
        scratch = chunk_head * CHUNK
        grad_at = ((batch * length + chunk * CHUNK + rows[:, None]) * heads + head) * features + p[None, :]
        grad = operand(tl.load(grad_ptr + grad_at, mask=rows_there, other=0.0), DOT, PRODUCT)
        x_at = batch * x_stride_b + head * x_stride_h + (chunk * CHUNK + columns)[None, :] * x_stride_l + p[:, None]
        x = operand(tl.load(x_ptr + x_at, mask=columns_there, other=0.0), DOT, PRODUCT)
        span = (
            tl.load(high_BKHQ_ptr + scratch + rows)[:, None] - tl.load(high_BKHQ_ptr + scratch + columns)[None, :]
        ) + (tl.load(low_BKHQ_ptr + scratch + rows)[:, None] - tl.load(low_BKHQ_ptr + scratch + columns)[None, :])
        weight = tl.exp(tl.where(causal, span, float("-inf"))) * tl.load(step_BKHQ_ptr + scratch + columns)[None, :]
        # dy_i . x_j: how much the output at i would gain if j reached it more.
        weight *= tl.dot(grad, x, input_precision=PRECISION, out_dtype=ACC)
        total += weight
        # Row i sums its pairs up to column t - 1; what crosses step t is that of the rows i >= t. Nothing crosses the
        # first step, and there the last column's empty sum goes.
        later = rows[:, None] > columns[None, :]
        up_to = tl.cumsum(tl.where(later, weight * overlap, 0.0), axis=1)
        crossing = tl.sum(tl.where(later, up_to, 0.0), axis=0)
        tl.store(pairs_BKHTQ_ptr + (chunk_head * tiles + tile) * CHUNK + (columns + 1) % CHUNK, crossing)
    tl.store(doverlap_BKGQR_ptr + square, total)


@triton.jit
def map_gradients(
    vector_ptr, own_ptr, other_ptr, step_BKHQ_ptr, high_BKHQ_ptr, low_BKHQ_ptr, doverlap_BKGQR_ptr, state_BKHPN_ptr,
    dmap_ptr, paths_BKHTQ_ptr,
    length, heads, groups, features, state, chunks,
    vector_stride_b, vector_stride_l, vector_stride_h,
    own_stride_b, own_stride_l, own_stride_g, other_stride_b, other_stride_l, other_stride_g,
    CHUNK: tl.constexpr, BLOCK_Q: tl.constexpr, BLOCK_P: tl.constexpr, BLOCK_N: tl.constexpr, TO_END: tl.constexpr,
    HAS_STATE: tl.constexpr, ACC: tl.constexpr, DOT: tl.constexpr, PRODUCT: tl.constexpr, PRECISION: tl.constexpr,
):  # fmt: skip
    """dc, or TO_END db, of shape (B, L, G, N), contiguous; and left, or TO_END right, in one part a block of N.

    For dc, `vector` is dy, `own` c, `other` b, `state` the state entering; for db they are x, b, c, and the gradient of
    the state leaving. One program a block of positions, block of N, group and chunk; it walks the heads of its group.
    """
    tiles_n = tl.cdiv(state, BLOCK_N)
    tiles_q: tl.constexpr = CHUNK // BLOCK_Q
    place = tl.program_id(0)
    tile_n, tile_q = place % tiles_n, (place // tiles_n) % tiles_q
    chunk_group = (place // (tiles_n * tiles_q)).to(tl.int64)
    batch_chunk, group = chunk_group // groups, chunk_group % groups
    batch, chunk = batch_chunk // chunks, batch_chunk % chunks
    rows, p = tile_q * BLOCK_Q + tl.arange(0, BLOCK_Q), tl.arange(0, BLOCK_P)
    n = tile_n * BLOCK_N + tl.arange(0, BLOCK_N)
    position = chunk * CHUNK + rows
    there = (position[:, None] < length) & (n[None, :] < state)
    acc = tl.zeros((BLOCK_Q, BLOCK_N), dtype=ACC)
    if HAS_STATE:
        own_at = batch * own_stride_b + group * own_stride_g + position[:, None] * own_stride_l + n[None, :]
        own = tl.load(own_ptr + own_at, mask=there, other=0.0).to(ACC)
        vector_row = vector_ptr + batch * vector_stride_b + position[:, None] * vector_stride_l + p[None, :]
        vector_there = (position[:, None] < length) & (p[None, :] < features)
        state_there = (p[:, None] < features) & (n[None, :] < state)
        for member in range(heads // groups):
            head = group * (heads // groups) + member
            chunk_head = batch_chunk * heads + head
            scratch = chunk_head * CHUNK
            high, low = tl.load(high_BKHQ_ptr + scratch + rows), tl.load(low_BKHQ_ptr + scratch + rows)
            if TO_END:
                high_end = tl.load(high_BKHQ_ptr + scratch + CHUNK - 1)
                low_end = tl.load(low_BKHQ_ptr + scratch + CHUNK - 1)
                weight = tl.load(step_BKHQ_ptr + scratch + rows) * tl.exp((high_end - high) + (low_end - low))
            else:
                weight = tl.exp(high + low)
            vector = operand(tl.load(vector_row + head * vector_stride_h, mask=vector_there, other=0.0), DOT, PRODUCT)
            state_at = chunk_head * features * state + p[:, None] * state + n[None, :]
            h = operand(tl.load(state_BKHPN_ptr + state_at, mask=state_there, other=0.0), DOT, PRODUCT)
            through = tl.dot(vector, h, input_precision=PRECISION, out_dtype=ACC) * weight[:, None]
            acc += through
            # The same products, dotted with this end's own map, are the paths' shares in the gradient of decays.
            tl.store(paths_BKHTQ_ptr + (chunk_head * tiles_n + tile_n) * CHUNK + rows, tl.sum(through * own, axis=1))
    other_row = other_ptr + batch * other_stride_b + group * other_stride_g + n[None, :]
    for start in range(0, CHUNK, BLOCK_Q):
        columns = start + tl.arange(0, BLOCK_Q)
        square = rows[:, None] + columns[None, :] * CHUNK if TO_END else rows[:, None] * CHUNK + columns[None, :]
        weight = operand(tl.load(doverlap_BKGQR_ptr + chunk_group * CHUNK * CHUNK + square), DOT, PRODUCT)
        other_there = ((chunk * CHUNK + columns)[:, None] < length) & (n[None, :] < state)
        other_at = other_row + (chunk * CHUNK + columns)[:, None] * other_stride_l
        other = operand(tl.load(other_at, mask=other_there, other=0.0), DOT, PRODUCT)
        acc += tl.dot(weight, other, input_precision=PRECISION, out_dtype=ACC)
    out = ((batch * length + position[:, None]) * groups + group) * state + n[None, :]
    tl.store(dmap_ptr + out, acc, mask=there)


@triton.jit
def decay_gradients(
    rate_ptr, step_BKHQ_ptr, direct_BKHQ_ptr, pairs_BKHTQ_ptr, left_BKHTQ_ptr, right_BKHTQ_ptr, product_BKHT_ptr,
    ddt_ptr, drate_BKH_ptr, length, heads, chunks, tiles_n, tiles_state,
    CHUNK: tl.constexpr, TILES_Q: tl.constexpr, HAS_STATE: tl.constexpr, ACC: tl.constexpr,
):  # fmt: skip
    """The gradient of dt, of shape (B, L, H), contiguous, and a part of the rate's. One program a head and chunk."""
    chunk_head = tl.program_id(0).to(tl.int64)
    batch_chunk, head = chunk_head // heads, chunk_head % heads
    batch, chunk = batch_chunk // chunks, batch_chunk % chunks
    within = tl.arange(0, CHUNK)
    total = tl.zeros((CHUNK,), dtype=ACC)
    for tile in tl.static_range(TILES_Q):
        total += tl.load(pairs_BKHTQ_ptr + (chunk_head * TILES_Q + tile) * CHUNK + within)
    if HAS_STATE:
        left, right_before = tl.zeros((CHUNK,), dtype=ACC), tl.zeros((CHUNK,), dtype=ACC)
        for tile in range(tiles_n):
            part = (chunk_head * tiles_n + tile) * CHUNK + within
            left += tl.load(left_BKHTQ_ptr + part)
            right_before += tl.load(right_BKHTQ_ptr + part - 1, mask=within > 0, other=0.0)
        # A path from the state entering to row i crosses every step up to i, one from column j to the state leaving
        # every step after j: suffix sums of the one and prefix sums of the other.
        total += tl.cumsum(left, axis=0, reverse=True) + tl.cumsum(right_before, axis=0)
        # The path straight through the chunk crosses every step alike.
        for tile in range(tiles_state):
            total += tl.load(product_BKHT_ptr + chunk_head * tiles_state + tile)
    # total is the gradient of the product dt a: each factor's is that times the other; a's is summed over positions.
    step = tl.load(step_BKHQ_ptr + chunk_head * CHUNK + within)
    tl.store(drate_BKH_ptr + chunk_head, tl.sum(total * step, axis=0))
    ddt = total * tl.load(rate_ptr + head).to(ACC) + tl.load(direct_BKHQ_ptr + chunk_head * CHUNK + within)
    position = chunk * CHUNK + within
    tl.store(ddt_ptr + (batch * length + position) * heads + head, ddt, mask=position < length)
