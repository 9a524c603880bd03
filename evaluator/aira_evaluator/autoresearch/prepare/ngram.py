"""A bigram model of public text with a cache of the row it reads: a reference unlike any transformer.

Bigrams are smoothed by unigrams after Witten and Bell ("The zero-frequency problem", IEEE Trans. Inf. Theory, 1991),
caches after Kuhn and De Mori ("A cache-based natural language model", IEEE TPAMI, 1990).

Not covered: a good language model; mixing weights are round numbers.
"""

from collections.abc import Iterable

import numpy as np
import numpy.typing as npt

from aira_evaluator.text.tokenizer import Tokens

Floats = npt.NDArray[np.float64]
_CACHE_SHARE = 0.1
"""Of the mixture, for how often a token stands in the row so far."""
_PAIR_PRIOR = 2.0
"""Earlier occurrences of a token in the row until what followed it counts as much as the public bigrams."""


class CachedBigram:
    """Causal by construction: the cost of a target depends on the row up to it."""

    def __init__(self, documents: Iterable[Tokens], vocabulary: int) -> None:
        """Count public documents, each as if it followed the beginning-of-document token, the last id."""
        pairs = np.zeros(vocabulary * vocabulary, dtype=np.int64)
        for tokens in documents:
            before = np.r_[vocabulary - 1, tokens[:-1].astype(np.int64)]
            np.add.at(pairs, before * vocabulary + tokens, 1)
        counts = pairs.reshape(vocabulary, vocabulary)
        self._unigram: Floats = (counts.sum(axis=0) + 1) / (counts.sum() + vocabulary)
        self._pairs, self._totals = counts, counts.sum(axis=1)
        self._followers = np.maximum((counts > 0).sum(axis=1), 1)

    def __len__(self) -> int:
        """Tokens of the vocabulary."""
        return len(self._unigram)

    def nats(self, rows: Tokens) -> Floats:
        """Return what every target of rows [n, T + 1] costs, [n, T]."""
        before, target = rows[:, :-1].astype(np.int64), rows[:, 1:].astype(np.int64)
        # Witten and Bell: with T followers seen after h in c(h) pairs, a new one is as likely as T / (c(h) + T), so
        # P(w | h) = (c(h, w) + T P(w)) / (c(h) + T).
        followers = self._followers[before]
        bigram = self._pairs[before, target] + followers * self._unigram[target]
        bigram = bigram / (self._totals[before] + followers)
        read = np.arange(1, rows.shape[1])
        seen = earlier(rows.astype(np.int64))  # row[0] to row[T], so the target's own count begins one later
        pairs_seen = earlier(before * len(self._unigram) + target)
        before_seen = seen[:, :-1]
        # The row's own pairs count the more, the more often the token before the target stood in the row already.
        weight = before_seen / (before_seen + _PAIR_PRIOR)
        paired = pairs_seen / np.maximum(before_seen, 1)
        mixed = (1 - _CACHE_SHARE) * ((1 - weight) * bigram + weight * paired) + _CACHE_SHARE * seen[:, 1:] / read
        found: Floats = -np.log(mixed)
        return found


def earlier(keys: npt.NDArray[np.int64]) -> npt.NDArray[np.int64]:
    """Return how often each entry of [n, length] stands in its row before itself."""
    # A stable sort keeps equal keys in the order of the row, so an entry's rank among its equals is its count.
    order = np.argsort(keys, axis=1, kind="stable")
    ordered = np.take_along_axis(keys, order, axis=1)
    place = np.broadcast_to(np.arange(keys.shape[1]), keys.shape)
    is_first = np.diff(ordered, axis=1, prepend=ordered[:, :1] - 1) != 0
    # The place where a run of equal keys began, carried along the run by a running maximum.
    ranks = place - np.maximum.accumulate(np.where(is_first, place, 0), axis=1)
    counts = np.empty_like(keys)
    np.put_along_axis(counts, order, ranks, axis=1)
    return counts
