"""Means, medians and interquartile means with intervals from resampling.

The three aggregates over tasks and their stratified bootstrap are those of Agarwal et al. 2021, "Deep Reinforcement
Learning at the Edge of the Statistical Precipice" (their library is rliable), which AIRS-Bench and through it the
paper use: runs are drawn with replacement within each stratum (a task), never across strata.

Percentile intervals of few values are too narrow. Coverage at a nominal 95 %, of 2,000 simulated means of normal
values: 0.94 for six strata of ten, 0.90 for one stratum of ten, 0.72 for one of three. The interquartile mean over six
strata of ten covers 0.93, and so does the two-level bootstrap with ten seeds of three trainings.

Not covered: whether two agents differ (`paired`); overlapping intervals do not answer that.
"""

from collections.abc import Callable, Sequence
from dataclasses import dataclass
from enum import StrEnum

import numpy as np

from aira_bench.statistics.arrays import LEVEL, Floats, Integers, IntervalEstimate, percentile_estimate
from aira_bench.statistics.components import components

RESAMPLES = 2000
_CELLS_AT_ONCE = 2_000_000
"""Values drawn in one go: 16 MB, however many runs there are."""


class Aggregate(StrEnum):
    """How the runs of several strata become one number."""

    MEAN = "mean"
    """Mean over strata of the means within."""
    MEDIAN = "median"
    """Median over strata of the means within."""
    INTERQUARTILE_MEAN = "interquartile mean"
    """Mean of the middle half of all runs together: 25 % are cut at either end, rounded down (rliable's)."""


def aggregate(strata: Sequence[Floats], how: Aggregate) -> Floats:
    """Return one number for each leading index.

    Args:
        strata: arrays of shape (..., runs of the stratum), equal in the leading axes.
        how: mean, median or interquartile mean.

    Raises:
        ValueError: there is no stratum, or an empty one.
    """
    if not strata or any(stratum.shape[-1] == 0 for stratum in strata):
        raise ValueError("an aggregate needs at least one run in every stratum")
    if how is Aggregate.INTERQUARTILE_MEAN:
        runs = np.concatenate(strata, axis=-1)
        cut = runs.shape[-1] // 4
        kept = np.partition(runs, (cut, runs.shape[-1] - cut - 1), axis=-1)[..., cut : runs.shape[-1] - cut]
        return np.asarray(kept.mean(axis=-1), np.float64)  # as scipy.stats.trim_mean, whose import takes a second
    means = np.stack([stratum.mean(axis=-1) for stratum in strata], axis=-1)
    return np.asarray(means.mean(axis=-1) if how is Aggregate.MEAN else np.median(means, axis=-1), np.float64)


def stratified_estimate(
    strata: Sequence[Floats],
    how: Aggregate,
    generator: np.random.Generator,
    *,
    resamples: int = RESAMPLES,
    level: float = LEVEL,
) -> IntervalEstimate:
    """Return an aggregate over strata with its stratified bootstrap interval.

    Args:
        strata: one array of shape (runs,) for each stratum, such as the normalized scores of one agent on a task.
        how: mean, median or interquartile mean.
        generator: where the draws come from.
        resamples: how many resamples the interval is made of.
        level: nominal coverage.

    Raises:
        ValueError: there is no stratum, an empty one, a value that is no finite number, no resample, or a level outside
            (0, 1).
    """
    flat = _known(strata)
    count = sum(stratum.size for stratum in flat)
    value = float(aggregate(flat, how))
    if all(stratum.size == 1 for stratum in flat):
        return IntervalEstimate(value, None, None, count)
    resampled = _in_chunks(
        resamples, count, lambda size: aggregate([_drawn(each, size, generator) for each in flat], how)
    )
    return percentile_estimate(value, resampled, count, level)


def _known(groups: Sequence[Floats]) -> list[Floats]:
    """What is unknown is decided on before: a NaN that is drawn or not would make an interval of the rest."""
    arrays = [np.asarray(group, np.float64) for group in groups]
    if not all(np.isfinite(group).all() for group in arrays):
        raise ValueError("means are taken of finite numbers; a failed run needs the score of a failure")
    return arrays


def _in_chunks(resamples: int, values: int, draw: Callable[[int], Floats]) -> Floats:
    if resamples < 1:
        raise ValueError(f"an interval needs resamples, not {resamples}")
    size = max(1, _CELLS_AT_ONCE // max(1, values))
    return np.concatenate([draw(min(size, resamples - done)) for done in range(0, resamples, size)])


def _drawn(values: Floats, resamples: int, generator: np.random.Generator) -> Floats:
    return values[generator.integers(0, values.size, (resamples, values.size))]


@dataclass(frozen=True)
class TwoLevels:
    """Where the spread of one agent's scores on one task comes from."""

    mean: IntervalEstimate
    """Mean over seeds of the search of the mean over trainings; its interval draws seeds, and trainings within them."""
    search_deviation: float | None
    """Standard deviation between seeds of the search, the noise of training taken out; None with one seed."""
    training_deviation: float | None
    """Standard deviation of trainings of one artifact; None where no artifact was trained twice."""


def two_levels(
    trainings: Sequence[Floats],
    generator: np.random.Generator,
    *,
    resamples: int = RESAMPLES,
    level: float = LEVEL,
) -> TwoLevels:
    """Separate the luck of the search from the luck of training.

    The deviations are those of `components`. The interval draws seeds with replacement and then trainings within each
    (Davison and Hinkley 1997, section 3.8, strategy 1): somewhat too wide for many seeds, which makes up for the
    percentile interval's narrowness at few.

    Args:
        trainings: one array of shape (trainings,) for each seed of the search: scores of its submission.
        generator: where the draws come from.
        resamples: how many resamples the interval is made of.
        level: nominal coverage.

    Raises:
        ValueError: there is no seed, one without trainings, a score that is no finite number, or no resample.
    """
    groups = _known(trainings)
    if not groups or any(group.size == 0 for group in groups):
        raise ValueError("two levels need at least one seed, and a training of every seed")
    sizes, parts = (
        np.array([group.size for group in groups], np.int64),
        components([group.tolist() for group in groups]),
    )
    value = float(np.mean([group.mean() for group in groups]))
    count = int(sizes.sum())
    if count == 1:
        return TwoLevels(IntervalEstimate(value, None, None, 1), None, None)
    resampled = _in_chunks(resamples, count, lambda size: _drawn_twice(groups, sizes, size, generator))
    mean = percentile_estimate(value, resampled, count, level)
    return TwoLevels(mean, parts.search, parts.training)


def _drawn_twice(groups: Sequence[Floats], sizes: Integers, resamples: int, generator: np.random.Generator) -> Floats:
    """Means of resamples: seeds drawn with replacement, and for each draw as many trainings of that seed as it has."""
    padded = np.zeros((len(groups), int(sizes.max())))
    for row, group in zip(padded, groups, strict=True):
        row[: group.size] = group
    seeds = generator.integers(0, len(groups), (resamples, len(groups)))
    drawn = sizes[seeds][..., np.newaxis]
    trainings = (generator.random((*seeds.shape, padded.shape[1])) * drawn).astype(np.int64)
    values = padded[seeds[..., np.newaxis], trainings] * (np.arange(padded.shape[1]) < drawn)
    return np.asarray((values.sum(axis=-1) / sizes[seeds]).mean(axis=-1), np.float64)
