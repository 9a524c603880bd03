"""The names of array types, and the interval that every estimator returns. Not covered: where values come from."""

from dataclasses import dataclass

import numpy as np
import numpy.typing as npt

Floats = npt.NDArray[np.float64]
Integers = npt.NDArray[np.int64]
LEVEL = 0.95
"""Share of intervals that are to hold what they estimate, where nobody asks for another."""


@dataclass(frozen=True)
class IntervalEstimate:
    """A value, and an interval for what it estimates."""

    value: float
    low: float | None
    """Lower end; None where too little is known for an interval (one value in every stratum, say)."""
    high: float | None
    """Upper end; None where `low` is."""
    count: int
    """How many observations it rests on."""

    def holds(self, value: float) -> bool:
        """Return whether a value lies in the interval; without an interval none does but the estimate itself."""
        if self.low is None or self.high is None:
            return value == self.value
        return self.low <= value <= self.high


def percentile_estimate(value: float, resampled: Floats, count: int, level: float = LEVEL) -> IntervalEstimate:
    """Return an estimate with the percentile interval of its resampled values.

    Args:
        value: the statistic of the observations themselves.
        resampled: shape (resamples,), the statistic of each resample, all finite.
        count: how many observations there were.
        level: how much of the resampled values the interval holds, in (0, 1).

    Raises:
        ValueError: `level` is not between 0 and 1.
    """
    if not 0 < level < 1:
        raise ValueError(f"an interval's level lies between 0 and 1, not at {level}")
    if count < 2 or resampled.size == 0:
        return IntervalEstimate(value, None, None, count)
    low, high = np.quantile(resampled, [(1 - level) / 2, (1 + level) / 2])
    return IntervalEstimate(value, float(low), float(high), count)
