"""Differences from a reference on common seeds, with intervals that hold together.

Values lie in a table of models by seeds, and are a model's level, a seed's, and noise of one deviation for all models.
That noise is pooled over all of them, (models - 1) x (seeds - 1) degrees of freedom, since three seeds of one model
say little of it. The intervals hold at the stated level for all comparisons with the reference at once (Bonferroni's
inequality on Student's t), so that the best of many is not found by luck.

Not covered: noise that differs by model (one that nearly diverges), tables with gaps, and two models of which neither
is the reference (`paired`).
"""

import math
from collections.abc import Sequence

import numpy as np
from scipy import stats

from aira_bench.statistics.arrays import LEVEL, IntervalEstimate


def differences_from(
    values: Sequence[Sequence[float]], reference: int, level: float = LEVEL
) -> tuple[IntervalEstimate, ...]:
    """Return each model's mean less the reference's, with intervals that hold together.

    Args:
        values: models by seeds, without gaps; two models or more.
        reference: the row that others are compared with; its own difference is 0, exactly.
        level: probability that all intervals hold.

    Raises:
        ValueError: there are fewer than two models, or a gap.
    """
    table = np.array(values, dtype=np.float64)
    models, seeds = table.shape
    if models < 2 or not np.isfinite(table).all():
        raise ValueError(f"{models} models, or a value that is not finite")
    left = table - table.mean(axis=1, keepdims=True) - table.mean(axis=0) + table.mean()
    freedom = (models - 1) * (seeds - 1)
    half = None
    if freedom:
        deviation = math.sqrt(float((left**2).sum()) / freedom)
        quantile = float(stats.t.ppf(1 - (1 - level) / (2 * (models - 1)), freedom))
        half = quantile * deviation * math.sqrt(2 / seeds)
    means = table.mean(axis=1) - table[reference].mean()
    return tuple(
        _around(0.0, 0.0, seeds) if number == reference else _around(float(mean), half, seeds)
        for number, mean in enumerate(means)
    )


def mean_of(values: Sequence[float], level: float = LEVEL) -> IntervalEstimate:
    """Return the mean of one model's seeds with Student's interval; with one seed there is none.

    Args:
        values: one of each seed.
        level: probability that the interval holds.
    """
    seeds = np.array(values, dtype=np.float64)
    half = None
    if seeds.size > 1:
        error = float(seeds.std(ddof=1)) / math.sqrt(seeds.size)
        half = float(stats.t.ppf((1 + level) / 2, seeds.size - 1)) * error
    return _around(float(seeds.mean()), half, seeds.size)


def _around(value: float, half: float | None, count: int) -> IntervalEstimate:
    if half is None:
        return IntervalEstimate(value, None, None, count)
    return IntervalEstimate(value, value - half, value + half, count)
