"""IsoFLOP parabolas and the frontier of their minima, on arrays: whole programmes of runs and their resamples at once.

Of one architecture, at each FLOP budget C, the loss is taken as a parabola in the logarithm of the number of parameters
N (Hoffmann et al. 2022, approach 2; the paper's section 6.1):

    L(N) = c + b u + a u^2,  u = ln N - mean of the budget's ln N,     minimum  L* = c - b^2 / 4a  at  u* = -b / 2a

and the minima as a power law of compute, ln L* = middle + slope (ln C - centre). The same is done for N*, whose slope
is the exponent of the optimal size. Both lines are weighted by the variance that a minimum has for a given noise of a
run, so a minimum that lies far outside the sizes that were trained counts for little. Errors of a run are taken as
normal with one deviation, divided by the root of the run's weight.

Not covered: which runs there are and what is said of them (`aira_bench.scaling.frontier`); an irreducible loss, without
which a power law is an approximation over the budgets at hand.
"""

from dataclasses import dataclass
from functools import cached_property

import numpy as np

from aira_bench.statistics.arrays import Floats, Integers

COEFFICIENTS = 3
"""Of a parabola, so that many sizes a budget needs."""
LINE_COEFFICIENTS = 2
_FAR = 20.0
"""In ln N: a minimum half a billion times larger or smaller than what was trained is none."""
_LEAST_BEND = 1e-9
"""Of the loss: a parabola that bends less between its sizes bends by what floats round."""
_MOST_CONDITION = 1e6
"""Of the weighted parabola: beyond it two sizes are one, or one run weighs nothing beside another."""


@dataclass(frozen=True)
class IsoflopDesign:
    """The runs of one architecture before their losses: all arrays have the shape (runs,)."""

    parameters: Floats
    budgets_flops: Floats
    weights: Floats
    """Relative precision of each run's loss, above 0; 1 for all where nothing is known."""

    @cached_property
    def budgets(self) -> Floats:
        """The distinct budgets with a parabola, upwards: at least three sizes, apart enough. Shape (budgets,)."""
        return np.array([each for each in np.unique(self.budgets_flops) if self._bears_parabola(each)])

    def _bears_parabola(self, budget: float) -> bool:
        runs = self.runs_at(budget)
        if len(np.unique(self.parameters[runs])) < COEFFICIENTS:
            return False
        weights = self.weights[runs] / self.weights[runs].max()
        return bool(np.linalg.cond(np.sqrt(weights)[:, None] * self.basis_at(budget)[0]) < _MOST_CONDITION)

    def basis_at(self, budget: float) -> tuple[Floats, float, float]:
        """Return 1, s and s^2 of a budget's runs, and the middle and the scale of s = (ln N - middle) / scale.

        The largest s is 1: sizes that hardly differ would else leave nothing of a sum of their squares.
        """
        logs = np.log(self.parameters[self.runs_at(budget)])
        middle = float(logs.mean())
        scale = float(np.abs(logs - middle).max())
        return np.stack([((logs - middle) / scale) ** power for power in range(COEFFICIENTS)], axis=-1), middle, scale

    def runs_at(self, budget: float) -> Integers:
        """Return the places of a budget's runs."""
        return np.flatnonzero(self.budgets_flops == budget)

    @cached_property
    def centre(self) -> float:
        """The mean of ln C over the budgets: where a line's middle is, and where its two errors are independent."""
        return float(np.log(self.budgets).mean()) if len(self.budgets) else np.nan


@dataclass(frozen=True)
class Parabolas:
    """The parabolas of one architecture, of each of any number of resamples: shape (..., budgets)."""

    curvature: Floats
    """Second derivative of the loss in ln N, 2a. Where it is not above 0, or hardly, the other arrays have NaN."""
    log_size: Floats
    """ln N*, of the minimum."""
    minimum: Floats
    """L*."""
    size_variance: Floats
    """Variance of ln N* for a run's noise of 1."""
    minimum_variance: Floats
    """Variance of L* for a run's noise of 1."""
    residuals: Floats
    """Loss less parabola, shape (..., runs); 0 where a budget has no parabola."""


