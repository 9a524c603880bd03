"""The counterparts of figures 5, 6, 23 and 24: isoFLOP parabolas, frontiers, and losses by size and budget.

Figures 5 and 23 are of two primitives, 6 and 24 of three; a programme with an architecture of the paper that has
Mamba-2 layers is of three. What is drawn is what the CSV file beside each picture says.

Not covered: where fits come from (`aira_bench.scaling.frontier`).
"""

import csv
import io
import math
from collections.abc import Callable, Sequence
from dataclasses import dataclass, replace
from pathlib import Path
from textwrap import wrap
from typing import TYPE_CHECKING, Literal

import numpy as np

from aira_bench.escaping import csv_cell
from aira_bench.figures.drawing import FORMATS, pictures, shown
from aira_bench.files import write_atomically
from aira_bench.scaling.frontier.comparisons import FrontierComparison
from aira_bench.scaling.frontier.fits import ArchitectureFit, BudgetFit, Programme
from aira_bench.statistics.arrays import IntervalEstimate
from aira_contract.presets import find_preset
from aira_contract.primitives import MAMBA

if TYPE_CHECKING:
    from matplotlib.axes import Axes
    from matplotlib.figure import Figure

Row = tuple[str | float | int | None, ...]
_WIDTH_IN = 7.0
_COLUMNS = 3
_TITLE_CHARS = 36
_COLOURS, _SHAPES = 6, ("o", "s", "^", "D", "v", "P")
_DASHES: tuple[Literal["-", "--", "-.", ":"], ...] = ("-", "--", "-.", ":")
_CURVE_POINTS = 41
_MOST_TICKS = 6


def write_charts(programme: Programme, comparisons: Sequence[FrontierComparison], folder: Path) -> list[Path]:
    """Write every figure as SVG, PDF and CSV; return the paths.

    Args:
        programme: what was fitted.
        comparisons: of its architectures with a reference.
        folder: where the files go.
    """
    number, losses = ("06", "24") if _has_mamba(programme) else ("05", "23")
    made: list[tuple[str, str, Callable[[], Figure], tuple[str, ...], list[Row]]] = [
        (f"figure{number}_isoflop_parabolas", f"Figure {int(number)}, top: isoFLOP parabolas",
         lambda: _parabolas(programme), _PARABOLA_COLUMNS, _parabola_rows(programme)),
        (f"figure{losses}_isoflop_losses", f"Figure {losses}: losses by size and budget",
         lambda: _losses(programme), _LOSS_COLUMNS, _loss_rows(programme)),
    ]  # fmt: skip
    if any(fit.frontier is not None for fit in programme.architectures):
        made.append(
            (f"figure{number}_frontiers", f"Figure {int(number)}, bottom: frontiers",
             lambda: _frontiers(programme, comparisons), _FRONTIER_COLUMNS, _frontier_rows(programme, comparisons))
        )  # fmt: skip
    written = []
    for name, title, make, columns, rows in made:
        drawn = pictures(make, title)
        files = {f"{name}.{kind}": drawn[kind] for kind in FORMATS} | {f"{name}.csv": _csv(columns, rows)}
        for file, content in files.items():
            write_atomically(folder / file, content)
            written.append(folder / file)
    return written


def _has_mamba(programme: Programme) -> bool:
    presets = [find_preset(fit.name) for fit in programme.architectures]
    patterns = [full.pattern for preset in presets if preset is not None for full in preset.full_size.values()]
    return any(MAMBA.symbol in pattern for pattern in patterns)


def _csv(columns: Sequence[str], rows: Sequence[Row]) -> bytes:
    stream = io.StringIO()
    writer = csv.writer(stream, lineterminator="\n")
    writer.writerow(columns)
    for row in rows:
        writer.writerow("" if cell is None else csv_cell(cell) for cell in row)
    return stream.getvalue().encode()


