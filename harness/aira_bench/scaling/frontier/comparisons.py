"""What "X % faster" means of two frontiers, by the paper's definition and by ours, and what their data allow to say.

The paper gives no formula. Its numbers are ratios of slopes less 1: if AIRAformer-C scales 54 % faster than Llama 3.2
and 71 % faster than Composer's best Transformer, then that one's slope is 1.54 / 1.71 = 0.90 of Llama's; the text says
"slightly flatter". So is the best Composer hybrid's, 1.23 / 1.37 = 0.90 of Nemotron-2's.

- by slope (the paper's): slope / slope of the reference - 1. It says nothing of which is better: a flat frontier far
  below a steep one is "slower".
- by compute (ours): C / C' - 1, where C' is the compute at which the architecture's frontier reaches the loss of the
  reference at C. It depends on C; both ends of the budgets that the two share are given.

Not covered: whether a frontier holds beyond its budgets.
"""

import math
from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np

from aira_bench.scaling.frontier.fits import ArchitectureFit, Frontier, Programme
from aira_bench.statistics.arrays import Floats, IntervalEstimate
from aira_bench.statistics.isoflop_intervals import open_interval


@dataclass(frozen=True)
class Law:
    """A frontier that others report, taken as exact: loss (C / flops)^slope."""

    name: str
    slope: float
    flops: float
    loss: float


@dataclass(frozen=True)
class FasterByCompute:
    """Compute to equal loss, at the loss of the reference with `flops`."""

    flops: float
    percent: IntervalEstimate


@dataclass(frozen=True)
class FrontierComparison:
    """One architecture's frontier against a reference's."""

    name: str
    reference: str
    slope_difference: IntervalEstimate
    """Below 0: steeper than the reference."""
    offset: IntervalEstimate
    """Difference of ln loss at the reference's middle of budgets; below 0: better there."""
    faster_by_slope: IntervalEstimate
    """Per cent, by the paper's definition."""
    faster_by_compute: tuple[FasterByCompute, ...]
    """Per cent, at the first and the last budget that both have."""

    @property
    def verdict(self) -> str:
        """Whether the slopes differ by more than the noise of runs, in words."""
        return verdict(self.faster_by_slope, "faster", "slower")


def verdict(percent: IntervalEstimate, above: str, below: str) -> str:
    """Return what an interval of per cent allows to say."""
    if percent.low is None or percent.high is None:
        return "cannot tell: no interval"
    if percent.low <= 0 <= percent.high:
        return "cannot tell: the interval holds 0"
    return above if percent.low > 0 else below


@dataclass(frozen=True)
class _Drawn:
    """A frontier as values and resamples."""

    name: str
    slope: float
    centre: float
    log_loss: float
    slopes: Floats
    logs: Floats
    budgets: tuple[float, float]

    def at(self, log_flops: float) -> tuple[float, Floats]:
        far = log_flops - self.centre
        return self.log_loss + self.slope * far, self.logs + self.slopes * far


def compare(programme: Programme, reference: str | Law) -> tuple[FrontierComparison, ...]:
    """Compare every other architecture that has a frontier with a reference; none if that one has no frontier.

    Args:
        programme: what was fitted.
        reference: an architecture of it, or a law.

    Raises:
        UsageError: there is no such architecture.
    """
    others = [each for each in programme.architectures if each.frontier is not None and each.name != reference]
    if isinstance(reference, Law):
        drawn = [_of_fit(each, each.frontier) for each in others if each.frontier is not None]
        return tuple(_compared(each, _of_law(reference, each), _runs(programme, each.name)) for each in drawn)
    first = programme.named(reference)
    if first.frontier is None:
        return ()
    base = _of_fit(first, first.frontier)
    return tuple(
        _compared(_of_fit(each, each.frontier), base, first.runs + each.runs)
        for each in others
        if each.frontier is not None
    )


def _runs(programme: Programme, name: str) -> int:
    return programme.named(name).runs


def _of_fit(fit: ArchitectureFit, frontier: Frontier) -> _Drawn:
    with_minimum = [each.budget_flops for each in fit.budgets if each.minimum is not None]
    return _Drawn(
        fit.name, frontier.slope.value, math.log(frontier.flops), math.log(frontier.loss.value), frontier.slopes,
        frontier.logs, (min(with_minimum), max(with_minimum)),
    )  # fmt: skip


def _of_law(law: Law, other: _Drawn) -> _Drawn:
    """Told at the other's middle of budgets, where its own error is least, so that offsets are of there."""
    at = math.log(law.loss) + law.slope * (other.centre - math.log(law.flops))
    exact = np.ones_like(other.slopes)
    return _Drawn(law.name, law.slope, other.centre, at, law.slope * exact, at * exact, other.budgets)


def _compared(one: _Drawn, base: _Drawn, count: int) -> FrontierComparison:
    here, drawn_here = one.at(base.centre)
    shared = (max(one.budgets[0], base.budgets[0]), min(one.budgets[1], base.budgets[1]))
    return FrontierComparison(
        one.name, base.name,
        open_interval(one.slope - base.slope, one.slopes - base.slopes, count),
        open_interval(here - base.log_loss, drawn_here - base.logs, count),
        open_interval(_by_slope(one.slope, base.slope), _by_slopes(one.slopes, base.slopes), count),
        tuple(_by_compute(one, base, flops, count) for flops in _ends(shared)),
    )  # fmt: skip


def _ends(shared: tuple[float, float]) -> Sequence[float]:
    return () if shared[0] > shared[1] else (shared[0],) if shared[0] == shared[1] else shared


def _by_slope(slope: float, reference: float) -> float:
    return float(_by_slopes(np.array(slope), np.array(reference)))


def _by_slopes(slopes: Floats, references: Floats) -> Floats:
    """Per cent; NaN where the reference does not fall with compute, since nothing is a share of that."""
    falling = np.where(references < 0, references, np.nan)
    return np.asarray(100 * (slopes / falling - 1), np.float64)


def _by_compute(one: _Drawn, base: _Drawn, flops: float, count: int) -> FasterByCompute:
    at = math.log(flops)
    wanted, drawn = base.at(at)
    value = _compute_ratio(np.array(one.slope), np.array(one.log_loss), np.array(wanted), one.centre, at)
    resampled = _compute_ratio(one.slopes, one.logs, drawn, one.centre, at)
    return FasterByCompute(flops, open_interval(float(value), resampled, count))


def _compute_ratio(slopes: Floats, logs: Floats, wanted: Floats, centre: float, at: float) -> Floats:
    """C / C' - 1 in per cent; NaN where the frontier does not fall, and where the two lie too far apart to say."""
    falling = np.where(slopes < 0, slopes, np.nan)
    log_ratio = at - (centre + (wanted - logs) / falling)
    return np.asarray(100 * np.expm1(np.where(np.abs(log_ratio) < _MOST_LOG_RATIO, log_ratio, np.nan)), np.float64)


_MOST_LOG_RATIO = 50.0
