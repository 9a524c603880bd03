"""Fits every architecture of a programme: parabolas, minima, frontier, each with an interval and what spoils it.

What the data cannot tell is said where it stands: a budget with too few sizes, a parabola without a minimum, a minimum
outside the sizes, one so flat that it could lie anywhere, a line through two points. Intervals are those of
`aira_bench.statistics.isoflop_intervals`.

Not covered: how architectures compare (`comparisons`), and how it is shown (`render`).
"""

import hashlib
import math
from collections.abc import Mapping, Sequence
from dataclasses import dataclass

import numpy as np

from aira_bench.errors import UsageError
from aira_bench.scaling.frontier.observations import Observations, TrainedRun
from aira_bench.statistics.arrays import Floats, IntervalEstimate
from aira_bench.statistics.isoflop import COEFFICIENTS, LINE_COEFFICIENTS, IsoflopDesign
from aira_bench.statistics.isoflop_intervals import (
    RESAMPLES,
    IsoflopFit,
    RunNoise,
    fit_isoflop,
    open_interval,
    redrawn,
    run_noise,
)

_UNLIKELY = 0.05
_BAND_POINTS = 25


@dataclass(frozen=True)
class FitSettings:
    """How fits are made."""

    noise_sd: float | None = None
    """Standard deviation of one run's loss, where the user knows it; None for the runs' own, or what they show."""
    resamples: int = RESAMPLES
    seed: int = 0


@dataclass(frozen=True)
class BudgetFit:
    """The parabola of one architecture at one budget."""

    budget_flops: float
    runs: tuple[TrainedRun, ...]
    residuals: tuple[float, ...]
    """Of each run; empty without a parabola."""
    curvature: IntervalEstimate | None
    """Second derivative of the loss in ln N; None without a parabola."""
    size: IntervalEstimate | None
    """Parameters of the minimum; None without one."""
    minimum: IntervalEstimate | None
    """Loss of the minimum; None without one."""
    remarks: tuple[str, ...]

    @property
    def sizes(self) -> tuple[float, ...]:
        """The numbers of parameters that were trained, upwards."""
        return tuple(sorted({run.parameters for run in self.runs}))


@dataclass(frozen=True)
class BandPoint:
    """The frontier at one amount of compute."""

    flops: float
    loss: IntervalEstimate


@dataclass(frozen=True)
class Frontier:
    """L* = loss (C / flops)^slope, and N* in proportion to C^exponent."""

    slope: IntervalEstimate
    exponent: IntervalEstimate
    flops: float
    """The geometric mean of the budgets."""
    loss: IntervalEstimate
    """At `flops`."""
    band: tuple[BandPoint, ...]
    slopes: Floats
    """Of the resamples, shape (resamples,); empty without noise."""
    logs: Floats
    """ln of the loss at `flops`, of the resamples."""


@dataclass(frozen=True)
class ArchitectureFit:
    """All of one architecture."""

    name: str
    runs: int
    budgets: tuple[BudgetFit, ...]
    frontier: Frontier | None
    remarks: tuple[str, ...]


@dataclass(frozen=True)
class Programme:
    """All architectures that were trained."""

    architectures: tuple[ArchitectureFit, ...]
    noise: RunNoise | None
    without_loss: int
    without_budget: int
    remarks: tuple[str, ...]

    def named(self, name: str) -> ArchitectureFit:
        """Return one architecture.

        Raises:
            UsageError: it is not among them.
        """
        for each in self.architectures:
            if each.name == name:
                return each
        known = ", ".join(each.name for each in self.architectures)
        raise UsageError(
            f"No run is of {name!r}; there are {known}.", hint="aira-bench scale fit FILE --reference NAME"
        )