def _budgets(programme: Programme) -> dict[float, int]:
    """A number for each budget, the same in all panels."""
    found = sorted({budget.budget_flops for fit in programme.architectures for budget in fit.budgets})
    return {budget: number for number, budget in enumerate(found)}


@dataclass(frozen=True)
class _Look:
    color: str
    marker: str
    dash: Literal["none", "-", "--", "-.", ":"] = "none"


def _look(number: int) -> _Look:
    # After six, shapes and colours meet in other pairs.
    return _Look(f"C{number % _COLOURS}", _SHAPES[(number + number // _COLOURS) % len(_SHAPES)])


def _panels(count: int, height_in: float, legend_rows: int, along: str) -> "tuple[Figure, list[Axes]]":
    from matplotlib.figure import Figure

    columns = min(_COLUMNS, count)
    rows = -(-count // columns)
    figure = Figure(figsize=(_WIDTH_IN, height_in * rows + 0.16 * legend_rows + 0.3), layout="constrained")
    axes = list(figure.subplots(rows, columns, sharex=True, sharey=True, squeeze=False).flat)
    for unused in axes[count:]:
        unused.set_visible(False)
    for axis in axes[max(0, count - columns) : count]:
        axis.tick_params(labelbottom=True)
        axis.set_xlabel(along)
    return figure, axes[:count]


def _log_ticks(axis: "Axes", values: Sequence[float], shown_as: Callable[[float], str]) -> None:
    """A logarithmic axis with ticks at these values, some of them where there are many."""
    ticks = list(values)[:: -(-len(values) // _MOST_TICKS)]
    axis.set_xscale("log")
    axis.set_xticks(ticks, [shown_as(tick) for tick in ticks])
    axis.minorticks_off()


def _flops(value: float) -> str:
    return f"{value:.3g}".replace("e+", "e")


def _parameters(value: float) -> str:
    return f"{value / 1e9:.3g}B" if value >= 1e9 else f"{value / 1e6:.3g}M"


def _parabolas(programme: Programme) -> "Figure":
    numbers = _budgets(programme)
    figure, axes = _panels(len(programme.architectures), 1.9, -(-len(numbers) // 5), "parameters without embedding")
    sizes = [losses.smallest for losses in _by_size(programme)]
    for axis, fit in zip(axes, programme.architectures, strict=True):
        for budget in fit.budgets:
            look = _look(numbers[budget.budget_flops])
            axis.plot(
                [run.parameters for run in budget.runs],
                [run.loss for run in budget.runs],
                linestyle="none",
                marker=look.marker,
                color=look.color,
            )
            curve = _curve(budget)
            if curve:
                axis.plot(*map(list, zip(*curve, strict=True)), color=look.color, linewidth=0.9)
            if budget.size is not None and budget.minimum is not None:
                axis.plot(budget.size.value, budget.minimum.value, color=look.color, marker="*", markersize=7)
        _log_ticks(axis, sizes, _parameters)
        axis.set_title("\n".join(wrap(shown(fit.name), _TITLE_CHARS)))
        axis.grid(visible=True)
    figure.supylabel("validation loss (nats a token)", fontsize=8)
    _legend(figure, {f"{_flops(budget)} FLOPs": _look(number) for budget, number in numbers.items()}, 5)
    return figure


def _curve(budget: BudgetFit) -> list[tuple[float, float]]:
    """The parabola within the sizes and out to its minimum, from what the fit says of it alone."""
    if budget.curvature is None or budget.size is None or budget.minimum is None:
        return []
    ends = [math.log(each) for each in (*budget.sizes, budget.size.value)]
    half, at, least = budget.curvature.value / 2, math.log(budget.size.value), budget.minimum.value
    return [
        (math.exp(x), least + half * (x - at) ** 2) for x in np.linspace(min(ends), max(ends), _CURVE_POINTS).tolist()
    ]


_PARABOLA_COLUMNS = (
    "kind", "architecture", "budget_flops", "parameters", "parameters_low", "parameters_high", "loss", "loss_low",
    "loss_high", "seed", "residual", "remarks",
)  # fmt: skip


def _parabola_rows(programme: Programme) -> list[Row]:
    rows: list[Row] = []
    for fit in programme.architectures:
        for budget in fit.budgets:
            residuals: Sequence[float | None] = budget.residuals or [None] * len(budget.runs)
            for run, residual in zip(budget.runs, residuals, strict=True):
                rows.append(("run", fit.name, budget.budget_flops, run.parameters, None, None, run.loss, None, None,
                             run.seed, residual, ""))  # fmt: skip
            if budget.size is not None and budget.minimum is not None:
                rows.append(("minimum", fit.name, budget.budget_flops, *_ends(budget.size), *_ends(budget.minimum),
                             None, None, "; ".join(budget.remarks)))  # fmt: skip
            rows += [
                ("curve", fit.name, budget.budget_flops, size, None, None, loss, None, None, None, None, "")
                for size, loss in _curve(budget)
            ]
    return rows


def _ends(estimate: IntervalEstimate) -> tuple[float, float | None, float | None]:
    return estimate.value, estimate.low, estimate.high


def _frontiers(programme: Programme, comparisons: Sequence[FrontierComparison]) -> "Figure":
    from matplotlib.figure import Figure

    found = [fit for fit in programme.architectures if fit.frontier is not None]
    figure = Figure(figsize=(_WIDTH_IN, 3.4 + 0.16 * len(found)), layout="constrained")
    axis, told = figure.subplots(), {each.name: each for each in comparisons}
    labels: dict[str, _Look] = {}
    for number, fit in enumerate(found):
        look, dash = _look(number), _DASHES[number // _COLOURS % len(_DASHES)]
        minima = [(each.budget_flops, each.minimum) for each in fit.budgets if each.minimum is not None]
        axis.plot(
            [flops for flops, _ in minima],
            [each.value for _, each in minima],
            linestyle="none",
            marker=look.marker,
            color=look.color,
        )
        if fit.frontier is not None:
            band = fit.frontier.band
            flops = [each.flops for each in band]
            axis.plot(flops, [each.loss.value for each in band], color=look.color, linestyle=dash)
            lows, highs = (np.array([getattr(each.loss, end) for each in band], np.float64) for end in ("low", "high"))
            axis.fill_between(flops, lows, highs, color=look.color, alpha=0.15, linewidth=0)
        labels[_told(fit, told.get(fit.name))] = replace(look, dash=dash)
    _log_ticks(axis, list(_budgets(programme)), _flops)
    axis.set_yscale("log")
    low, high = axis.get_ylim()
    axis.set_yticks(ticks := np.linspace(low, high, 6)[1:-1].tolist(), [f"{tick:.2f}" for tick in ticks])
    axis.minorticks_off()
    axis.set_xlabel("training FLOPs")
    axis.set_ylabel("validation loss at the best size (nats a token)")
    axis.grid(visible=True)
    _legend(figure, labels, 1)
    return figure


def _told(fit: ArchitectureFit, comparison: FrontierComparison | None) -> str:
    """A name with its slope and interval, and its difference from the reference."""
    assert fit.frontier is not None, "only those with one are drawn"
    said = f"{shown(fit.name)}: slope {_interval(fit.frontier.slope)}"
    return said if comparison is None else f"{said}, difference {_interval(comparison.slope_difference)}"


def _interval(estimate: IntervalEstimate) -> str:
    if estimate.low is None or estimate.high is None:
        return f"{estimate.value:.4f} [?]"
    return f"{estimate.value:.4f} [{estimate.low:.4f}, {estimate.high:.4f}]"


_FRONTIER_COLUMNS = ("kind", "architecture", "flops", "value", "low", "high")


def _frontier_rows(programme: Programme, comparisons: Sequence[FrontierComparison]) -> list[Row]:
    rows: list[Row] = []
    for fit in programme.architectures:
        if fit.frontier is None:
            continue
        found = fit.frontier
        rows.append(("slope", fit.name, None, *_ends(found.slope)))
        rows.append(("size exponent", fit.name, None, *_ends(found.exponent)))
        rows += [
            ("minimum", fit.name, each.budget_flops, *_ends(each.minimum))
            for each in fit.budgets
            if each.minimum is not None
        ]
        rows += [("frontier", fit.name, each.flops, *_ends(each.loss)) for each in found.band]
    for each in comparisons:
        rows.append((f"slope less that of {each.reference}", each.name, None, *_ends(each.slope_difference)))
        rows.append((f"ln loss less that of {each.reference}", each.name, None, *_ends(each.offset)))
        rows.append((f"per cent faster by slope than {each.reference}", each.name, None, *_ends(each.faster_by_slope)))
        rows += [
            (f"per cent faster by compute than {each.reference}", each.name, one.flops, *_ends(one.percent))
            for one in each.faster_by_compute
        ]
    return rows


def _losses(programme: Programme) -> "Figure":
    """A panel for each size, a line for each architecture over budgets."""
    groups, names = _by_size(programme), [fit.name for fit in programme.architectures]
    figure, axes = _panels(len(groups), 2.4, -(-len(names) // 3), "training FLOPs")
    for axis, group in zip(axes, groups, strict=True):
        for number, name in enumerate(names):
            found = {budget: losses for (of, budget), losses in group.losses.items() if of == name}
            points = [(budget, float(np.mean(losses))) for budget, losses in sorted(found.items())]
            if points:
                look = _look(number)
                axis.plot(*map(list, zip(*points, strict=True)), marker=look.marker, color=look.color, linewidth=0.8)
        _log_ticks(axis, list(_budgets(programme)), _flops)
        axis.set_title(group.title)
        axis.grid(visible=True)
    figure.supylabel("validation loss (nats a token)", fontsize=8)
    _legend(figure, {shown(name): _look(number) for number, name in enumerate(names)}, 3)
    return figure


_SIZE_RATIO = 1.5
"""Models within this ratio of the smallest of a group are one size: architectures differ by a tenth at one scale."""


@dataclass
class _SizeGroup:
    smallest: float
    largest: float
    losses: dict[tuple[str, float], list[float]]
    """By architecture and budget."""

    @property
    def title(self) -> str:
        ends = dict.fromkeys((_parameters(self.smallest), _parameters(self.largest)))
        return f"{' to '.join(ends)} parameters"


def _by_size(programme: Programme) -> list[_SizeGroup]:
    """Losses of models of like size, the smallest first."""
    runs = [run for fit in programme.architectures for budget in fit.budgets for run in budget.runs]
    groups: list[_SizeGroup] = []
    for run in sorted(runs, key=lambda run: run.parameters):
        if not groups or run.parameters > _SIZE_RATIO * groups[-1].smallest:
            groups.append(_SizeGroup(run.parameters, run.parameters, {}))
        groups[-1].largest = run.parameters
        groups[-1].losses.setdefault((run.architecture, run.budget_flops), []).append(run.loss)
    return groups


_LOSS_COLUMNS = ("size", "architecture", "budget_flops", "mean loss", "runs")


def _loss_rows(programme: Programme) -> list[Row]:
    return [
        (group.title, name, budget, float(np.mean(found)), len(found))
        for group in _by_size(programme)
        for (name, budget), found in sorted(group.losses.items())
    ]


def _legend(figure: "Figure", looks: dict[str, _Look], columns: int) -> None:
    from matplotlib.lines import Line2D

    handles = [Line2D([], [], linestyle=each.dash, marker=each.marker, color=each.color) for each in looks.values()]
    figure.legend(handles, list(looks), loc="outside lower center", ncols=min(columns, len(looks)))
