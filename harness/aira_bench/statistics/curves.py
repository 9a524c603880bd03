"""Anytime curves: the best score so far over steps, GPU-seconds or dollars, and the area under them.

A curve is a step function: between two evaluations the best so far stays, and before the first there is none. The area
is taken over a horizon that all compared curves share and divided by its length, so that it has the scores' unit: the
mean of what would be submitted at a moment drawn at random. Before the first score a curve has the score `before`, such
as the task's worst (Lopez-Ibanez and Stuetzle 2014 compare optimizers so).

Not covered: which cost a step had; the record says so.
"""

from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np

from aira_bench.statistics.arrays import LEVEL, Floats, IntervalEstimate
from aira_bench.statistics.resampling import RESAMPLES, Aggregate, stratified_estimate


@dataclass(frozen=True)
class Curve:
    """The best score so far of one run."""

    costs: Floats
    """Shape (steps,): cost spent when each step had ended, never falling."""
    best: Floats
    """Shape (steps,): best score up to that step; NaN before the first valid one."""

    def at(self, costs: Floats, before: float) -> Floats:
        """Return the best score when so much had been spent.

        Args:
            costs: any shape.
            before: the score where nothing valid was known yet.
        """
        place = np.searchsorted(self.costs, costs, side="right") - 1
        padded = np.concatenate([np.nan_to_num(self.best, nan=before), [before]])
        return np.asarray(padded[place], np.float64)  # place -1, before the first step, is the padding

    def area(self, horizon: float, before: float) -> float:
        """Return the area under the curve from 0 to the horizon, over the horizon.

        Args:
            horizon: cost at which the curve ends; what came later does not count, and a run that ended earlier keeps
                what it had.
            before: the score where nothing valid was known yet.

        Raises:
            ValueError: the horizon is not above 0.
        """
        if horizon <= 0:
            raise ValueError(f"a horizon lies above 0, not at {horizon}")
        corners = np.concatenate([[0.0], np.clip(self.costs, 0, horizon), [horizon]])
        heights = np.concatenate([[before], np.nan_to_num(self.best, nan=before)])
        return float((np.diff(corners) * heights).sum() / horizon)


def anytime_curve(scores: Floats, costs: Floats, *, lower_is_better: bool) -> Curve:
    """Return the curve of one run.

    Args:
        scores: shape (steps,), in the order of the steps; NaN for a step without a valid score.
        costs: shape (steps,), what each step cost: 1 for steps, seconds or dollars.
        lower_is_better: whether the best is the least.

    Raises:
        ValueError: the shapes differ, or a cost is negative or unknown.
    """
    if scores.shape != costs.shape or scores.ndim != 1:
        raise ValueError(f"scores {scores.shape} and costs {costs.shape} are of the same steps")
    if not (np.isfinite(costs) & (costs >= 0)).all():
        raise ValueError("every step has a cost of at least 0")
    better = np.fmin if lower_is_better else np.fmax
    best = better.accumulate(scores) if scores.size else scores
    return Curve(np.cumsum(costs, dtype=np.float64), np.asarray(best, np.float64))


def mean_curve(
    curves: Sequence[Curve],
    at: Floats,
    before: float,
    generator: np.random.Generator,
    *,
    resamples: int = RESAMPLES,
    level: float = LEVEL,
) -> tuple[IntervalEstimate, ...]:
    """Return the mean over runs at each cost asked for, with bootstrap intervals of that cost alone.

    Args:
        curves: one for each seed of an agent on a task.
        at: shape (points,), costs.
        before: the score where nothing valid was known yet.
        generator: where the draws come from.
        resamples: how many resamples each interval is made of.
        level: nominal coverage of each point, not of the curve as a whole.
    """
    heights = np.stack([curve.at(at, before) for curve in curves])
    return tuple(
        stratified_estimate([column], Aggregate.MEAN, generator, resamples=resamples, level=level)
        for column in heights.T
    )


def area_estimate(
    curves: Sequence[Curve],
    horizon: float,
    before: float,
    generator: np.random.Generator,
    *,
    resamples: int = RESAMPLES,
) -> IntervalEstimate:
    """Return the mean area under the curves of several runs, with its bootstrap interval.

    Args:
        curves: one for each seed of an agent on a task.
        horizon: as in `Curve.area`; the same for all agents that are compared.
        before: the score where nothing valid was known yet.
        generator: where the draws come from.
        resamples: how many resamples the interval is made of.
    """
    areas = np.array([curve.area(horizon, before) for curve in curves])
    return stratified_estimate([areas], Aggregate.MEAN, generator, resamples=resamples)