def fit_programme(observations: Observations, settings: FitSettings) -> Programme:
    """Fit all architectures, with one noise for their runs.

    Raises:
        UsageError: a noise is given though runs have deviations of their own.
    """
    by_name: dict[str, list[TrainedRun]] = {}
    for run in observations.runs:
        by_name.setdefault(run.architecture, []).append(run)
    weighted = observations.runs[0].loss_sd is not None
    if settings.noise_sd is not None and weighted:
        raise UsageError("The runs have a loss_sd each, which --noise would contradict.", hint="one or the other")
    designs = {name: _design(runs) for name, runs in by_name.items()}
    losses = {name: np.array([run.loss for run in runs]) for name, runs in by_name.items()}
    fits = {name: fit_isoflop(design, losses[name]) for name, design in designs.items()}
    estimated = run_noise(list(designs.values()), list(fits.values()))
    noise = RunNoise(1.0, 0) if weighted else estimated
    if settings.noise_sd is not None:
        noise = RunNoise(settings.noise_sd, 0)
    drawn = _redrawn(designs, losses, fits, noise, settings)
    made = tuple(_architecture(runs, designs[name], fits[name], drawn.get(name)) for name, runs in by_name.items())
    remarks = (*_remarks_on_data(observations.marks), *_remarks(noise, estimated))
    return Programme(made, noise, observations.without_loss, observations.without_budget, remarks)


def _design(runs: Sequence[TrainedRun]) -> IsoflopDesign:
    weights = np.array([1.0 if run.loss_sd is None else run.loss_sd**-2 for run in runs])
    return IsoflopDesign(
        np.array([run.parameters for run in runs]), np.array([run.budget_flops for run in runs]), weights
    )


def _redrawn(
    designs: Mapping[str, IsoflopDesign], losses: Mapping[str, Floats], fits: Mapping[str, IsoflopFit],
    noise: RunNoise | None, settings: FitSettings,
) -> dict[str, IsoflopFit]:  # fmt: skip
    """Resamples of every architecture, whose draws hang on its name and the seed alone, so no other one moves them."""
    if noise is None:
        return {}
    deviations = noise.draws(settings.resamples, _generator(settings.seed))
    return {
        name: redrawn(design, losses[name], fits[name], deviations, _generator(settings.seed, name))
        for name, design in designs.items()
    }


def _generator(*names: object) -> np.random.Generator:
    return np.random.default_rng(int.from_bytes(hashlib.sha256(repr(names).encode()).digest()[:8], "big"))


def _remarks_on_data(marks: tuple[str, ...]) -> tuple[str, ...]:
    return (f"losses are of {' and of '.join(marks)}: they compare with none on other tokens",) if marks else ()


def _remarks(noise: RunNoise | None, estimated: RunNoise | None) -> tuple[str, ...]:
    if noise is None:
        return (
            "no interval: nothing is left over that would show the noise of a run. More seeds, sizes or budgets would, "
            "or --noise with its standard deviation",
        )
    if estimated is None:
        return ()
    remarks = []
    if noise.freedom == 0 and estimated.chance_beyond(noise.deviation) < _UNLIKELY:
        remarks.append(
            f"runs lie {estimated.deviation / noise.deviation:.1f} times as far off as the noise that was given says: "
            "intervals are too narrow"
        )
    if estimated.misfit_chance is not None and estimated.misfit_chance < _UNLIKELY:
        remarks.append(
            f"the minima of all architectures leave a power law together (chance {estimated.misfit_chance:.2g}): "
            "slopes hold for these budgets, not beyond them"
        )
    return tuple(remarks)


