"""Finds held-out documents that largely stand in others, by shared runs of tokens: Compose, Autoresearch, pretraining.

A document is a near duplicate if at least half of its runs of 13 tokens occur in the reference documents (the length
is that of the GPT-3 and later contamination checks). Runs are compared by 64-bit hashes. Memory grows with the
held-out documents alone; reference documents pass by.

Why not `similar`: it compares whole texts both ways and has to see all of them again. A held-out story that stands
inside a long train document is no match there and is one here, and train text is too long to be kept.

Not covered: paraphrases, and duplicates inside one split.
"""

from collections.abc import Hashable, Iterable, Iterator, Mapping, Sequence
from typing import Any, TypeVar

import numpy as np
import numpy.typing as npt

from aira_evaluator.text.tokenizer import Tokens

RUN_TOKENS = 13
DUPLICATE_SHARE = 0.5
_BLOCK_TOKENS = 1 << 21
# Fixed odd multipliers: equal runs must have equal hashes in every process.
_MULTIPLIERS = np.random.default_rng(20260513).integers(1, 2**63, size=RUN_TOKENS, dtype=np.uint64) * np.uint64(
    2
) + np.uint64(1)
Part = TypeVar("Part", bound=Hashable)
TokenType = TypeVar("TokenType", np.uint16, np.uint32)
AnyTokens = npt.NDArray[np.unsignedinteger[Any]]
"""Ids of vocabularies that 16 bits hold, or of larger ones; what is compared has one type."""


def runs(tokens: AnyTokens) -> npt.NDArray[np.uint64]:
    """Hashes of all runs of a document; one shorter than a run has one, filled up with an end mark."""
    return _hashes(tokens if len(tokens) >= RUN_TOKENS else np.concatenate([tokens, _end(tokens)])[:RUN_TOKENS])


def _end(tokens: AnyTokens) -> AnyTokens:
    """End marks behind a document: the largest number of its type, which is no id."""
    return np.full(RUN_TOKENS - 1, np.iinfo(tokens.dtype).max, dtype=tokens.dtype)


def _hashes(tokens: AnyTokens) -> npt.NDArray[np.uint64]:
    count = len(tokens) - RUN_TOKENS + 1
    # Multilinear: sum of a_i (t_i + 1) modulo 2^64. The one added keeps runs of token 0 from all hashing to zero.
    total = np.zeros(max(count, 0), dtype=np.uint64)
    for place, multiplier in enumerate(_MULTIPLIERS):
        total += (tokens[place : place + count].astype(np.uint64) + np.uint64(1)) * multiplier
    return total


class NearDuplicates:
    """Held-out documents, and how much of each was seen in reference documents so far."""

    def __init__(self, held_out: Sequence[AnyTokens]) -> None:
        """Index the runs of the held-out documents."""
        found = [runs(tokens) for tokens in held_out]
        self._documents = np.repeat(np.arange(len(found)), [len(part) for part in found])
        flat = np.concatenate(found) if found else np.zeros(0, dtype=np.uint64)
        self._known, self._place = np.unique(flat, return_inverse=True)
        self.seen = np.zeros(len(self._known), dtype=bool)
        """Of each distinct run of the held-out documents whether it was seen, in the order of their hashes."""
        self._count = len(found)

    def look_at(self, reference: Iterable[AnyTokens]) -> None:
        """Mark the runs that stand in reference documents."""
        if not len(self._known):
            return
        for block in _blocks(reference):
            hashes = _hashes(block)
            # Held-out hashes are sorted, so membership of a block is a binary search and memory stays theirs.
            at = np.minimum(np.searchsorted(self._known, hashes), len(self._known) - 1)
            self.seen[at[self._known[at] == hashes]] = True

    def shares(self) -> npt.NDArray[np.float64]:
        """Of each held-out document, the share of its runs that were seen."""
        seen = self.seen[self._place]
        totals = np.bincount(self._documents, minlength=self._count)
        return np.bincount(self._documents, weights=seen, minlength=self._count) / np.maximum(totals, 1)

    def duplicates(self) -> npt.NDArray[np.bool_]:
        """Return which held-out documents are near duplicates of what was seen."""
        return self.shares() >= DUPLICATE_SHARE


def keep_fresh(parts: Mapping[Part, Sequence[Tokens]], public: Iterable[Tokens]) -> dict[Part, list[Tokens]]:
    """Return what is left of each part of held-out documents, without near duplicates of public text and earlier parts.

    Args:
        parts: documents without marks, by name; the order of the names is the order of the parts.
        public: documents that agents see, gone through once.
    """
    seen = NearDuplicates([tokens for documents in parts.values() for tokens in documents])
    seen.look_at(public)
    near_public = iter(seen.duplicates())
    kept: dict[Part, list[Tokens]] = {}
    for part, documents in parts.items():
        fresh = [tokens for tokens in documents if not next(near_public)]
        among = NearDuplicates(fresh)
        among.look_at(tokens for earlier in kept.values() for tokens in earlier)
        kept[part] = [tokens for tokens, near in zip(fresh, among.duplicates(), strict=True) if not near]
    return kept


def split_documents(stream: npt.NDArray[TokenType], mark: int) -> Iterator[npt.NDArray[TokenType]]:
    """Yield the documents of a stream of tokens, without the marks that begin them."""
    starts: list[int] = np.flatnonzero(stream == mark).tolist()
    for start, stop in zip(starts, [*starts[1:], len(stream)], strict=True):
        yield np.asarray(stream[start + 1 : stop])


def _blocks(documents: Iterable[AnyTokens]) -> Iterator[AnyTokens]:
    """Documents one behind the other, an end mark after each, in blocks of bounded size."""
    parts: list[AnyTokens] = []
    size = 0
    for tokens in documents:
        parts += [tokens, _end(tokens)]
        size += len(tokens) + RUN_TOKENS - 1
        if size >= _BLOCK_TOKENS:
            yield np.concatenate(parts)
            parts, size = [], 0
    if parts:
        yield np.concatenate(parts)
