"""Shared memory between a judge and one predict container: token windows go in, one vector of logits each comes out.

The judge makes the memory, fixes its size and seals it, so that the other side can neither shrink it under the judge's
feet nor grow it. Every offset follows from numbers of the judge's own, so nothing that the predictor writes is ever
taken for a size or a place.

The predictor may write at any moment. A reader that looks twice can be shown two things: `SharedMemory.logits` must be
copied before it is used.

Not covered: who may fill it when (`connection`).
"""

import fcntl
import mmap
import os
from dataclasses import dataclass

import torch

_SEALS = fcntl.F_SEAL_SHRINK | fcntl.F_SEAL_GROW | fcntl.F_SEAL_SEAL
_ALIGNMENT = 4096
_ITEM_BYTES = 4
"""Of int32 and of float32."""


@dataclass(frozen=True)
class MemoryShape:
    """Sizes that judge and predictor agree on; the judge decides them."""

    rows: int
    """Most token windows of one request."""
    tokens: int
    """Length of the longest window."""
    vocabulary: int

    @property
    def offsets(self) -> tuple[int, int, int]:
        """Where positions and logits begin, and where it ends. Windows begin at 0, each part on a page."""
        positions = _pages(self.rows * self.tokens)
        logits = positions + _pages(self.rows)
        return positions, logits, logits + _pages(self.rows * self.vocabulary)

    @property
    def size_bytes(self) -> int:
        """The bytes of the whole memory: windows, positions and logits."""
        return self.offsets[2]


class SharedMemory:
    """A mapping of the memory. Both sides use this class; only the judge `create`s."""

    def __init__(self, descriptor: int, shape: MemoryShape) -> None:
        """Map an open descriptor, which stays the caller's to close."""
        self.shape = shape
        self._map = mmap.mmap(descriptor, shape.size_bytes)

    @property
    def address(self) -> int:
        """Where the mapping begins in this process."""
        return int(torch.frombuffer(self._map, dtype=torch.uint8).data_ptr())

    def windows(self, rows: int, length: int) -> torch.Tensor:
        """Return a request's token windows, int32 [rows, length]."""
        return self._view(0, torch.int32, rows, length, self.shape.tokens)

    def positions(self, rows: int) -> torch.Tensor:
        """Return the position that is asked for in each window, int32 [rows]."""
        return self._view(self.shape.offsets[0], torch.int32, rows, 1, 1)[:, 0]

    def logits(self, rows: int) -> torch.Tensor:
        """Return what is answered for each window, float32 [rows, vocabulary]."""
        return self._view(self.shape.offsets[1], torch.float32, rows, self.shape.vocabulary, self.shape.vocabulary)

    def _view(self, offset: int, dtype: torch.dtype, rows: int, width: int, widest: int) -> torch.Tensor:
        if not 0 < rows <= self.shape.rows or not 0 < width <= widest:
            raise ValueError(f"there is no place for {rows} rows of {width}")
        return torch.frombuffer(self._map, dtype=dtype, count=rows * width, offset=offset).view(rows, width)


def create(shape: MemoryShape) -> int:
    """Return a descriptor of new, zeroed and sealed memory of exactly `shape.size_bytes`.

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


def _pages(items: int) -> int:
    """Bytes of so many items, rounded up to whole pages."""
    return -(-items * _ITEM_BYTES // _ALIGNMENT) * _ALIGNMENT
