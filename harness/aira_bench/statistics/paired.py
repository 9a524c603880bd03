"""Paired comparisons of agents on common seeds, corrected for how many there are, with ties printed as ties.

Two agents are compared on the blocks that both ran: a block is one seed of one task. Under the hypothesis that their
names do not matter, each block's difference could as well have had the other sign; the p value is the share of sign
patterns whose mean difference is at least as far from 0 (Fisher 1935; Pesarin and Salmaso 2010, chapter 1). All
patterns are counted up to 16 blocks; beyond, random ones are drawn and p = (hits + 1) / (draws + 1) (Phipson and Smyth
2010). Blocks without a difference stay in.

One family of comparisons is corrected by stepping down the largest statistic (Westfall and Young 1993, algorithm 4.1):
one sign pattern turns the same block of every pair, and a pair's p value is the share of patterns in which any pair
that stands no further up reaches its own statistic, |sum of differences| / sqrt(blocks). It is Holm's method with the
joint distribution in place of Bonferroni's inequality, so that b blocks allow p values of 2 ** (1 - b) however many
pairs there are, where Holm's correction multiplies that by the number of pairs. Of one pair it is the exact test; of
many the blocks' differences have to be symmetric together, which luck of one shape for all names is only nearly:
`bench/placebo.py` has the size under skewed, failing and two-valued luck. Holm's p values (Holm 1979) are kept beside.

A difference is an order only if its corrected p value is at most the level *and* it exceeds what the noise of training
alone makes of equals (`noise`). Everything else is a tie, and says why. With few blocks no difference can be
significant: `least_p` says what the best possible one would get, and pairs that cannot reach the level are in no
family.

Not covered: agents without common seeds, whose runs are not paired.
"""

from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass, replace
from enum import StrEnum
from itertools import combinations

import numpy as np

from aira_bench.statistics.arrays import Floats

EXACT_BLOCKS = 16
"""Up to here all 2 ** blocks sign patterns are counted."""
DRAWS = 100_000
_AT_ONCE = 4_000_000
_ROUNDING = 1e-9
"""Of the largest possible sum: sign patterns that give the same sum in another order count as the same."""


class Verdict(StrEnum):
    """What a comparison says of two agents."""

    FIRST = "first is better"
    SECOND = "second is better"
    TIED = "tied"


@dataclass(frozen=True)
class PairComparison:
    """Two agents on their common blocks."""

    first: int
    second: int
    """Places of the two among the agents compared."""
    difference: float
    """Mean over common blocks of first less second, of scores of which higher is better; NaN without any."""
    blocks: int
    p: float
    """Two-sided, of this pair alone; 1 without common blocks."""
    least_p: float
    """The least that this many blocks allow, before correction."""
    corrected_p: float
    """Over the family, by stepping down the largest statistic; 1 of a pair that is in none."""
    holm_p: float
    """Holm's over the same family: what is known without the joint distribution."""
    verdict: Verdict
    why: str
    """Of a tie what stands in the way of an order; empty otherwise."""


def sign_flip_p(differences: Floats, generator: np.random.Generator, *, draws: int = DRAWS) -> float:
    """Return the two-sided p value of a paired permutation test of the mean.

    Args:
        differences: shape (blocks,); 1 is returned for none.
        generator: where sign patterns come from beyond `EXACT_BLOCKS` blocks.
        draws: how many are drawn.
    """
    return float(_p_values([np.asarray(differences, np.float64)], generator, draws)[0])


def holm(p_values: Sequence[float] | Floats) -> Floats:
    """Return p values corrected by Holm's step-down method, in the order given.

    Args:
        p_values: those of one family of tests.
    """
    raw = np.asarray(p_values, np.float64)
    order = np.argsort(raw, kind="stable")
    stepped = np.minimum(1.0, np.maximum.accumulate(raw[order] * np.arange(raw.size, 0, -1)))
    corrected = np.empty_like(raw)
    corrected[order] = stepped
    return corrected


