"""k-means of scores on a line: Lloyd's iterations from k-means++ starts, the best of several.

Not covered: more than one dimension.
"""

import math
import random
import statistics
from collections.abc import Sequence

from aira_bench.errors import UsageError

_RESTARTS = 10


def cluster_scores(scores: Sequence[float], clusters: int, rng: random.Random) -> list[int]:
    """Return a label for each score, from 0; labels grow with the scores.

    Args:
        scores: finite numbers.
        clusters: how many clusters.
        rng: the only source of randomness.

    Raises:
        UsageError: fewer different scores than clusters, or a score that is no number.
    """
    if not all(map(math.isfinite, scores)):
        raise UsageError("A score is not a finite number; such scores cannot be clustered.")
    different = sorted(set(scores))
    if not 1 <= clusters <= len(different):
        raise UsageError(
            f"{len(different)} different scores cannot form {clusters} clusters.",
            hint=f"--clusters {max(1, min(clusters, len(different)))}",
        )
    attempts = [_lloyd(scores, _start(different, clusters, rng)) for _ in range(_RESTARTS)]
    centres = min(attempts, key=lambda attempt: (_inertia(scores, attempt), attempt))
    return [_nearest(score, centres) for score in scores]


def _start(different: Sequence[float], clusters: int, rng: random.Random) -> list[float]:
    """k-means++: each further centre drawn in proportion to its squared distance from the nearest one."""
    centres = [rng.choice(different)]
    while len(centres) < clusters:
        rest = [score for score in different if score not in centres]
        # Relative distances: squares of tiny ones would vanish.
        far = max(min(abs(score - centre) for centre in centres) for score in rest)
        weights = [min(abs(score - centre) / far for centre in centres) ** 2 for score in rest]
        centres.append(rng.choices(rest, weights)[0])
    return sorted(centres)


def _lloyd(scores: Sequence[float], centres: list[float]) -> list[float]:
    seen: set[tuple[float, ...]] = set()
    while tuple(centres) not in seen:
        seen.add(tuple(centres))
        groups: list[list[float]] = [[] for _ in centres]
        for score in scores:
            groups[_nearest(score, centres)].append(score)
        # A centre that lost its last score starts anew at the score that is served worst.
        worst = max(scores, key=lambda score: min(abs(score - centre) for centre in centres))
        centres = sorted(statistics.fmean(group) if group else worst for group in groups)
    return centres


def _nearest(score: float, centres: Sequence[float]) -> int:
    return min(range(len(centres)), key=lambda index: (abs(score - centres[index]), index))


def _inertia(scores: Sequence[float], centres: Sequence[float]) -> float:
    return math.fsum((score - centres[_nearest(score, centres)]) ** 2 for score in scores)
