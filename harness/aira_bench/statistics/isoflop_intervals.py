"""How sure isoFLOP fits are: the noise of one run, and every run of a programme drawn anew with it.

With three sizes a budget and one run each, runs cannot be left out or drawn twice: without one of the sizes there is no
parabola. So the bootstrap is parametric. Each run's loss is its parabola's value plus normal noise, whose deviation is
itself drawn from what its degrees of freedom leave open (deviation^2 freedom / chi^2), which widens intervals as
Student's t does; everything is fitted again. Coverage is measured by bench/scaling_fit.py (docs/scaling.md).

Noise is what runs lie off their parabolas (more than three runs a budget) and minima off their lines (more than two
budgets), pooled over all architectures; under the model both estimate the variance of one run. Of three architectures
or more, what all of their minima have in common at a budget is taken out first: a frontier with an irreducible loss
bends, so a power law misses all of them alike, which is no noise of runs.
"""

from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np
from scipy import stats

from aira_bench.statistics.arrays import LEVEL, Floats, IntervalEstimate
from aira_bench.statistics.isoflop import (
    COEFFICIENTS,
    LINE_COEFFICIENTS,
    IsoflopDesign,
    Parabolas,
    PowerLaw,
    fit_parabolas,
    frontier_line,
    size_line,
)

RESAMPLES = 4000
_LEAST_TOGETHER = 3
"""Architectures at every budget, from which on what they have in common is told from noise."""


@dataclass(frozen=True)
class RunNoise:
    """Standard deviation of the loss of one run of weight 1."""

    deviation: float
    freedom: int
    """Degrees of freedom that it rests on; 0 where it was given, and is taken as known."""
    misfit_chance: float | None = None
    """How often chance bends all lines together as much as they do; None where too little is known."""

    def chance_beyond(self, deviation: float) -> float:
        """Return how often runs with a known deviation show one as large as this."""
        return float(stats.chi2.sf(self.freedom * (self.deviation / deviation) ** 2, self.freedom))

    def draws(self, resamples: int, generator: np.random.Generator) -> Floats:
        """Return deviations that the data leave open, of shape (resamples,)."""
        if self.freedom == 0:
            return np.full(resamples, self.deviation)
        return np.asarray(self.deviation * np.sqrt(self.freedom / generator.chisquare(self.freedom, resamples)))


@dataclass(frozen=True)
class IsoflopFit:
    """Parabolas and both lines of one architecture, of the data or of resamples."""

    parabolas: Parabolas
    loss: PowerLaw
    size: PowerLaw


def fit_isoflop(design: IsoflopDesign, losses: Floats) -> IsoflopFit:
    """Fit everything from losses of shape (..., runs)."""
    parabolas = fit_parabolas(design, losses)
    return IsoflopFit(parabolas, frontier_line(design, parabolas), size_line(design, parabolas))


def run_noise(designs: Sequence[IsoflopDesign], fits: Sequence[IsoflopFit]) -> RunNoise | None:
    """Return the noise of a run, pooled over architectures; None where nothing is left over that would show it.

    Args:
        designs: of the architectures.
        fits: of their losses, without leading axes.
    """
    squares, freedom = 0.0, 0
    for design, fit in zip(designs, fits, strict=True):
        squares += float((design.weights * fit.parabolas.residuals**2).sum())
        freedom += sum(len(design.runs_at(budget)) - COEFFICIENTS for budget in design.budgets)
    common = _off_together(designs, fits)
    for design, fit in zip(designs, fits, strict=True):
        off = fit.loss.residuals - [common.get(float(budget), 0.0) for budget in design.budgets]
        squares += float((fit.loss.weights * off**2).sum())
        freedom += max(0, int(fit.loss.points) - LINE_COEFFICIENTS)
    bend_freedom = max(0, len(common) - LINE_COEFFICIENTS)
    freedom -= bend_freedom
    if freedom <= 0:
        return None
    deviation, chance = float(np.sqrt(squares / freedom)), None
    if bend_freedom and deviation:
        weights = _weights_at(designs, fits)
        bent = sum(sum(weights[budget]) * off**2 for budget, off in common.items())
        chance = float(stats.f.sf(bent / bend_freedom / deviation**2, bend_freedom, freedom))
    return RunNoise(deviation, freedom, chance)


def _off_together(designs: Sequence[IsoflopDesign], fits: Sequence[IsoflopFit]) -> dict[float, float]:
    """The weighted mean distance of all lines to their minima, by budget; empty for too few lines to tell."""
    weights = _weights_at(designs, fits)
    sums: dict[float, float] = dict.fromkeys(weights, 0.0)
    for design, fit in zip(designs, fits, strict=True):
        for budget, weight, off in zip(design.budgets, fit.loss.weights, fit.loss.residuals, strict=True):
            if weight > 0:
                sums[float(budget)] += float(weight * off)
    enough = min((len(each) for each in weights.values()), default=0) >= _LEAST_TOGETHER
    return {budget: total / sum(weights[budget]) for budget, total in sums.items()} if enough else {}


def _weights_at(designs: Sequence[IsoflopDesign], fits: Sequence[IsoflopFit]) -> dict[float, list[float]]:
    found: dict[float, list[float]] = {}
    for design, fit in zip(designs, fits, strict=True):
        for budget, weight in zip(design.budgets, fit.loss.weights, strict=True):
            if weight > 0:
                found.setdefault(float(budget), []).append(float(weight))
    return found


def redrawn(
    design: IsoflopDesign, losses: Floats, fit: IsoflopFit, deviations: Floats, generator: np.random.Generator
) -> IsoflopFit:
    """Fit resamples in which every run is drawn anew.

    Args:
        design: of the architecture.
        losses: as trained, shape (runs,).
        fit: of these losses.
        deviations: of a run of weight 1 in each resample, shape (resamples,).
        generator: where the noise comes from.
    """
    noise = generator.standard_normal((len(deviations), len(losses))) * deviations[:, None] / np.sqrt(design.weights)
    return fit_isoflop(design, losses - fit.parabolas.residuals + noise)


def open_interval(value: float, resampled: Floats, count: int, level: float = LEVEL) -> IntervalEstimate:
    """Return a percentile interval in which a resample without a value counts as beyond either end.

    So where more than half of 1 - `level` have none (a parabola without a minimum, say) there is no interval.

    Args:
        value: of the data.
        resampled: shape (resamples,); NaN where a resample has no value.
        count: runs that it rests on.
        level: nominal coverage.
    """
    if not np.isfinite(value) or resampled.size == 0:
        return IntervalEstimate(value, None, None, count)
    ordered, unknown = np.sort(resampled[np.isfinite(resampled)]), int((~np.isfinite(resampled)).sum())
    cut = round(resampled.size * (1 - level) / 2)
    if unknown > cut or not len(ordered):
        return IntervalEstimate(value, None, None, count)
    return IntervalEstimate(value, float(ordered[cut - unknown]), float(ordered[unknown - cut - 1]), count)