@dataclass(frozen=True)
class PowerLaw:
    """A line through (ln C, value): shape (...)."""

    slope: Floats
    middle: Floats
    """Its value at the design's centre."""
    residuals: Floats
    """Shape (..., budgets); 0 for a budget without a value."""
    weights: Floats
    """One over the variance of each value for a run's noise of 1; 0 for a budget without a value."""
    points: Integers
    """How many budgets it goes through. Below two there is no line: the other arrays are NaN."""


def fit_parabolas(design: IsoflopDesign, losses: Floats) -> Parabolas:
    """Fit the parabola of every budget by weighted least squares.

    Args:
        design: of one architecture.
        losses: shape (..., runs).
    """
    residuals = np.zeros_like(losses)
    columns: list[tuple[Floats, ...]] = []
    for budget in design.budgets:
        runs = design.runs_at(budget)
        (basis, middle, scale), weights = design.basis_at(budget), design.weights[runs]
        covariance = np.asarray(np.linalg.inv(basis.T @ (weights[:, None] * basis)), np.float64)
        found = losses[..., runs] @ (covariance @ basis.T * weights).T
        residuals[..., runs] = losses[..., runs] - found @ basis.T
        columns.append(_minimum(found, covariance, middle, scale))
    if not columns:
        none = np.empty((*losses.shape[:-1], 0))
        return Parabolas(none, none, none, none, none, residuals)
    curvature, log_size, minimum, of_size, of_minimum = (np.stack(each, axis=-1) for each in zip(*columns, strict=True))
    return Parabolas(curvature, log_size, minimum, of_size, of_minimum, residuals)


def _minimum(coefficients: Floats, covariance: Floats, middle: float, scale: float) -> tuple[Floats, ...]:
    """Curvature, ln N*, L* and the variances of the last two by the delta method, from (..., 3) coefficients of s.

    The minimum's own derivative is the basis at s* (at a minimum, moving s* changes nothing); that of s* = -b / 2a is
    (0, -1, -2 s*) / 2a.
    """
    c, b, a = (coefficients[..., index] for index in range(COEFFICIENTS))
    a = np.where(a > _LEAST_BEND * np.abs(c), a, np.nan)
    at = -b / (2 * a)
    at = np.where(np.abs(at * scale) < _FAR, at, np.nan)
    ones = np.ones_like(at)
    of_minimum = np.stack([ones, at, at**2], axis=-1)
    of_place = np.stack([0 * ones, -ones, -2 * at], axis=-1) / (2 * a)[..., None]
    variances = (np.einsum("...i,ij,...j->...", each, covariance, each) for each in (scale * of_place, of_minimum))
    return 2 * coefficients[..., 2] / scale**2, at * scale + middle, c + b * at / 2, *variances


def frontier_line(design: IsoflopDesign, parabolas: Parabolas) -> PowerLaw:
    """Return the line of ln L* over ln C; its slope is the exponent of the loss, negative where compute helps."""
    loss = np.where(parabolas.minimum > 0, parabolas.minimum, np.nan)
    return _line(design, np.log(loss), parabolas.minimum_variance / loss**2)


def size_line(design: IsoflopDesign, parabolas: Parabolas) -> PowerLaw:
    """Return the line of ln N* over ln C; its slope is the exponent of the compute-optimal size."""
    return _line(design, parabolas.log_size, parabolas.size_variance)


def _line(design: IsoflopDesign, values: Floats, variances: Floats) -> PowerLaw:
    known = np.isfinite(values) & np.isfinite(variances) & (variances > 0)
    weights = np.where(known, 1 / np.where(known, variances, 1), 0)
    values, points = np.where(known, values, 0), known.sum(axis=-1)
    x = np.log(design.budgets) - design.centre
    total = np.where(points >= LINE_COEFFICIENTS, weights.sum(axis=-1), np.nan)
    mean_x, mean_y = (weights * x).sum(axis=-1) / total, (weights * values).sum(axis=-1) / total
    across = x - mean_x[..., None]
    spread = np.where(points >= LINE_COEFFICIENTS, (weights * across**2).sum(axis=-1), np.nan)
    slope = (weights * across * values).sum(axis=-1) / spread
    middle = mean_y - slope * mean_x
    off = values - middle[..., None] - slope[..., None] * x
    return PowerLaw(slope, middle, np.where(known, off, 0), weights, np.asarray(points, np.int64))
