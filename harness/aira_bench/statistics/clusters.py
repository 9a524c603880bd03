"""k-means of points in several dimensions: Lloyd's iterations from k-means++ starts, the least cost of many.

A search, not a proof: the best partition of points in more than one dimension is not found for certain. Points on a
line have an exact answer (`aira_bench.scaling.clusters`). Not covered: how many clusters there are.
"""

import numpy as np

from aira_bench.statistics.arrays import Floats

STARTS = 100
_MOST_ITERATIONS = 1000


def k_means(points: Floats, clusters: int, rng: np.random.Generator, starts: int = STARTS) -> list[int]:
    """Return a label for each point, from 0, of the partition with the least squared distance to the means.

    Args:
        points: shape (points, coordinates), at least as many different ones as clusters.
        clusters: how many; none is empty.
        rng: draws the starts.
        starts: how many are tried.
    """
    found: tuple[float, list[int]] | None = None
    for _ in range(starts):
        cost, labels = _lloyd(points, _start(points, clusters, rng))
        # Sums of the same partition differ in their last bits: the first of equals stays.
        if found is None or cost < found[0] * (1 - 1e-9):
            found = cost, labels
    assert found is not None, "at least one start is tried"
    return found[1]


def _start(points: Floats, clusters: int, rng: np.random.Generator) -> Floats:
    """k-means++ (Arthur and Vassilvitskii 2007): each further centre in proportion to its squared distance."""
    chosen = [int(rng.integers(len(points)))]
    while len(chosen) < clusters:
        nearest = _squared(points, points[chosen]).min(axis=1)
        chosen.append(int(rng.choice(len(points), p=nearest / nearest.sum())))
    return points[chosen]


def _lloyd(points: Floats, centres: Floats) -> tuple[float, list[int]]:
    labels = np.full(len(points), -1)
    for _ in range(_MOST_ITERATIONS):
        distances = _squared(points, centres)
        moved = distances.argmin(axis=1)
        for empty in sorted(set(range(len(centres))) - set(moved.tolist())):
            # It takes the point that is served worst, of a cluster that can spare one.
            spare = np.bincount(moved, minlength=len(centres))[moved] > 1
            worst = int(np.where(spare, distances[np.arange(len(points)), moved], -1.0).argmax())
            moved[worst], distances[worst] = empty, 0.0
        if np.array_equal(moved, labels):
            break
        labels = moved
        centres = np.stack([points[labels == each].mean(axis=0) for each in range(len(centres))])
    return float(((points - centres[labels]) ** 2).sum()), labels.tolist()


def _squared(points: Floats, centres: Floats) -> Floats:
    """Squared distances, of shape (points, centres)."""
    crossed = points @ centres.T
    distances: Floats = np.maximum((points**2).sum(axis=1)[:, None] - 2 * crossed + (centres**2).sum(axis=1), 0.0)
    return distances
