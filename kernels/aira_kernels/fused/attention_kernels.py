"""Triton kernels of causal attention with rotary positions over small heads; `attention` launches them.

Padded columns of a head are read as 0 and add nothing to a product. Rows past the sequence see key 0, so that no row is
empty; they are never stored.
"""

# Triton reads these functions itself: their arguments are pointers and numbers, or constants where marked.
# ruff: noqa: ANN001, ANN201
# mypy: disable-error-code="no-untyped-def,untyped-decorator"

import triton
import triton.language as tl

from aira_kernels.fused.launch import operand


@triton.jit
def turned(
    x_ptr, cosine_ptr, sine_ptr, position, length, x_stride_l,
    P: tl.constexpr, BLOCK_P: tl.constexpr, ACC: tl.constexpr, SWAPPED: tl.constexpr,
):  # fmt: skip
    """Rows of a head turned by their positions; with SWAPPED, the columns of both halves of the head change places.

    y_p = x_p cos_p + x_s(p) sine_p, where s swaps the halves, cos_s(p) = cos_p and sine_s(p) = -sine_p.
    """
    p = tl.arange(0, BLOCK_P)
    swapped = (p + P // 2) % P
    there = (position < length)[:, None] & (p < P)[None, :]
    row = x_ptr + position[:, None].to(tl.int64) * x_stride_l
    x = tl.load(row + p[None, :], mask=there, other=0.0).to(ACC)
    other = tl.load(row + swapped[None, :], mask=there, other=0.0).to(ACC)
    table = position[:, None] * P + p[None, :]
    cosine = tl.load(cosine_ptr + table, mask=there, other=0.0).to(ACC)
    sine = tl.load(sine_ptr + table, mask=there, other=0.0).to(ACC)
    return other * cosine - x * sine if SWAPPED else x * cosine + other * sine


@triton.jit
def turned_back(
    grad, swapped_grad, cosine_ptr, sine_ptr, position, length,
    P: tl.constexpr, BLOCK_P: tl.constexpr, ACC: tl.constexpr,
):  # fmt: skip
    """The gradient of what was turned: dx_p = dy_p cos_p - dy_s(p) sine_p."""
    p = tl.arange(0, BLOCK_P)
    there = (position < length)[:, None] & (p < P)[None, :]
    table = position[:, None] * P + p[None, :]
    cosine = tl.load(cosine_ptr + table, mask=there, other=0.0).to(ACC)
    sine = tl.load(sine_ptr + table, mask=there, other=0.0).to(ACC)
    return grad * cosine - swapped_grad * sine


@triton.jit
def rows_of(x_ptr, position, length, x_stride_l, P: tl.constexpr, BLOCK_P: tl.constexpr):
    """Rows of a head as they are."""
    p = tl.arange(0, BLOCK_P)
    there = (position < length)[:, None] & (p < P)[None, :]
    return tl.load(x_ptr + position[:, None].to(tl.int64) * x_stride_l + p[None, :], mask=there, other=0.0)


@triton.jit
def attend(
    packed_ptr, cosine_ptr, sine_ptr, y_ptr, log_sum_ptr, length, heads, scale,
    P: tl.constexpr, BLOCK_P: tl.constexpr, BLOCK: tl.constexpr,
    ACC: tl.constexpr, DOT: tl.constexpr, PRODUCT: tl.constexpr, PRECISION: tl.constexpr,
):  # fmt: skip
    """y (B, L, H, P) from queries, keys and values packed as (B, L, 3, H, P); log_sum (B, H, L) of exp(scores).

    One program a block of queries of a head; it walks the keys up to its diagonal and keeps running maxima and sums
    (Milakov and Gimelshein 2018, Dao et al. 2022).
    """
    tiles = tl.cdiv(length, BLOCK)
    place = tl.program_id(0)
    # The last blocks have most keys to walk, so they are started first.
    tile, batch_head = tiles - 1 - place % tiles, (place // tiles).to(tl.int64)
    batch, head = batch_head // heads, batch_head % heads
    stride_l = 3 * heads * P
    query_ptr = packed_ptr + batch * length * stride_l + head * P
    key_ptr, value_ptr = query_ptr + heads * P, query_ptr + 2 * heads * P
    row = tile * BLOCK + tl.arange(0, BLOCK)
    query = turned(query_ptr, cosine_ptr, sine_ptr, row, length, stride_l, P, BLOCK_P, ACC, False) * scale
    query = operand(query, DOT, PRODUCT)
    most = tl.full((BLOCK,), float("-inf"), dtype=ACC)
    total = tl.zeros((BLOCK,), dtype=ACC)
    acc = tl.zeros((BLOCK, BLOCK_P), dtype=ACC)
    for start in range(0, (tile + 1) * BLOCK, BLOCK):
        column = start + tl.arange(0, BLOCK)
        key = turned(key_ptr, cosine_ptr, sine_ptr, column, length, stride_l, P, BLOCK_P, ACC, False)
        key = tl.trans(operand(key, DOT, PRODUCT))
        scores = tl.dot(query, key, input_precision=PRECISION, out_dtype=ACC)
        seen = (column[None, :] <= row[:, None]) & (column < length)[None, :]
        scores = tl.where(seen, scores, float("-inf"))
        higher = tl.maximum(most, tl.max(scores, axis=1))
        fading, weight = tl.exp(most - higher), tl.exp(scores - higher[:, None])
        total = total * fading + tl.sum(weight, axis=1)
        value = operand(rows_of(value_ptr, column, length, stride_l, P, BLOCK_P), DOT, PRODUCT)
        mixed = tl.dot(operand(weight, DOT, PRODUCT), value, input_precision=PRECISION, out_dtype=ACC)
        acc, most = acc * fading[:, None] + mixed, higher
    p = tl.arange(0, BLOCK_P)
    there = (row < length)[:, None] & (p < P)[None, :]
    out = ((batch * length + row[:, None]) * heads + head) * P + p[None, :]
    tl.store(y_ptr + out, acc / total[:, None], mask=there)
    tl.store(log_sum_ptr + batch_head * length + row, most + tl.log(total), mask=row < length)


@triton.jit
def query_gradients(
    grad_ptr, packed_ptr, cosine_ptr, sine_ptr, y_ptr, log_sum_ptr, along_ptr, dpacked_ptr, length, heads, scale,
    P: tl.constexpr, BLOCK_P: tl.constexpr, BLOCK: tl.constexpr,
    ACC: tl.constexpr, DOT: tl.constexpr, PRODUCT: tl.constexpr, PRECISION: tl.constexpr,
):  # fmt: skip
    """The queries' part of dpacked (B, L, 3, H, P), and along (B, H, L), the products dy . y of each row."""
    tiles = tl.cdiv(length, BLOCK)
    place = tl.program_id(0)
    tile, batch_head = tiles - 1 - place % tiles, (place // tiles).to(tl.int64)
    batch, head = batch_head // heads, batch_head % heads
    stride_l, row_stride = 3 * heads * P, heads * P
    query_ptr = packed_ptr + batch * length * stride_l + head * P
    key_ptr, value_ptr = query_ptr + heads * P, query_ptr + 2 * heads * P
    out_offset = batch * length * row_stride + head * P
    row = tile * BLOCK + tl.arange(0, BLOCK)
    query = turned(query_ptr, cosine_ptr, sine_ptr, row, length, stride_l, P, BLOCK_P, ACC, False) * scale
    query = operand(query, DOT, PRODUCT)
    grad = rows_of(grad_ptr + out_offset, row, length, row_stride, P, BLOCK_P)
    y = rows_of(y_ptr + out_offset, row, length, row_stride, P, BLOCK_P)
    along = tl.sum(grad.to(ACC) * y.to(ACC), axis=1)
    tl.store(along_ptr + batch_head * length + row, along, mask=row < length)
    grad = operand(grad, DOT, PRODUCT)
    log_sum = tl.load(log_sum_ptr + batch_head * length + row, mask=row < length, other=0.0)
    dquery = tl.zeros((BLOCK, BLOCK_P), dtype=ACC)
    dswapped = tl.zeros((BLOCK, BLOCK_P), dtype=ACC)
    for start in range(0, (tile + 1) * BLOCK, BLOCK):
        column = start + tl.arange(0, BLOCK)
        key = operand(
            turned(key_ptr, cosine_ptr, sine_ptr, column, length, stride_l, P, BLOCK_P, ACC, False), DOT, PRODUCT
        )
        swapped = operand(
            turned(key_ptr, cosine_ptr, sine_ptr, column, length, stride_l, P, BLOCK_P, ACC, True), DOT, PRODUCT
        )
        value = operand(rows_of(value_ptr, column, length, stride_l, P, BLOCK_P), DOT, PRODUCT)
        scores = tl.dot(query, tl.trans(key), input_precision=PRECISION, out_dtype=ACC)
        seen = (column[None, :] <= row[:, None]) & (column < length)[None, :] & (row < length)[:, None]
        weight = tl.exp(tl.where(seen, scores - log_sum[:, None], float("-inf")))
        dweight = tl.dot(grad, tl.trans(value), input_precision=PRECISION, out_dtype=ACC)
        # d softmax: ds = w (dw - w . dw), and the row's w . dw is dy . y.
        dscores = operand(weight * (dweight - along[:, None]) * scale, DOT, PRODUCT)
        dquery += tl.dot(dscores, key, input_precision=PRECISION, out_dtype=ACC)
        dswapped += tl.dot(dscores, swapped, input_precision=PRECISION, out_dtype=ACC)
    back = turned_back(dquery, dswapped, cosine_ptr, sine_ptr, row, length, P, BLOCK_P, ACC)
    p = tl.arange(0, BLOCK_P)
    out = batch * length * stride_l + row[:, None].to(tl.int64) * stride_l + head * P + p[None, :]
    tl.store(dpacked_ptr + out, back, mask=(row < length)[:, None] & (p < P)[None, :])


@triton.jit
def key_value_gradients(
    grad_ptr, packed_ptr, cosine_ptr, sine_ptr, log_sum_ptr, along_ptr, dpacked_ptr, length, heads, scale,
    P: tl.constexpr, BLOCK_P: tl.constexpr, BLOCK: tl.constexpr,
    ACC: tl.constexpr, DOT: tl.constexpr, PRODUCT: tl.constexpr, PRECISION: tl.constexpr,
):  # fmt: skip
    """The keys' and values' parts of dpacked. One program a block of keys; it walks the queries from its diagonal on.

    Scores are computed transposed, keys down and queries across, as the products here need them.
    """
    tiles = tl.cdiv(length, BLOCK)
    place = tl.program_id(0)
    tile, batch_head = place % tiles, (place // tiles).to(tl.int64)
    batch, head = batch_head // heads, batch_head % heads
    stride_l, row_stride = 3 * heads * P, heads * P
    query_ptr = packed_ptr + batch * length * stride_l + head * P
    key_ptr, value_ptr = query_ptr + heads * P, query_ptr + 2 * heads * P
    grad_head = grad_ptr + batch * length * row_stride + head * P
    column = tile * BLOCK + tl.arange(0, BLOCK)
    key = turned(key_ptr, cosine_ptr, sine_ptr, column, length, stride_l, P, BLOCK_P, ACC, False) * scale
    key = operand(key, DOT, PRODUCT)
    value = operand(rows_of(value_ptr, column, length, stride_l, P, BLOCK_P), DOT, PRODUCT)
    dkey = tl.zeros((BLOCK, BLOCK_P), dtype=ACC)
    dswapped = tl.zeros((BLOCK, BLOCK_P), dtype=ACC)
    dvalue = tl.zeros((BLOCK, BLOCK_P), dtype=ACC)
    for start in range(tile * BLOCK, length, BLOCK):
        row = start + tl.arange(0, BLOCK)
        query = operand(
            turned(query_ptr, cosine_ptr, sine_ptr, row, length, stride_l, P, BLOCK_P, ACC, False), DOT, PRODUCT
        )
        swapped = operand(
            turned(query_ptr, cosine_ptr, sine_ptr, row, length, stride_l, P, BLOCK_P, ACC, True), DOT, PRODUCT
        )
        grad = operand(rows_of(grad_head, row, length, row_stride, P, BLOCK_P), DOT, PRODUCT)
        log_sum = tl.load(log_sum_ptr + batch_head * length + row, mask=row < length, other=0.0)
        along = tl.load(along_ptr + batch_head * length + row, mask=row < length, other=0.0)
        scores = tl.dot(key, tl.trans(query), input_precision=PRECISION, out_dtype=ACC)
        seen = (column[:, None] <= row[None, :]) & (column < length)[:, None] & (row < length)[None, :]
        weight = tl.exp(tl.where(seen, scores - log_sum[None, :], float("-inf")))
        dvalue += tl.dot(operand(weight, DOT, PRODUCT), grad, input_precision=PRECISION, out_dtype=ACC)
        dweight = tl.dot(value, tl.trans(grad), input_precision=PRECISION, out_dtype=ACC)
        dscores = operand(weight * (dweight - along[None, :]) * scale, DOT, PRODUCT)
        dkey += tl.dot(dscores, query, input_precision=PRECISION, out_dtype=ACC)
        dswapped += tl.dot(dscores, swapped, input_precision=PRECISION, out_dtype=ACC)
    back = turned_back(dkey, dswapped, cosine_ptr, sine_ptr, column, length, P, BLOCK_P, ACC)
    p = tl.arange(0, BLOCK_P)
    out = batch * length * stride_l + column[:, None].to(tl.int64) * stride_l + (heads + head) * P + p[None, :]
    there = (column < length)[:, None] & (p < P)[None, :]
    tl.store(dpacked_ptr + out, back, mask=there)
    tl.store(dpacked_ptr + out + heads * P, dvalue, mask=there)
