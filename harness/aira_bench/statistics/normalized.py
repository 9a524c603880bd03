"""Normalized scores of whole arrays, on two scales and with two kinds of worst score.

The scale "march of nines" is the paper's (section 5, equations 2 and 3, after AIRS-Bench): phi(s) = -log10 |s -
optimum| and NS = (phi(s) - phi(worst)) / (phi(sota) - phi(worst)). "Linear" is NS = (s - worst) / (sota - worst), which
AIRS-Bench computes beside it. Both are cut off below at 0 and not above; a run without a valid submission counts 0
(section 5).

The worst score is fixed by the task or, as the paper has it, the worst of all agents and seeds; the latter moves
whenever a run is added. Distances from the optimum below 0.001 count as 0.001 (`aira_bench.record.normalized` says
why).

Not covered: where a task's anchors come from, and whether a normalized score may be shown at all.
"""

from dataclasses import dataclass
from enum import StrEnum

import numpy as np

from aira_bench.statistics.arrays import Floats

NEAREST = 1e-3
"""Least distance from the optimum that the march of nines tells apart."""


class Spacing(StrEnum):
    """How far apart two scores lie."""

    MARCH_OF_NINES = "march of nines"
    """By the logarithm of the distance that is left: 0.9 to 0.99 is as far as 0.99 to 0.999."""
    LINEAR = "linear"


@dataclass(frozen=True)
class Scale:
    """What the scores of one task are measured against, in the task's own unit."""

    worst: float
    best_known: float
    """The published state of the art, at which the normalized score is 1."""
    optimum: float
    lower_is_better: bool


def observed_worst(scores: Floats, *, lower_is_better: bool) -> float:
    """Return the worst valid score of a task over all agents and seeds (the paper's section 5, below equation 2).

    Args:
        scores: any shape; NaN where a run has no valid submission.
        lower_is_better: whether the highest score is the worst.

    Raises:
        ValueError: no score is valid.
    """
    known = scores[np.isfinite(scores)]
    if known.size == 0:
        raise ValueError("no run has a valid score, so none is the worst")
    return float(known.max() if lower_is_better else known.min())


def normalized_scores(scores: Floats, scale: Scale, spacing: Spacing = Spacing.MARCH_OF_NINES) -> Floats:
    """Return the normalized score of each run: 0 at the worst score, 1 at the best known, never below 0.

    Args:
        scores: any shape, in the task's unit; NaN for a run without a valid submission, which gets 0.
        scale: the task's anchors.
        spacing: the march of nines (equation 3) or linear.

    Raises:
        ValueError: the worst score is no worse than the best known one, so that the scale has no length or points down.
    """
    if spacing is Spacing.LINEAR:
        sign = -1.0 if scale.lower_is_better else 1.0
        places, near, far = sign * scores, sign * scale.best_known, sign * scale.worst
    else:
        places = _nines(scores, scale.optimum)
        near, far = (float(_nines(each, scale.optimum)) for each in (scale.best_known, scale.worst))
    if near - far <= 1e-12:
        raise ValueError(f"the worst score {scale.worst} is no worse than the best known {scale.best_known}")
    placed = (places - far) / (near - far)
    return np.where(np.isnan(scores), 0.0, np.maximum(placed, 0.0)).astype(np.float64)


def _nines(scores: Floats | float, optimum: float) -> Floats:
    return np.asarray(-np.log10(np.maximum(np.abs(np.asarray(scores, np.float64) - optimum), NEAREST)))
