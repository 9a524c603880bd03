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

from aira_bench.statistics.arrays import LEVEL, Floats, IntervalEstimate, percentile_estimate
from aira_bench.statistics.resampling import RESAMPLES

_ALIKE = 1e-9
"""Share within which two costs are one: sums of the same costs in another order, or scaled, differ by rounding."""


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
        place = np.searchsorted(self.costs, costs * (1 + _ALIKE), side="right") - 1
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


def submission_curve(fitness: Floats, scores: Floats, costs: Floats, *, lower_is_better: bool) -> Curve:
    """Return the curve of what a run would have submitted: the score of the step that was best by fitness so far.

    It may fall: a step that the search liked better can score worse.

    Args:
        fitness: shape (steps,), what the search chose by; NaN for a step that could not be chosen, the worse infinity
            for one that could, but is worse than all others.
        scores: shape (steps,), what is asked for; NaN of a chosen step means that it had none.
        costs: shape (steps,), as in `anytime_curve`.
        lower_is_better: whether the best is the least, of fitness as of scores.

    Raises:
        ValueError: the shapes differ, or a cost is negative or unknown.
    """
    leading = anytime_curve(fitness, costs, lower_is_better=lower_is_better)
    if scores.shape != fitness.shape:
        raise ValueError(f"scores {scores.shape} and fitness {fitness.shape} are of the same steps")
    first = ~np.isnan(leading.best) & (np.concatenate([[np.nan], leading.best[:-1]]) != leading.best)
    chosen = np.maximum.accumulate(np.where(first, np.arange(fitness.size), -1)) if fitness.size else first.astype(int)
    return Curve(leading.costs, np.where(chosen >= 0, scores[chosen], np.nan) if fitness.size else leading.best)


@dataclass(frozen=True)
class CurveEstimate:
    """The mean over the seeds of an agent on a task, with bootstrap intervals of seeds drawn anew."""

    points: tuple[IntervalEstimate, ...]
    """At each cost asked for; the interval is of that cost alone, not of the curve as a whole."""
    area: IntervalEstimate
    """Mean area under the curves up to the horizon."""


def curve_estimate(
    curves: Sequence[Curve],
    at: Floats,
    horizon: float,
    before: float,
    generator: np.random.Generator,
    *,
    seeds: Sequence[int] | None = None,
    resamples: int = RESAMPLES,
    level: float = LEVEL,
) -> CurveEstimate:
    """Return the mean curve of several runs, and the area under it.

    Args:
        curves: of the runs of an agent on a task, at least one.
        at: shape (points,), costs.
        horizon: as in `Curve.area`; the same for all agents that are compared.
        before: the score where nothing valid was known yet.
        generator: where the draws come from.
        seeds: of each curve the seed it is of, by default one of its own. Several runs of a seed count as their mean,
            and seeds are drawn, so that running one again weighs no more.
        resamples: how many resamples the intervals are made of.
        level: nominal coverage.
    """
    of_runs = np.stack([np.append(curve.at(at, before), curve.area(horizon, before)) for curve in curves])
    of_seed = np.asarray(range(len(curves)) if seeds is None else seeds)
    heights = np.stack([of_runs[of_seed == seed].mean(axis=0) for seed in np.unique(of_seed)])
    draws = generator.integers(0, len(heights), (resamples, len(heights)))
    means = heights[draws].mean(axis=1)
    estimates = [
        percentile_estimate(float(value), column, len(heights), level)
        for value, column in zip(heights.mean(axis=0), means.T, strict=True)
    ]
    return CurveEstimate(tuple(estimates[:-1]), estimates[-1])
