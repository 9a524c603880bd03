"""The noise floor of a task: how far two trainings of one artifact lie apart, and what it forbids to order.

Quantiles are those of `scipy.stats`, from the functions that it takes them of: boards need no more of it, and its
import takes as long as reading hundreds of seeds.

Not covered: measuring it (`aira-bench` trains; this computes), and noise of other sources, such as the questions asked.
"""

from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np
from scipy import special

from aira_bench.statistics.arrays import LEVEL, Floats


@dataclass(frozen=True)
class NoiseFloor:
    """Standard deviation of the score of one artifact trained anew with fresh seeds, in the task's unit."""

    deviation: float
    freedom: int
    """Degrees of freedom: trainings less artifacts."""

    def interval(self, level: float = LEVEL) -> tuple[float, float]:
        """Return the interval of the deviation by the chi-squared distribution, for scores that are normal.

        Args:
            level: nominal coverage.
        """
        low, high = 2 * special.gammaincinv(self.freedom / 2, [(1 + level) / 2, (1 - level) / 2])
        spread = self.deviation * np.sqrt(self.freedom)
        return float(spread / np.sqrt(low)), float(spread / np.sqrt(high))


def noise_floor(trainings: Sequence[Floats]) -> NoiseFloor:
    """Return the pooled standard deviation within artifacts.

    Args:
        trainings: one array of shape (trainings,) for each artifact.

    Raises:
        ValueError: no artifact was trained twice.
    """
    groups = [np.asarray(group, np.float64) for group in trainings if len(group)]
    freedom = sum(group.size - 1 for group in groups)
    if freedom < 1:
        raise ValueError("a noise floor needs an artifact that was trained at least twice")
    squares = sum(float(((group - group.mean()) ** 2).sum()) for group in groups)
    return NoiseFloor(float(np.sqrt(squares / freedom)), freedom)


def least_difference(floor: NoiseFloor, first: float, second: float, *, level: float = LEVEL) -> float:
    """Return the difference of two means that training alone exceeds with probability 1 - level.

    A difference of no more than that is no order, whatever else is known of it: it is t(level) * s * sqrt(1/n + 1/m),
    the half-width of Student's interval for two means with a common deviation that was measured beforehand.

    Args:
        floor: the task's.
        first: over how many trainings the first mean is taken; of a mean of means, its own number of as good a mean.
        second: the second.
        level: how often equals are to stay below it.

    Raises:
        ValueError: a mean of no trainings.
    """
    if first < 1 or second < 1:
        raise ValueError(f"a mean is taken over at least one training, not over {min(first, second)}")
    return float(special.stdtrit(floor.freedom, (1 + level) / 2) * floor.deviation * np.sqrt(1 / first + 1 / second))
