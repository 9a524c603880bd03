"""An upper bound of a mean that holds for rare large values, from a sample of a few hundred.

Audited gains are zero nearly everywhere and large where a model cheats. Student's bound is far too low for such
samples: with a handful of hits, mean and deviation are underestimated together. The bound here is by betting
(Waudby-Smith and Ramdas, "Estimating means of bounded random variables by betting", 2024), one-sided and with bets
fixed beforehand: if the mean were m, a gambler who stakes lambda on values below m would on average not gain, so a
wealth of 1/alpha speaks against m. Fixed bets keep this true for sampling without replacement, because such samples
are negatively associated and each factor falls with its value; and they make the result independent of order.

Coverage on simulated models is tested. What no sample can see is not covered: see `unseen_fraction`.
"""

import math

import numpy as np
import numpy.typing as npt

_BETS = 2.0 ** -np.arange(0, 9)
"""Stakes as shares of the largest admissible one; the gambler spreads the money evenly over them."""
_BISECTIONS = 60


def upper_mean_bound(values: npt.NDArray[np.float64], largest: float, confidence: float) -> float:
    """A number that the population's mean exceeds with probability at most 1 - `confidence`.

    Args:
        values: the sample, [n]; what exceeds `largest` is counted as `largest`.
        largest: what no value of the population exceeds; above 0.
        confidence: above 0, below 1.

    Returns:
        The bound, at least 0 and at most `largest`.
    """
    clipped = np.minimum(values, largest)
    stakes = _BETS[:, None] / largest

    def wealth_log(mean: float) -> float:
        logs = np.log1p(np.maximum(stakes * (mean - clipped[None, :]), -1 + 1e-12)).sum(axis=1)
        return float(np.logaddexp.reduce(logs) - math.log(len(logs)))

    needed = -math.log(1 - confidence)
    low, high = 0.0, largest
    if wealth_log(low) >= needed:
        return 0.0
    for _ in range(_BISECTIONS):
        middle = (low + high) / 2
        low, high = (low, middle) if wealth_log(middle) >= needed else (middle, high)
    return high


def unseen_fraction(sampled: int, confidence: float) -> float:
    """The largest share of a population that a sample of `sampled` misses entirely with probability 1 - `confidence`.

    About 3 / `sampled` at 95 %.
    """
    return 1.0 - math.pow(1.0 - confidence, 1.0 / sampled)
