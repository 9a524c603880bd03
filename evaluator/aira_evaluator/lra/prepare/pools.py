"""A pool: labelled examples before they are split, and the operations splits are made with.

Retrieval's raw file repeats a document for every pair it is in; `PoolBuilder` keeps it once, on disk, so memory is
bounded by the number of documents and not by their size. Not covered: where examples come from (`imdb`, `aan`,
`synthetic`) and which split they go to (`build`).
"""

from collections.abc import Sequence
from hashlib import blake2b
from pathlib import Path

import numpy as np
from numpy.typing import NDArray

from aira_evaluator.lra.contract.splits import MAX_SYMBOLS, LabelledSplit, Sequences


class PoolBuilder:
    """Collects examples; sequences are cut to `MAX_SYMBOLS`, written to a scratch file and stored once each."""

    def __init__(self, scratch: Path) -> None:
        self._path = scratch
        self._file = scratch.open("wb+")
        self._index: dict[bytes, int] = {}
        self._stops: list[int] = [0]
        self._rows: list[tuple[int, ...]] = []
        self._labels: list[int] = []

    def close(self) -> None:
        """Remove the scratch file; memory maps of it stay valid."""
        self._file.close()
        self._path.unlink(missing_ok=True)

    def __len__(self) -> int:
        return len(self._labels)

    def add(self, documents: Sequence[bytes], label: int) -> None:
        """Add one example; none of its documents may be empty."""
        self._rows.append(tuple(self._store(document[:MAX_SYMBOLS]) for document in documents))
        self._labels.append(label)

    def _store(self, document: bytes) -> int:
        digest = blake2b(document, digest_size=16).digest()
        index = self._index.setdefault(digest, len(self._index))
        if index == len(self._stops) - 1:
            self._file.write(document)
            self._stops.append(self._stops[-1] + len(document))
        return index

    def pool(self) -> LabelledSplit:
        """Return the documents added so far as a pool; its symbols are a memory map of the scratch file."""
        self._file.flush()
        size = self._stops[-1]
        symbols = np.memmap(self._path, np.uint8, mode="r", shape=(size,)) if size else np.empty(0, np.uint8)
        offsets = np.array(self._stops, np.int64)
        return LabelledSplit(
            Sequences(symbols, offsets), np.array(self._rows, np.int32), np.array(self._labels, np.uint8)
        )


def take(pool: LabelledSplit, examples: NDArray[np.intp]) -> LabelledSplit:
    """Return the examples at these indices, in that order, with only the sequences they use."""
    used, rows = np.unique(pool.rows[examples], return_inverse=True)
    lengths = np.diff(pool.sequences.offsets)[used]
    offsets = np.zeros(len(used) + 1, np.int64)
    np.cumsum(lengths, out=offsets[1:])
    symbols = np.empty(int(offsets[-1]), np.uint8)
    for place, index in enumerate(used):
        symbols[offsets[place] : offsets[place + 1]] = pool.sequences[int(index)]
    shape = pool.rows[examples].shape
    return LabelledSplit(Sequences(symbols, offsets), rows.reshape(shape).astype(np.int32), pool.labels[examples])
