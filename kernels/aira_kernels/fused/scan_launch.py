"""Launches of the scan's kernels, forward and backward, with the tile sizes they are given.

`scan` makes operators of them. The backward pass computes the states anew instead of keeping them: they are as large as
x. Its sums have a fixed order and use no atomics, so gradients are the same to the last digit on one GPU type.
"""

from dataclasses import dataclass
from typing import Any

import torch
import triton
from torch import Tensor

from aira_kernels.fused import scan_backward, scan_forward
from aira_kernels.fused.launch import accumulator, last_axis_dense, power_of_two, product_types

LARGEST_CHUNK = 128
_PASS_BLOCK = 1024


@dataclass(frozen=True)
class ScanTiles:
    """Tile sizes of the scan, in positions and state features; all powers of two."""

    chunk: int
    block_q: int
    block_n: int

    def __post_init__(self) -> None:
        for size in (self.chunk, self.block_q, self.block_n):
            if size < 16 or size & (size - 1):
                raise ValueError(f"tile sizes are powers of two from 16, got {self}")
        if self.chunk % self.block_q:
            raise ValueError(f"a chunk is a whole number of blocks, got {self}")


def scan_tiles(length: int, state: int, dtype: torch.dtype, chunk: int = LARGEST_CHUNK) -> ScanTiles:
    """Return the tiles for one shape: a chunk no longer than the sequence, smaller blocks where numbers are wide."""
    positions = power_of_two(min(chunk, length), at_most=LARGEST_CHUNK)
    widest = 64 if dtype.itemsize <= 2 else 32
    return ScanTiles(positions, min(positions, widest), power_of_two(state, at_most=widest))


def forward(
    x: Tensor,
    dt: Tensor,
    a: Tensor,
    b: Tensor,
    c: Tensor,
    skip: Tensor,
    tiles: ScanTiles,
    left_BHPN: Tensor | None = None,
) -> Tensor:
    """y of shape (B, L, H, P), contiguous; arguments as in `scan.ssd_scan`.

    `left_BHPN`, contiguous and of the type that sums are taken in, is filled with the state behind the last position.
    """
    x, b, c = (last_axis_dense(part) for part in (x, b, c))
    # Steps and rates are small and decide exponents: they are never read in less than float32.
    dt, a, skip = (part.to(accumulator(x.dtype)) for part in (dt, a.contiguous(), skip.contiguous()))
    launch = _Launch.of(x, b, tiles)
    scratch = _prepare(launch, x, dt, a, b, c, left_BHPN)
    y = torch.empty(x.shape, dtype=x.dtype, device=x.device)
    scan_forward.outputs[(launch.chunk_heads * launch.rows,)](
        x, c, skip, *scratch.decays, scratch.overlap_BKGQR, scratch.entering_BKHPN, y,
        launch.length, launch.heads, launch.groups, launch.features, launch.state, launch.chunks,
        *x.stride()[:3], *c.stride()[:3],
        CHUNK=launch.tiles.chunk, BLOCK_Q=launch.tiles.block_q, BLOCK_P=launch.block_p, BLOCK_N=launch.tiles.block_n,
        HAS_STATE=launch.chunks > 1, num_warps=4, **launch.types,
    )  # fmt: skip
    return y


def backward(
    grad: Tensor, x: Tensor, dt: Tensor, a: Tensor, b: Tensor, c: Tensor, skip: Tensor, tiles: ScanTiles
) -> tuple[Tensor, Tensor, Tensor, Tensor, Tensor, Tensor]:
    """Return the gradients of x, dt, a, b, c and skip, contiguous, each in its tensor's type."""
    grad, types = grad.to(x.dtype).contiguous(), [part.dtype for part in (dt, a, skip)]
    x, b, c = (last_axis_dense(part) for part in (x, b, c))
    # Steps and rates are small and decide exponents: they are never read in less than float32.
    dt, a, skip = (part.to(accumulator(x.dtype)) for part in (dt, a.contiguous(), skip.contiguous()))
    launch = _Launch.of(x, b, tiles)
    scratch = _prepare(launch, x, dt, a, b, c)
    leaving, product = scratch.entering_BKHPN, launch.scratch(x, 1)
    if launch.chunks > 1:
        leaving = torch.empty_like(scratch.entering_BKHPN)
        product = _pass(launch, scratch, _states(launch, scratch, grad, c, from_start=True), leaving, backward=True)
    dx, direct, dskip = _input_gradients(launch, scratch, grad, x, b, skip, leaving)
    doverlap, pairs = _overlap_gradients(launch, scratch, grad, x)
    dc, left = _map_gradients(launch, scratch, doverlap, (grad, c, b, scratch.entering_BKHPN), to_end=False)
    db, right = _map_gradients(launch, scratch, doverlap, (x, b, c, leaving), to_end=True)
    ddt = torch.empty(dt.shape, dtype=types[0], device=x.device)
    drate = launch.scratch(x, launch.batch * launch.chunks, launch.heads)
    scan_backward.decay_gradients[(launch.chunk_heads,)](
        a, scratch.step_BKHQ, direct, pairs, left, right, product, ddt, drate,
        launch.length, launch.heads, launch.chunks, launch.blocks_n, product.shape[-1],
        CHUNK=launch.tiles.chunk, TILES_Q=launch.rows, HAS_STATE=launch.chunks > 1, ACC=launch.types["ACC"],
        num_warps=1,
    )  # fmt: skip
    return dx, ddt, drate.sum(0).to(types[1]), db, dc, dskip.to(types[2])