def compare(
    scores: Floats,
    generator: np.random.Generator,
    *,
    pairs: Sequence[tuple[int, int]] | None = None,
    least_differences: Mapping[tuple[int, int], float] | float = 0.0,
    alpha: float = 0.05,
    draws: int = DRAWS,
) -> tuple[PairComparison, ...]:
    """Compare agents pairwise as one family.

    Args:
        scores: shape (agents, blocks), higher is better; NaN where an agent did not run a block. A run that failed is
            no gap: it has the score of a failure.
        generator: where sign patterns come from beyond `EXACT_BLOCKS` blocks.
        pairs: which agents to compare, by default all pairs; fewer pairs are a smaller family, to be named beforehand.
        least_differences: what a mean difference has to exceed, in the scores' unit, of all pairs or of each.
        alpha: the family's error rate.
        draws: how many sign patterns are drawn.

    Raises:
        ValueError: an agent is compared with itself, or a pair twice.
    """
    family = list(combinations(range(scores.shape[0]), 2)) if pairs is None else list(pairs)
    if any(a == b for a, b in family) or len({frozenset(pair) for pair in family}) < len(family):
        raise ValueError("a family holds each pair of two different agents once")
    differences = np.array([scores[a] - scores[b] for a, b in family]).reshape(len(family), scores.shape[1])
    gaps = [row[np.isfinite(row)] for row in differences]
    p_values = _p_values(gaps, generator, draws)
    least = np.array([_least_p(gap.size, draws) for gap in gaps])
    tested = least <= alpha
    corrected, holms = np.ones(len(family)), np.ones(len(family))
    # Patterns that are drawn are others than those of the pairs alone: a correction never makes a p value smaller.
    corrected[tested] = np.maximum(_stepped_down(differences[tested], generator, draws), p_values[tested])
    holms[tested] = holm(p_values[tested])
    found = []
    for index, ((a, b), gap) in enumerate(zip(family, gaps, strict=True)):
        made = PairComparison(
            a, b, float(gap.mean()) if gap.size else float("nan"), gap.size, float(p_values[index]),
            float(least[index]), float(corrected[index]), float(holms[index]), Verdict.TIED, "",
        )  # fmt: skip
        floor = least_differences if isinstance(least_differences, float | int) else least_differences.get((a, b), 0.0)
        found.append(_judged(made, floor, alpha))
    return tuple(found)


def _judged(made: PairComparison, least_difference: float, alpha: float) -> PairComparison:
    if made.blocks == 0:
        return replace(made, why="no common seeds")
    if made.least_p > alpha:
        return replace(made, why=f"too few common seeds ({made.blocks}) to tell anything apart")
    if made.corrected_p > alpha:
        return replace(made, why="not significant")
    if abs(made.difference) <= least_difference:
        return replace(made, why="within the noise of training")
    return replace(made, verdict=Verdict.FIRST if made.difference > 0 else Verdict.SECOND)


def _least_p(blocks: int, draws: int) -> float:
    if blocks == 0:
        return 1.0
    exact = 2.0 ** (1 - blocks)
    return exact if blocks <= EXACT_BLOCKS else max(exact, 1 / (draws + 1))


def _p_values(gaps: Sequence[Floats], generator: np.random.Generator, draws: int) -> Floats:
    found = np.ones(len(gaps))
    many = [index for index, gap in enumerate(gaps) if gap.size > EXACT_BLOCKS]
    for index, gap in enumerate(gaps):
        if 0 < gap.size <= EXACT_BLOCKS:
            found[index] = _exact_p(gap)
    if many:
        found[many] = _drawn_p([gaps[index] for index in many], generator, draws)
    return found


def _exact_p(gap: Floats) -> float:
    """The first sign stays, since turning all of them turns the sum: half of the patterns tell everything."""
    sums = gap[:1]
    for each in gap[1:]:
        sums = np.concatenate([sums + each, sums - each])
    slack = _ROUNDING * float(np.abs(gap).sum())
    return float((np.abs(sums) >= abs(gap.sum()) - slack).mean())


