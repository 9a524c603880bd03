"""Packs documents into rows of fixed length, without padding: beginning-of-document aligned best fit.

Every document enters as its beginning-of-document token and its tokens. A row is filled with the longest waiting
document that still fits whole; where none fits, the shortest waiting one is cropped to what is left, and its rest is
dropped. So every row begins with the beginning of a document, has no padding, and crops at most its last document.
The scheme is the public reference's; what is cropped is the price of rows that need no context from before them.
"""

from bisect import bisect_right, insort
from collections.abc import Iterable, Iterator

import numpy as np

from aira_evaluator.text.tokenizer import Tokens

WAITING = 1000
"""Documents held ready to fill a row."""


class _Waiting:
    """Documents by length; among equals the one that came first leaves first."""

    def __init__(self, documents: Iterator[Tokens], size: int) -> None:
        self._documents, self._size, self._arrived = documents, size, 0
        self._by_length: list[tuple[int, int, Tokens]] = []

    def fill(self) -> bool:
        """Read until `size` documents wait or no more come; return whether any waits."""
        while len(self._by_length) < self._size:
            document = next(self._documents, None)
            if document is None:
                break
            self._arrived += 1
            insort(self._by_length, (len(document), -self._arrived, document), key=lambda entry: entry[:2])
        return bool(self._by_length)

    def take(self, room: int) -> Tokens:
        """Return the longest document of at most `room` tokens, else the shortest one, which must then be cropped."""
        # The last entry of at most `room` tokens; where there is none the index is -1, and the shortest one is taken.
        index = bisect_right(self._by_length, room, key=lambda entry: entry[0]) - 1
        return self._by_length.pop(max(index, 0))[2]


def pack(documents: Iterable[Tokens], row_tokens: int, bos: int, waiting: int = WAITING) -> Iterator[Tokens]:
    """Rows of exactly `row_tokens` tokens, uint16, each beginning with `bos`.

    Args:
        documents: token ids without `bos`; may be endless. What is left for a last, unfilled row is dropped.
        row_tokens: tokens of a row, the last target included: sequence length + 1.
        bos: the beginning-of-document token, put before every document.
        waiting: how many documents are held ready; more crop less.
    """
    ready = _Waiting(iter(documents), waiting)
    while True:
        row, used = np.empty(row_tokens, dtype=np.uint16), 0
        while used < row_tokens:
            if not ready.fill():
                return
            row[used] = bos
            room = row_tokens - used - 1
            taken = ready.take(room)[:room] if room else row[:0]  # a lone last place wastes no document
            row[used + 1 : used + 1 + len(taken)] = taken
            used += 1 + len(taken)
        yield row
