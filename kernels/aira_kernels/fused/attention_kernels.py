"""Triton kernels of causal attention with rotary positions over small heads; `attention` launches them.

A head is read as its two halves, which turning mixes, so that loads stay whole vectors. Products take the halves
interleaved, (u_0, v_0, u_1, v_1, ...), and filled up with zeros to the narrowest product there is: the order of
features is free as long as both sides have the same. Scores and their sums are kept in base 2.

Rows past the sequence are read as 0. As keys no row of the sequence sees them; as queries they see something, so that
no row is empty, and add nothing to a gradient; they are never stored.
"""

# Triton reads these functions itself: their arguments are pointers and numbers, or constants where marked.
# ruff: noqa: ANN001, ANN201
# mypy: disable-error-code="no-untyped-def,untyped-decorator"

import triton
import triton.language as tl

from aira_kernels.fused.launch import operand


@triton.jit
def halves(x_ptr, row, length, stride, HALF: tl.constexpr, BLOCK_H: tl.constexpr):
    """Both halves of a head in the rows `row`, each (rows, BLOCK_H)."""
    column = tl.arange(0, BLOCK_H)
    at = row[:, None].to(tl.int64) * stride + column[None, :]
    there = (row < length)[:, None]
    if HALF != BLOCK_H:
        there = there & (column < HALF)[None, :]
    return tl.load(x_ptr + at, mask=there, other=0.0), tl.load(x_ptr + at + HALF, mask=there, other=0.0)


@triton.jit
def store_halves(x_ptr, u, v, row, length, stride, HALF: tl.constexpr, BLOCK_H: tl.constexpr):
    """Store both halves of a head in the rows `row`."""
    column = tl.arange(0, BLOCK_H)
    at = row[:, None].to(tl.int64) * stride + column[None, :]
    there = (row < length)[:, None]
    if HALF != BLOCK_H:
        there = there & (column < HALF)[None, :]
    tl.store(x_ptr + at, u, mask=there)
    tl.store(x_ptr + at + HALF, v, mask=there)


@triton.jit
def angles(cosine_ptr, sine_ptr, row, length, HALF: tl.constexpr, BLOCK_H: tl.constexpr, ACC: tl.constexpr):
    """Cosines and sines of the rows' angles: a table has them twice, and the sine's second half has the right sign."""
    cosine, _ = halves(cosine_ptr, row, length, 2 * HALF, HALF, BLOCK_H)
    _, sine = halves(sine_ptr, row, length, 2 * HALF, HALF, BLOCK_H)
    return cosine.to(ACC), sine.to(ACC)


@triton.jit
def interleaved(u, v, row, length, ROWS: tl.constexpr, BLOCK_H: tl.constexpr):
    """Both halves as one operand of a product, at least 16 wide."""
    x = tl.reshape(tl.join(u, v), (ROWS, 2 * BLOCK_H))
    if BLOCK_H == 4:
        x = tl.reshape(tl.join(x, tl.zeros_like(x)), (ROWS, 4 * BLOCK_H))
    # Rows past the sequence are 0 already. Triton (3.6, 3.9) fails to compile a product of what was just reshaped.
    return tl.where((row < length)[:, None], x, 0.0)


@triton.jit
def parted(x, ROWS: tl.constexpr, BLOCK_H: tl.constexpr):
    """Both halves of what `interleaved` has joined."""
    if BLOCK_H == 4:
        x, _ = tl.split(tl.reshape(x, (ROWS, 2 * BLOCK_H, 2)))
    return tl.split(tl.reshape(x, (ROWS, BLOCK_H, 2)))


@triton.jit
def plain(
    x_ptr, row, length, stride,
    HALF: tl.constexpr, BLOCK_H: tl.constexpr, BLOCK: tl.constexpr, DOT: tl.constexpr, PRODUCT: tl.constexpr,
):  # fmt: skip
    """Rows of a head as an operand."""
    u, v = halves(x_ptr, row, length, stride, HALF, BLOCK_H)
    return operand(interleaved(u, v, row, length, BLOCK, BLOCK_H), DOT, PRODUCT)