@dataclass(frozen=True)
class _Launch:
    """One scan's sizes and types, and the scratch tensors both passes need."""

    tiles: ScanTiles
    batch: int
    length: int
    heads: int
    features: int
    groups: int
    state: int
    dtype: torch.dtype

    @classmethod
    def of(cls, x: Tensor, b: Tensor, tiles: ScanTiles) -> "_Launch":
        batch, length, heads, features = x.shape
        return cls(tiles, batch, length, heads, features, b.shape[2], b.shape[3], x.dtype)

    @property
    def chunks(self) -> int:
        return -(-self.length // self.tiles.chunk)

    @property
    def rows(self) -> int:
        """Blocks of positions in a chunk."""
        return self.tiles.chunk // self.tiles.block_q

    @property
    def blocks_n(self) -> int:
        return -(-self.state // self.tiles.block_n)

    @property
    def chunk_heads(self) -> int:
        return self.batch * self.chunks * self.heads

    @property
    def chunk_groups(self) -> int:
        return self.batch * self.chunks * self.groups

    @property
    def block_p(self) -> int:
        return power_of_two(self.features)

    @property
    def types(self) -> dict[str, Any]:
        return product_types(self.dtype)

    @property
    def warps(self) -> int:
        return 4 if self.tiles.chunk <= 64 else 8

    def scratch(self, like: Tensor, *shape: int) -> Tensor:
        return torch.empty(shape, dtype=accumulator(self.dtype), device=like.device)


@dataclass(frozen=True)
class _Scratch:
    """What the forward pass computes on the way to y, and the backward pass again."""

    step_BKHQ: Tensor
    high_BKHQ: Tensor
    low_BKHQ: Tensor
    overlap_BKGQR: Tensor
    entering_BKHPN: Tensor

    @property
    def decays(self) -> tuple[Tensor, Tensor, Tensor]:
        return self.step_BKHQ, self.high_BKHQ, self.low_BKHQ


def _prepare(
    launch: _Launch, x: Tensor, dt: Tensor, a: Tensor, b: Tensor, c: Tensor, left_BHPN: Tensor | None = None
) -> _Scratch:
    chunk, acc = launch.tiles.chunk, launch.types["ACC"]
    step, high, low = (launch.scratch(x, launch.chunk_heads, chunk) for _ in range(3))
    block_h = min(power_of_two(launch.heads, at_least=1), 8)
    head_blocks = launch.batch * launch.chunks * triton.cdiv(launch.heads, block_h)
    scan_forward.decay_sums[(head_blocks,)](
        dt, a, step, high, low, launch.length, launch.heads, launch.chunks, *dt.stride(),
        CHUNK=chunk, BLOCK_H=block_h, ACC=acc, num_warps=4,
    )  # fmt: skip
    overlap = launch.scratch(x, launch.chunk_groups, chunk, chunk)
    scan_forward.overlaps[(launch.chunk_groups * launch.rows,)](
        b, c, overlap, launch.length, launch.groups, launch.state, launch.chunks, *b.stride()[:3], *c.stride()[:3],
        CHUNK=chunk, BLOCK_Q=launch.tiles.block_q, BLOCK_N=launch.tiles.block_n, num_warps=launch.warps, **launch.types,
    )  # fmt: skip
    # The maps read states as operands of products, so keeping them in x's type loses nothing more.
    entering = torch.empty(
        (launch.chunk_heads, launch.features, launch.state) if launch.chunks > 1 else (0,),
        dtype=launch.dtype, device=x.device,
    )  # fmt: skip
    scratch = _Scratch(step, high, low, overlap, entering)
    if launch.chunks > 1 or left_BHPN is not None:
        added = _states(launch, scratch, x, b, from_start=False)
        if launch.chunks > 1:
            _pass(launch, scratch, added, entering, backward=False)
        if left_BHPN is not None:
            _leave(launch, scratch, added, left_BHPN)
    return scratch


def _leave(launch: _Launch, scratch: _Scratch, added: Tensor, left_BHPN: Tensor) -> None:
    """The state behind the last chunk: what each has added, decayed by the chunks after it.

    What `_pass` has kept of the states between chunks is rounded to x's type; this is not.
    """
    by_chunk = launch.batch, launch.chunks, launch.heads
    whole_BKH = (scratch.high_BKHQ[:, -1] + scratch.low_BKHQ[:, -1]).view(by_chunk)
    # Summed from the end and without a chunk's own: what weighs most is left with all its digits.
    later_BKH = torch.cat((whole_BKH[:, 1:], torch.zeros_like(whole_BKH[:, :1])), dim=1)
    after_BHK = later_BKH.flip(1).cumsum(1).flip(1).exp().transpose(1, 2)
    added_BHKS = added.view(*by_chunk, -1).transpose(1, 2)
    torch.matmul(after_BHK[:, :, None], added_BHKS, out=left_BHPN.view(launch.batch, launch.heads, 1, -1))


def _states(launch: _Launch, scratch: _Scratch, x: Tensor, b: Tensor, *, from_start: bool) -> Tensor:
    states = launch.scratch(x, launch.chunk_heads, launch.features, launch.state)
    scan_forward.chunk_states[(launch.chunk_heads * launch.blocks_n,)](
        x, b, *scratch.decays, states,
        launch.length, launch.heads, launch.groups, launch.features, launch.state, launch.chunks,
        *x.stride()[:3], *b.stride()[:3],
        CHUNK=launch.tiles.chunk, BLOCK_Q=launch.tiles.block_q, BLOCK_P=launch.block_p, BLOCK_N=launch.tiles.block_n,
        FROM_START=from_start, num_warps=4, **launch.types,
    )  # fmt: skip
    return states


def _pass(launch: _Launch, scratch: _Scratch, added: Tensor, passed: Tensor, *, backward: bool) -> Tensor:
    """Fill `passed`; backward, return each chunk's parts of the inner product with the states entering."""
    size = launch.features * launch.state
    block = min(power_of_two(size), _PASS_BLOCK)
    tiles = triton.cdiv(size, block)
    product = launch.scratch(added, launch.chunk_heads, tiles) if backward else added
    scan_forward.pass_states[(launch.batch * launch.heads * tiles,)](
        added, passed, scratch.high_BKHQ, scratch.low_BKHQ, scratch.entering_BKHPN, product,
        launch.heads, size, launch.chunks,
        CHUNK=launch.tiles.chunk, BLOCK=block, BACKWARD=backward, ACC=launch.types["ACC"], num_warps=4,
    )  # fmt: skip
    return product


def _input_gradients(
    launch: _Launch, scratch: _Scratch, grad: Tensor, x: Tensor, b: Tensor, skip: Tensor, leaving: Tensor
) -> tuple[Tensor, Tensor, Tensor]:
    dx = torch.empty(x.shape, dtype=x.dtype, device=x.device)
    direct = torch.empty_like(scratch.step_BKHQ)
    dskip = launch.scratch(x, launch.batch * launch.chunks, launch.heads, launch.rows)
    scan_backward.input_gradients[(launch.chunk_heads * launch.rows,)](
        grad, x, b, skip, *scratch.decays, scratch.overlap_BKGQR, leaving, dx, direct, dskip,
        launch.length, launch.heads, launch.groups, launch.features, launch.state, launch.chunks,
        *x.stride()[:3], *b.stride()[:3],
        CHUNK=launch.tiles.chunk, BLOCK_Q=launch.tiles.block_q, BLOCK_P=launch.block_p, BLOCK_N=launch.tiles.block_n,
        HAS_STATE=launch.chunks > 1, num_warps=4, **launch.types,
    )  # fmt: skip
    return dx, direct, dskip.sum((0, 2))


def _overlap_gradients(launch: _Launch, scratch: _Scratch, grad: Tensor, x: Tensor) -> tuple[Tensor, Tensor]:
    doverlap = torch.empty_like(scratch.overlap_BKGQR)
    pairs = launch.scratch(x, launch.chunk_heads, launch.rows, launch.tiles.chunk)
    scan_backward.overlap_gradients[(launch.chunk_groups * launch.rows,)](
        grad, x, *scratch.decays, scratch.overlap_BKGQR, doverlap, pairs,
        launch.length, launch.heads, launch.groups, launch.features, launch.chunks, *x.stride()[:3],
        CHUNK=launch.tiles.chunk, BLOCK_Q=launch.tiles.block_q, BLOCK_P=launch.block_p, num_warps=launch.warps,
        **launch.types,
    )  # fmt: skip
    return doverlap, pairs


def _map_gradients(
    launch: _Launch, scratch: _Scratch, doverlap: Tensor, parts: tuple[Tensor, Tensor, Tensor, Tensor], *, to_end: bool
) -> tuple[Tensor, Tensor]:
    vector, own, other, states = parts
    dmap = torch.empty(own.shape, dtype=own.dtype, device=own.device)
    paths = launch.scratch(
        own, *((launch.chunk_heads, launch.blocks_n, launch.tiles.chunk) if launch.chunks > 1 else (1,))
    )
    scan_backward.map_gradients[(launch.chunk_groups * launch.rows * launch.blocks_n,)](
        vector, own, other, *scratch.decays, doverlap, states, dmap, paths,
        launch.length, launch.heads, launch.groups, launch.features, launch.state, launch.chunks,
        *vector.stride()[:3], *own.stride()[:3], *other.stride()[:3],
        CHUNK=launch.tiles.chunk, BLOCK_Q=launch.tiles.block_q, BLOCK_P=launch.block_p, BLOCK_N=launch.tiles.block_n,
        TO_END=to_end, HAS_STATE=launch.chunks > 1, num_warps=4, **launch.types,
    )  # fmt: skip
    return dmap, paths
