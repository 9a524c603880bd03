"""Paired comparisons of agents on common seeds, corrected for how many there are, with ties printed as ties.

Two agents are compared on the blocks that both ran: a block is one seed of one task. Under the hypothesis that their
names do not matter, each block's difference could as well have had the other sign; the p value is the share of sign
patterns whose mean difference is at least as far from 0 (Fisher 1935; Pesarin and Salmaso 2010, chapter 1). All
patterns are counted up to 16 blocks; beyond, random ones are drawn and p = (hits + 1) / (draws + 1) (Phipson and Smyth
2010). Blocks without a difference stay in. One family of comparisons is corrected by Holm's step-down method (Holm
1979).

A difference is an order only if its corrected p value is at most the level *and* it exceeds what the noise of training
alone makes of equals (`noise`). Everything else is a tie, and says why. With few blocks no difference can be
significant: `least_p` says what the best possible one would get.

Not covered: agents without common seeds, whose runs are not paired.
"""

from collections.abc import Mapping, Sequence
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
    """Holm's, over the family."""
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
    gaps = [scores[a] - scores[b] for a, b in family]
    gaps = [gap[np.isfinite(gap)] for gap in gaps]
    p_values = _p_values(gaps, generator, draws)
    found = []
    for (a, b), gap, p, corrected in zip(family, gaps, p_values, holm(p_values), strict=True):
        mean = float(gap.mean()) if gap.size else float("nan")
        least_p = _least_p(gap.size, draws)
        made = PairComparison(a, b, mean, gap.size, float(p), least_p, float(corrected), Verdict.TIED, "")
        least = least_differences if isinstance(least_differences, float | int) else least_differences.get((a, b), 0.0)
        found.append(_judged(made, least, alpha, len(family)))
    return tuple(found)


def _judged(made: PairComparison, least_difference: float, alpha: float, family: int) -> PairComparison:
    if made.blocks == 0:
        return replace(made, why="no common seeds")
    if made.corrected_p > alpha:
        if made.least_p * family > alpha and made.p <= alpha:
            return replace(made, why=f"{made.blocks} common seeds cannot tell one of {family} pairs apart")
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
    blocks = max(gap.size for gap in gaps)
    padded = np.zeros((blocks, len(gaps)))
    for column, gap in enumerate(gaps):
        padded[: gap.size, column] = gap
    reached = np.abs(padded.sum(axis=0)) - _ROUNDING * np.abs(padded).sum(axis=0)
    hits = np.zeros(len(gaps), np.int64)
    size = max(1, _AT_ONCE // max(blocks, len(gaps)))
    for done in range(0, draws, size):
        rows = min(size, draws - done)
        bits = np.unpackbits(generator.integers(0, 256, (rows, -(-blocks // 8)), np.uint8), axis=1, count=blocks)
        signs = bits.astype(np.float64) * 2 - 1
        hits += (np.abs(signs @ padded) >= reached).sum(axis=0)
    return (hits + 1) / (draws + 1)


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