@triton.jit
def turned(
    x_ptr, cosine_ptr, sine_ptr, row, length, stride, factor, HALF: tl.constexpr, BLOCK_H: tl.constexpr,
    BLOCK: tl.constexpr, ACC: tl.constexpr, DOT: tl.constexpr, PRODUCT: tl.constexpr,
):  # fmt: skip
    """Rows of a head, turned by their positions and times a factor, as an operand."""
    u, v = halves(x_ptr, row, length, stride, HALF, BLOCK_H)
    cosine, sine = angles(cosine_ptr, sine_ptr, row, length, HALF, BLOCK_H, ACC)
    u, v = u.to(ACC) * factor, v.to(ACC) * factor
    return operand(interleaved(u * cosine - v * sine, v * cosine + u * sine, row, length, BLOCK, BLOCK_H), DOT, PRODUCT)


@triton.jit
def store_turned_back(
    x_ptr, grad, cosine_ptr, sine_ptr, row, length, stride, factor,
    HALF: tl.constexpr, BLOCK_H: tl.constexpr, BLOCK: tl.constexpr, ACC: tl.constexpr,
):  # fmt: skip
    """Store the gradient of what was turned: a turn by the opposite angle."""
    u, v = parted(grad * factor, BLOCK, BLOCK_H)
    cosine, sine = angles(cosine_ptr, sine_ptr, row, length, HALF, BLOCK_H, ACC)
    store_halves(x_ptr, u * cosine + v * sine, v * cosine - u * sine, row, length, stride, HALF, BLOCK_H)


