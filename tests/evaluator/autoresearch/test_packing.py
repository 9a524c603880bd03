"""Packing: every row full, every row begins with a document, nothing invented, crops only at row ends."""

import itertools
from collections.abc import Iterator

import numpy as np
from hypothesis import given, settings
from hypothesis import strategies as st

from aira_evaluator.autoresearch.contract.packing import pack
from aira_evaluator.text.tokenizer import Tokens

BOS = 999


def numbered(lengths: list[int]) -> list[Tokens]:
    """Documents whose tokens say which document they are of, and where: no two documents share a token."""
    starts = itertools.accumulate(lengths, initial=0)
    return [
        np.arange(start, start + length, dtype=np.uint16) + 1000 for start, length in zip(starts, lengths, strict=False)
    ]


def cut(row: Tokens) -> list[list[int]]:
    """The documents of a row."""
    places = [*np.flatnonzero(row == BOS), len(row)]
    return [row[start + 1 : end].tolist() for start, end in itertools.pairwise(places)]


@settings(deadline=None)
@given(
    lengths=st.lists(st.integers(1, 40), max_size=60),
    row_tokens=st.integers(2, 50),
    waiting=st.integers(1, 20),
)
def test_rows_hold_whole_documents_but_for_the_last(lengths: list[int], row_tokens: int, waiting: int) -> None:
    documents = numbered(lengths)
    rows = list(pack(documents, row_tokens, BOS, waiting))
    by_first = {int(document[0]): document.tolist() for document in documents}
    used: list[int] = []
    for row in rows:
        assert row.dtype == np.uint16
        assert row.shape == (row_tokens,)
        assert row[0] == BOS
        *whole, last = cut(row)
        for part in whole:
            assert part == by_first[part[0]]
        if last:
            assert last == by_first[last[0]][: len(last)]
        used += [part[0] for part in [*whole, last] if part]
    assert len(set(used)) == len(used), "no document is used twice"


@settings(deadline=None)
@given(lengths=st.lists(st.integers(1, 40), min_size=1, max_size=60), waiting=st.integers(1, 20))
def test_a_document_is_cropped_only_if_no_waiting_one_fits(lengths: list[int], waiting: int) -> None:
    """With all documents waiting, a crop means that every document left was longer than the room."""
    documents = numbered(lengths)
    sizes = {int(document[0]): len(document) for document in documents}
    left = dict(sizes)
    for row in pack(documents, 30, BOS, waiting=len(lengths)):
        parts = cut(row)
        room = 30
        for part in parts:
            room -= 1
            if not part:
                assert room == 0
                continue
            size = left.pop(part[0])
            if len(part) < size:
                assert len(part) == room
                assert all(other > room for other in left.values())
                assert size <= min(left.values(), default=size), "the shortest is cropped: least is lost"
            else:
                assert size == max(other for other in [size, *left.values()] if other <= room)
            room -= len(part)


def test_an_endless_stream_is_read_as_far_as_needed() -> None:
    read = 0

    def documents() -> Iterator[Tokens]:
        nonlocal read
        while True:
            read += 1
            yield np.full(5, read, dtype=np.uint16)

    rows = list(itertools.islice(pack(documents(), 13, BOS, waiting=4), 10))
    assert len(rows) == 10
    assert read <= 10 * 3 + 4


def test_what_does_not_fill_a_row_is_dropped() -> None:
    assert list(pack(numbered([3, 3]), 9, BOS)) == []
    (row,) = pack(numbered([3, 3]), 8, BOS)
    assert row.tolist() == [BOS, 1000, 1001, 1002, BOS, 1003, 1004, 1005]