def _architecture(
    runs: Sequence[TrainedRun], design: IsoflopDesign, fit: IsoflopFit, drawn: IsoflopFit | None
) -> ArchitectureFit:
    places = {float(budget): place for place, budget in enumerate(design.budgets)}
    budgets = tuple(
        _budget(budget, runs, design, fit, drawn, places.get(budget))
        for budget in sorted({run.budget_flops for run in runs})
    )
    points = int(fit.loss.points) if len(design.budgets) else 0
    remarks = []
    if points < LINE_COEFFICIENTS:
        remarks.append(f"no frontier: {points} of {len(budgets)} budgets have a minimum, a line needs two")
    elif points == LINE_COEFFICIENTS:
        remarks.append("the frontier goes through two minima: nothing shows whether they lie on a power law")
    outside = [each for each in budgets if any(_OUTSIDE in remark for remark in each.remarks)]
    if outside:
        remarks.append(f"{len(outside)} of {len(budgets)} minima lie outside the sizes that were trained")
    frontier = _frontier(len(runs), design, fit, drawn) if points >= LINE_COEFFICIENTS else None
    return ArchitectureFit(runs[0].architecture, len(runs), budgets, frontier, tuple(remarks))


_OUTSIDE = "outside the sizes"


def _budget(
    budget: float, runs: Sequence[TrainedRun], design: IsoflopDesign, fit: IsoflopFit, drawn: IsoflopFit | None,
    place: int | None,
) -> BudgetFit:  # fmt: skip
    of_budget = design.runs_at(budget)
    chosen = tuple(runs[index] for index in of_budget)
    sizes = sorted({run.parameters for run in chosen})
    if place is None:
        said = f"{len(sizes)} size{'' if len(sizes) == 1 else 's'}: a parabola needs {COEFFICIENTS}"
        if len(sizes) >= COEFFICIENTS:
            said = "no parabola: sizes are too near each other, or weigh too little beside others"
        return BudgetFit(budget, chosen, (), None, None, None, (said,))
    found, made = fit.parabolas, None if drawn is None else drawn.parabolas
    none = np.empty(0)

    def estimate(value: float, resampled: Floats) -> IntervalEstimate:
        return open_interval(value, resampled, len(chosen))

    curvature = estimate(float(found.curvature[place]), none if made is None else made.curvature[:, place])
    residuals = tuple(map(float, found.residuals[of_budget]))
    if not math.isfinite(float(found.log_size[place])):
        said = f"no minimum: the parabola's curvature is {curvature.value:.3g}"
        return BudgetFit(budget, chosen, residuals, curvature, None, None, (said,))
    size = estimate(float(np.exp(found.log_size[place])), none if made is None else np.exp(made.log_size[:, place]))
    minimum = estimate(float(found.minimum[place]), none if made is None else made.minimum[:, place])
    remarks = []
    if not sizes[0] <= size.value <= sizes[-1]:
        remarks.append(f"minimum at {size.value:.3g} parameters, {_OUTSIDE} {sizes[0]:.3g} to {sizes[-1]:.3g}")
    if made is not None and (size.low is None or size.high is None):
        remarks.append("flat: noise may leave it without a minimum")
    elif size.low is not None and size.high is not None and size.high / size.low > sizes[-1] / sizes[0]:
        remarks.append("flat: the minimum may lie anywhere in a range wider than the sizes")
    return BudgetFit(budget, chosen, residuals, curvature, size, minimum, tuple(remarks))


def _frontier(count: int, design: IsoflopDesign, fit: IsoflopFit, drawn: IsoflopFit | None) -> Frontier:
    none = np.empty(0)
    slopes, logs = (none, none) if drawn is None else (drawn.loss.slope, drawn.loss.middle)
    exponents = none if drawn is None else drawn.size.slope
    slope, middle = float(fit.loss.slope), float(fit.loss.middle)
    ends = np.log(design.budgets[[0, -1]])
    band = tuple(
        BandPoint(
            math.exp(at),
            open_interval(
                math.exp(middle + slope * (at - design.centre)), np.exp(logs + slopes * (at - design.centre)), count
            ),
        )
        for at in np.linspace(ends[0], ends[1], _BAND_POINTS)
    )
    return Frontier(
        open_interval(slope, slopes, count),
        open_interval(float(fit.size.slope), exponents, count),
        math.exp(design.centre),
        open_interval(math.exp(middle), np.exp(logs), count),
        band, slopes, logs,
    )  # fmt: skip