@triton.jit
def attend(
    packed_ptr, cosine_ptr, sine_ptr, y_ptr, log_sum_ptr, length, heads, scale,
    HALF: tl.constexpr, BLOCK_H: tl.constexpr, BLOCK: tl.constexpr,
    ACC: tl.constexpr, DOT: tl.constexpr, PRODUCT: tl.constexpr, PRECISION: tl.constexpr,
):  # fmt: skip
    """y (B, L, H, P) from queries, keys and values packed as (B, L, 3, H, P); log_sum (B, H, L), log2 of sums of exp.

    One program a block of queries of a head; it walks the keys up to its diagonal and keeps running maxima and sums
    (Milakov and Gimelshein 2018, Dao et al. 2022).
    """
    tiles = tl.cdiv(length, BLOCK)
    place = tl.program_id(0)
    # The last blocks have most keys to walk, so they are started first.
    tile, batch_head = tiles - 1 - place % tiles, (place // tiles).to(tl.int64)
    batch, head = batch_head // heads, batch_head % heads
    stride = 6 * heads * HALF
    query_ptr = packed_ptr + batch * length * stride + head * (2 * HALF)
    key_ptr, value_ptr = query_ptr + heads * (2 * HALF), query_ptr + heads * (4 * HALF)
    row = tile * BLOCK + tl.arange(0, BLOCK)
    query = turned(
        query_ptr, cosine_ptr, sine_ptr, row, length, stride, scale * 1.4426950408889634,  # log2(e)
        HALF, BLOCK_H, BLOCK, ACC, DOT, PRODUCT,
    )  # fmt: skip
    most = tl.full((BLOCK,), float("-inf"), dtype=ACC)
    total = tl.zeros((BLOCK,), dtype=ACC)
    acc = tl.zeros((BLOCK, 2 * BLOCK_H if BLOCK_H > 4 else 16), dtype=ACC)
    for start in range(0, (tile + 1) * BLOCK, BLOCK):
        column = start + tl.arange(0, BLOCK)
        key = turned(
            key_ptr, cosine_ptr, sine_ptr, column, length, stride, 1.0, HALF, BLOCK_H, BLOCK, ACC, DOT, PRODUCT
        )
        scores = tl.dot(query, tl.trans(key), input_precision=PRECISION, out_dtype=ACC)
        scores = tl.where(column[None, :] <= row[:, None], scores, float("-inf"))
        higher = tl.maximum(most, tl.max(scores, axis=1))
        fading, weight = tl.exp2(most - higher), tl.exp2(scores - higher[:, None])
        total = total * fading + tl.sum(weight, axis=1)
        value = plain(value_ptr, column, length, stride, HALF, BLOCK_H, BLOCK, DOT, PRODUCT)
        mixed = tl.dot(operand(weight, DOT, PRODUCT), value, input_precision=PRECISION, out_dtype=ACC)
        acc, most = acc * fading[:, None] + mixed, higher
    u, v = parted(acc / total[:, None], BLOCK, BLOCK_H)
    out_stride = 2 * heads * HALF
    store_halves(y_ptr + batch * length * out_stride + head * (2 * HALF), u, v, row, length, out_stride, HALF, BLOCK_H)
    tl.store(log_sum_ptr + batch_head * length + row, most + tl.log2(total), mask=row < length)


@triton.jit
def query_gradients(
    grad_ptr, packed_ptr, cosine_ptr, sine_ptr, y_ptr, log_sum_ptr, along_ptr, dpacked_ptr, length, heads, scale,
    HALF: tl.constexpr, BLOCK_H: tl.constexpr, BLOCK: tl.constexpr,
    ACC: tl.constexpr, DOT: tl.constexpr, PRODUCT: tl.constexpr, PRECISION: tl.constexpr,
):  # fmt: skip
    """The queries' part of dpacked (B, L, 3, H, P), and along (B, H, L), the products dy . y of each row."""
    tiles = tl.cdiv(length, BLOCK)
    place = tl.program_id(0)
    tile, batch_head = tiles - 1 - place % tiles, (place // tiles).to(tl.int64)
    batch, head = batch_head // heads, batch_head % heads
    stride, out_stride = 6 * heads * HALF, 2 * heads * HALF
    query_offset = batch * length * stride + head * (2 * HALF)
    key_ptr, value_ptr = packed_ptr + query_offset + heads * (2 * HALF), packed_ptr + query_offset + heads * (4 * HALF)
    out_offset = batch * length * out_stride + head * (2 * HALF)
    row = tile * BLOCK + tl.arange(0, BLOCK)
    query = turned(
        packed_ptr + query_offset, cosine_ptr, sine_ptr, row, length, stride, scale * 1.4426950408889634,
        HALF, BLOCK_H, BLOCK, ACC, DOT, PRODUCT,
    )  # fmt: skip
    grad_u, grad_v = halves(grad_ptr + out_offset, row, length, out_stride, HALF, BLOCK_H)
    y_u, y_v = halves(y_ptr + out_offset, row, length, out_stride, HALF, BLOCK_H)
    along = tl.sum(grad_u.to(ACC) * y_u.to(ACC) + grad_v.to(ACC) * y_v.to(ACC), axis=1)
    tl.store(along_ptr + batch_head * length + row, along, mask=row < length)
    grad = operand(interleaved(grad_u, grad_v, row, length, BLOCK, BLOCK_H), DOT, PRODUCT)
    log_sum = tl.load(log_sum_ptr + batch_head * length + row, mask=row < length, other=float("inf"))
    dquery = tl.zeros((BLOCK, 2 * BLOCK_H if BLOCK_H > 4 else 16), dtype=ACC)
    for start in range(0, (tile + 1) * BLOCK, BLOCK):
        column = start + tl.arange(0, BLOCK)
        key = turned(
            key_ptr, cosine_ptr, sine_ptr, column, length, stride, 1.0, HALF, BLOCK_H, BLOCK, ACC, DOT, PRODUCT
        )
        value = plain(value_ptr, column, length, stride, HALF, BLOCK_H, BLOCK, DOT, PRODUCT)
        scores = tl.dot(query, tl.trans(key), input_precision=PRECISION, out_dtype=ACC)
        weight = tl.exp2(tl.where(column[None, :] <= row[:, None], scores - log_sum[:, None], float("-inf")))
        dweight = tl.dot(grad, tl.trans(value), input_precision=PRECISION, out_dtype=ACC)
        # d softmax: ds = w (dw - w . dw), and the row's w . dw is dy . y.
        dscores = operand(weight * (dweight - along[:, None]), DOT, PRODUCT)
        dquery += tl.dot(dscores, key, input_precision=PRECISION, out_dtype=ACC)
    store_turned_back(
        dpacked_ptr + query_offset, dquery, cosine_ptr, sine_ptr, row, length, stride, scale,
        HALF, BLOCK_H, BLOCK, ACC,
    )  # fmt: skip


@triton.jit
def key_value_gradients(
    grad_ptr, packed_ptr, cosine_ptr, sine_ptr, log_sum_ptr, along_ptr, dpacked_ptr, length, heads, scale,
    HALF: tl.constexpr, BLOCK_H: tl.constexpr, BLOCK: tl.constexpr,
    ACC: tl.constexpr, DOT: tl.constexpr, PRODUCT: tl.constexpr, PRECISION: tl.constexpr,
):  # fmt: skip
    """The keys' and values' parts of dpacked. One program a block of keys; it walks the queries from its diagonal on.

    Scores are computed transposed, keys down and queries across, as the products here need them.
    """
    tiles = tl.cdiv(length, BLOCK)
    place = tl.program_id(0)
    tile, batch_head = place % tiles, (place // tiles).to(tl.int64)
    batch, head = batch_head // heads, batch_head % heads
    stride, out_stride = 6 * heads * HALF, 2 * heads * HALF
    query_offset = batch * length * stride + head * (2 * HALF)
    key_offset, value_offset = query_offset + heads * (2 * HALF), query_offset + heads * (4 * HALF)
    grad_head = grad_ptr + batch * length * out_stride + head * (2 * HALF)
    column = tile * BLOCK + tl.arange(0, BLOCK)
    key = turned(
        packed_ptr + key_offset, cosine_ptr, sine_ptr, column, length, stride, scale * 1.4426950408889634,
        HALF, BLOCK_H, BLOCK, ACC, DOT, PRODUCT,
    )  # fmt: skip
    value = plain(packed_ptr + value_offset, column, length, stride, HALF, BLOCK_H, BLOCK, DOT, PRODUCT)
    dkey = tl.zeros((BLOCK, 2 * BLOCK_H if BLOCK_H > 4 else 16), dtype=ACC)
    dvalue = tl.zeros((BLOCK, 2 * BLOCK_H if BLOCK_H > 4 else 16), dtype=ACC)
    for start in range(tile * BLOCK, length, BLOCK):
        row = start + tl.arange(0, BLOCK)
        query = turned(
            packed_ptr + query_offset, cosine_ptr, sine_ptr, row, length, stride, 1.0,
            HALF, BLOCK_H, BLOCK, ACC, DOT, PRODUCT,
        )  # fmt: skip
        grad = plain(grad_head, row, length, out_stride, HALF, BLOCK_H, BLOCK, DOT, PRODUCT)
        # Where there is no query, the weight is 2 to the power of minus infinity.
        log_sum = tl.load(log_sum_ptr + batch_head * length + row, mask=row < length, other=float("inf"))
        along = tl.load(along_ptr + batch_head * length + row, mask=row < length, other=0.0)
        scores = tl.dot(key, tl.trans(query), input_precision=PRECISION, out_dtype=ACC)
        weight = tl.exp2(tl.where(column[:, None] <= row[None, :], scores - log_sum[None, :], float("-inf")))
        dvalue += tl.dot(operand(weight, DOT, PRODUCT), grad, input_precision=PRECISION, out_dtype=ACC)
        dweight = tl.dot(value, tl.trans(grad), input_precision=PRECISION, out_dtype=ACC)
        dscores = operand(weight * (dweight - along[None, :]), DOT, PRODUCT)
        dkey += tl.dot(dscores, query, input_precision=PRECISION, out_dtype=ACC)
    store_turned_back(
        dpacked_ptr + key_offset, dkey, cosine_ptr, sine_ptr, column, length, stride, scale,
        HALF, BLOCK_H, BLOCK, ACC,
    )  # fmt: skip
    u, v = parted(dvalue, BLOCK, BLOCK_H)
    store_halves(dpacked_ptr + value_offset, u, v, column, length, stride, HALF, BLOCK_H)
