"""Shared memory between a judge and one predict container: token windows go in, logits come out.

The judge makes the memory, fixes its size and seals it, so that the other side can neither shrink it under the judge's
feet nor grow it. It is cut into slots; while the judge scores one, the predictor fills the next. Every offset follows
from numbers of the judge's own, so nothing that the predictor writes is ever taken for a size or a place.

The predictor may write at any moment. A reader that looks twice can be shown two things: `Ring.logits` must be copied
before it is used.

Not covered: who may fill which slot when (`conversation`).
"""

import fcntl
import mmap
import os
from dataclasses import dataclass

import torch

_SEALS = fcntl.F_SEAL_SHRINK | fcntl.F_SEAL_GROW | fcntl.F_SEAL_SEAL
_ALIGNMENT = 4096
_FLOAT32_BYTES = _INT32_BYTES = 4


@dataclass(frozen=True)
class RingShape:
    """Sizes that judge and predictor agree on; the judge decides them."""

    slots: int
    rows: int
    """Most token windows of one request."""
    tokens: int
    """Length of a window."""
    vocabulary: int

    @property
    def slot_bytes(self) -> int:
        """Windows, positions and logits, each begun on a page."""
        return self._logits_offset + _pages(self.rows * self.tokens * self.vocabulary * _FLOAT32_BYTES)

    @property
    def size_bytes(self) -> int:
        """All slots."""
        return self.slots * self.slot_bytes

    @property
    def _positions_offset(self) -> int:
        return _pages(self.rows * self.tokens * _INT32_BYTES)

    @property
    def _logits_offset(self) -> int:
        return self._positions_offset + _pages(self.rows * _INT32_BYTES)


class Ring:
    """A mapping of the memory. Both sides use this class; only the judge `create`s."""

    def __init__(self, descriptor: int, shape: RingShape) -> None:
        """Map an open descriptor, which stays the caller's to close."""
        self.shape = shape
        self._map = mmap.mmap(descriptor, shape.size_bytes)

    @property
    def address(self) -> int:
        """Where the mapping begins in this process."""
        return int(torch.frombuffer(self._map, dtype=torch.uint8).data_ptr())

    def windows(self, slot: int) -> torch.Tensor:
        """Token windows, int32 [rows, tokens]."""
        shape = self.shape
        return self._view(slot, 0, torch.int32, shape.rows * shape.tokens).view(shape.rows, shape.tokens)

    def positions(self, slot: int) -> torch.Tensor:
        """The position that is asked for in each window, int32 [rows]."""
        return self._view(slot, self.shape._positions_offset, torch.int32, self.shape.rows)

    def logits(self, slot: int, count: int) -> torch.Tensor:
        """The first `count` vectors of logits, float32 [count, vocabulary]."""
        shape = self.shape
        if not 0 < count <= shape.rows * shape.tokens:
            raise ValueError(f"{count} vectors do not fit into a slot")
        flat = self._view(slot, shape._logits_offset, torch.float32, count * shape.vocabulary)
        return flat.view(count, shape.vocabulary)

    def _view(self, slot: int, offset: int, dtype: torch.dtype, count: int) -> torch.Tensor:
        if not 0 <= slot < self.shape.slots:
            raise ValueError(f"there is no slot {slot}")
        return torch.frombuffer(self._map, dtype=dtype, count=count, offset=slot * self.shape.slot_bytes + offset)


def create(shape: RingShape) -> int:
    """A descriptor of new, zeroed and sealed memory of exactly `shape.size_bytes`.

    Raises:
        OSError: there is not enough memory, or the kernel cannot seal it.
    """
    descriptor = os.memfd_create("logits", os.MFD_CLOEXEC | os.MFD_ALLOW_SEALING)
    try:
        os.ftruncate(descriptor, shape.size_bytes)
        fcntl.fcntl(descriptor, fcntl.F_ADD_SEALS, _SEALS)
    except BaseException:
        os.close(descriptor)
        raise
    return descriptor


def rows_that_fit(size_mib: int, slots: int, tokens: int, vocabulary: int) -> int:
    """Most windows a slot can have in a ring of `size_mib`; at least one."""
    window_bytes = tokens * vocabulary * _FLOAT32_BYTES
    return max(1, (size_mib << 20) // (slots * window_bytes))


def _pages(size_bytes: int) -> int:
    return -(-size_bytes // _ALIGNMENT) * _ALIGNMENT