def _drawn_p(gaps: Sequence[Floats], generator: np.random.Generator, draws: int) -> Floats:
    """All pairs see the same sign patterns: each p value is as it would be alone."""
    padded = np.zeros((len(gaps), max(gap.size for gap in gaps)))
    for row, gap in zip(padded, gaps, strict=True):
        row[: gap.size] = gap
    reached = np.abs(padded.sum(axis=1)) - _ROUNDING * np.abs(padded).sum(axis=1)
    hits = np.zeros(len(gaps), np.int64)
    for signs in _drawn_signs(padded.shape, generator, draws):
        hits += (np.abs(signs @ padded.T) >= reached).sum(axis=0)
    return (hits + 1) / (draws + 1)


def _stepped_down(differences: Floats, generator: np.random.Generator, draws: int) -> Floats:
    """Return corrected p values of pairs, shape (pairs,); differences have the shape (pairs, blocks), NaN for a gap.

    Dividing by the root of the number of blocks gives pairs of equal luck statistics of equal spread, so that a pair
    with few blocks does not stand in the way of one with many.
    """
    if not differences.size:
        return np.ones(len(differences))
    known = np.isfinite(differences)
    weighted = np.where(known, differences, 0.0) / np.sqrt(known.sum(axis=1, keepdims=True))
    order = np.argsort(np.abs(weighted.sum(axis=1)), kind="stable")  # least first: each pair's rivals stand before it
    weighted = weighted[order][:, known.any(axis=0)]
    reached = np.abs(weighted.sum(axis=1)) - _ROUNDING * np.abs(weighted).sum(axis=1)
    hits, patterns = np.zeros(len(order), np.int64), 0
    exact = weighted.shape[1] <= EXACT_BLOCKS
    for signs in _all_signs(weighted.shape) if exact else _drawn_signs(weighted.shape, generator, draws):
        largest = np.maximum.accumulate(np.abs(signs @ weighted.T), axis=1)
        hits += (largest >= reached).sum(axis=0)
        patterns += len(signs)
    shares = hits / patterns if exact else (hits + 1) / (patterns + 1)
    corrected = np.empty(len(order))
    corrected[order] = np.maximum.accumulate(shares[::-1])[::-1]
    return corrected


def _all_signs(shape: tuple[int, ...]) -> Iterator[Floats]:
    """All sign patterns but for turning every block, which turns every sum: the last block stays."""
    pairs, blocks = shape
    size = max(1, _AT_ONCE // max(blocks, pairs))
    for first in range(0, 2 ** (blocks - 1), size):
        patterns = np.arange(first, min(first + size, 2 ** (blocks - 1)))
        yield np.asarray(1.0 - 2.0 * ((patterns[:, np.newaxis] >> np.arange(blocks)) & 1), np.float64)


def _drawn_signs(shape: tuple[int, ...], generator: np.random.Generator, draws: int) -> Iterator[Floats]:
    """Random sign patterns for pairs and blocks of that shape, as many at once as memory is to hold."""
    pairs, blocks = shape
    size = max(1, _AT_ONCE // max(blocks, pairs))
    for done in range(0, draws, size):
        rows = min(size, draws - done)
        bits = np.unpackbits(generator.integers(0, 256, (rows, -(-blocks // 8)), np.uint8), axis=1, count=blocks)
        yield bits.astype(np.float64) * 2 - 1


@dataclass(frozen=True)
class RankRange:
    """Between which ranks an agent lies: ties are not broken."""

    best: int
    worst: int

    def __str__(self) -> str:
        return str(self.best) if self.best == self.worst else f"{self.best}-{self.worst}"


def rank_ranges(agents: int, comparisons: Sequence[PairComparison]) -> tuple[RankRange, ...]:
    """Return for each agent the ranks that the comparisons leave open.

    Its best rank comes after all that are better than it, its worst before all that it is better than; where nothing is
    ordered every agent has `1-n`.

    Args:
        agents: how many there are.
        comparisons: of all pairs; a pair that is missing counts as tied.
    """
    above, below = np.zeros(agents, np.int64), np.zeros(agents, np.int64)
    for each in comparisons:
        if each.verdict is not Verdict.TIED:
            winner, loser = (each.first, each.second) if each.verdict is Verdict.FIRST else (each.second, each.first)
            above[loser] += 1
            below[winner] += 1
    return tuple(RankRange(int(up) + 1, agents - int(down)) for up, down in zip(above, below, strict=True))
