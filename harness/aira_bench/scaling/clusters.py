"""Clusters of scored architectures: of their scores, exactly, or of the architectures themselves, by search.

Scores lie on a line, where a best k-means partition is one of intervals and dynamic programming finds it: the cost of
an interval meets the quadrangle inequality, so the best last cut never moves back as points are added, and each row of
the programme takes O(n log n) costs (Wu 1991; Wang and Song 2011). All sums are of whole numbers, since a float is one
over a power of two: no partition wins by rounding.

Architectures are points with one coordinate a layer and primitive, so that the squared distance of two is twice the
number of layers in which they differ. Nobody finds the best partition of such points for certain.

Not covered: what becomes of a cluster (`aira_bench.scaling.aggregate`).
"""

import importlib.util
import math
from collections import Counter
from collections.abc import Sequence
from fractions import Fraction
from itertools import accumulate

from aira_bench.errors import PrerequisiteError, UsageError
from aira_bench.scaling.notation import SYMBOLS
from aira_contract.patterns import Pattern


def cluster_scores(scores: Sequence[float], clusters: int) -> list[int]:
    """Return a label for each score, from 0, of the k-means partition with least squared distance to the means.

    Labels grow with the scores, and equal scores share one. Of partitions that are equally good it is the one whose
    last cluster, that of the greatest scores, is the largest.

    Args:
        scores: finite numbers.
        clusters: how many clusters.

    Raises:
        UsageError: fewer different scores than clusters, or a score that is no number.
    """
    if not all(map(math.isfinite, scores)):
        raise UsageError("A score is not a finite number; such scores cannot be clustered.")
    counted = Counter(scores)
    different = sorted(counted)
    _require_enough("scores", len(different), clusters)
    cuts = _Partition(different, [counted[score] for score in different]).cuts(clusters)
    label = {score: sum(cut <= place for cut in cuts) for place, score in enumerate(different)}
    return [label[score] for score in scores]


def cluster_architectures(architectures: Sequence[Pattern], clusters: int) -> list[int]:
    """Return a label for each architecture, from 0, of a k-means partition by the layers in which they differ.

    The best of many starts from a fixed seed; architectures are sorted first, so that their order plays no part. Which
    label a cluster has means nothing.

    Args:
        architectures: of one length, all different.
        clusters: how many clusters.

    Raises:
        UsageError: fewer architectures than clusters.
        PrerequisiteError: numpy is not there.
    """
    _require_enough("architectures", len(architectures), clusters)
    if importlib.util.find_spec("numpy") is None:
        raise PrerequisiteError("Clusters of architectures need numpy.", hint="pip install 'aira-bench[stats]'")
    import numpy as np

    from aira_bench.statistics.clusters import k_means

    order = sorted(range(len(architectures)), key=architectures.__getitem__)
    points = np.array(
        [[symbol == each for symbol in architectures[at] for each in SYMBOLS] for at in order], dtype=np.float64
    )
    labels = k_means(points, clusters, np.random.default_rng(0))
    return [label for _, label in sorted(zip(order, labels, strict=True))]


def _require_enough(things: str, different: int, clusters: int) -> None:
    if not 1 <= clusters <= different:
        raise UsageError(
            f"{different} different {things} cannot form {clusters} clusters.",
            hint=f"--clusters {max(1, min(clusters, different))}",
        )


class _Partition:
    """Partitions of growing numbers, each with a multiplicity, into intervals."""

    def __init__(self, different: Sequence[float], counts: Sequence[int]) -> None:
        ratios = [Fraction(score) for score in different]
        unit = max(ratio.denominator for ratio in ratios)  # powers of two, so the greatest is a multiple of all
        whole = [int((ratio - ratios[0]) * unit) for ratio in ratios]
        weighed = list(zip(whole, counts, strict=True))
        self._counts = [0, *accumulate(counts)]
        self._sums = [0, *accumulate(number * count for number, count in weighed)]
        self._squares = [0, *accumulate(number * number * count for number, count in weighed)]

    def cuts(self, clusters: int) -> list[int]:
        """Return where the clusters after the first begin, in the best partition into so many."""
        points = len(self._counts) - 1
        best = [self._cost(0, end) if end else Fraction(0) for end in range(points + 1)]
        last_cuts = []
        for held in range(1, clusters):
            grown, last = [Fraction(0)] * (points + 1), [0] * (points + 1)
            self._add_cluster(best, grown, last, (held + 1, points), (held, points - 1))
            best = grown
            last_cuts.append(last)
        found, end = list[int](), points
        for last in reversed(last_cuts):
            end = last[end]
            found.append(end)
        return found[::-1]

    def _add_cluster(
        self,
        best: Sequence[Fraction],
        grown: list[Fraction],
        last: list[int],
        ends: tuple[int, int],
        cuts: tuple[int, int],
    ) -> None:
        """Fill `grown` and `last` for all ends between two, whose best last cuts lie between two: the middle, then both
        halves. Of equal cuts the leftmost is taken, and those never move back either."""
        if ends[0] > ends[1]:
            return
        end = sum(ends) // 2
        tried = ((best[cut] + self._cost(cut, end), cut) for cut in range(cuts[0], min(cuts[1], end - 1) + 1))
        grown[end], last[end] = min(tried)
        self._add_cluster(best, grown, last, (ends[0], end - 1), (cuts[0], last[end]))
        self._add_cluster(best, grown, last, (end + 1, ends[1]), (last[end], cuts[1]))

    def _cost(self, start: int, end: int) -> Fraction:
        """Squared distances of an interval's points to their mean, in squares of the unit."""
        count = self._counts[end] - self._counts[start]
        total = self._sums[end] - self._sums[start]
        return self._squares[end] - self._squares[start] - Fraction(total * total, count)
