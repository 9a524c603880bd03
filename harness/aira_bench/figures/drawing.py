"""Draws charts as SVG and PDF with matplotlib, in the one style of `paper.mplstyle`.

The same chart gives the same bytes with the same matplotlib: no date, no random name, no font but the one that comes
with it, no setting of the user's. Text is drawn as it is, never read as mathematics; a character that the font lacks is
spelt out. Colours are told apart by colour-blind readers, and shapes and dashes say the same.

Not covered: what is drawn (`charts`).
"""

import importlib.util
import io
from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager
from functools import cache
from pathlib import Path
from textwrap import wrap
from typing import TYPE_CHECKING

import numpy as np

from aira_bench.errors import PrerequisiteError
from aira_bench.escaping import one_line
from aira_bench.figures.charts import Chart, DotChart, DotPanel, SearchChart, StepChart, StripChart
from aira_bench.figures.comparisons import GAP
from aira_bench.figures.scripts import LEAST_SEEDS

if TYPE_CHECKING:
    from matplotlib.artist import Artist
    from matplotlib.axes import Axes
    from matplotlib.figure import Figure

EXTRA = "aira-bench[figures]"
FORMATS = ("svg", "pdf")
STYLE = Path(__file__).with_name("paper.mplstyle")
_WIDTH_IN = 7.0
_LABEL_CHARS = 38
_TITLE_CHARS = 36
_SHAPES = ("o", "s", "^", "D", "v", "P")
_DASHES = ("-", "--", "-.", ":", (0, (5, 1, 1, 1, 1, 1)), (0, (1, 2)))
_GREY, _RED = "777777", "#B2182B"
_METADATA: dict[str, dict[str, str | None]] = {
    "svg": {"Date": None, "Creator": "aira-bench"},
    "pdf": {"CreationDate": None, "ModDate": None, "Creator": "aira-bench", "Producer": None},
    "png": {"Software": None},
}


def require_drawing() -> None:
    """Check that the libraries of the extra are there.

    Raises:
        PrerequisiteError: they are not.
    """
    if missing := [name for name in ("matplotlib", "numpy", "scipy") if importlib.util.find_spec(name) is None]:
        raise PrerequisiteError(f"Figures need {' and '.join(missing)}.", hint=f"pip install '{EXTRA}'")


def draw(chart: Chart, title: str, formats: Sequence[str] = FORMATS) -> dict[str, bytes]:
    """Return the picture of a chart in each format.

    Args:
        chart: what is drawn.
        title: of the file, for readers of its metadata; it is not drawn.
        formats: of `FORMATS`, or `png`.
    """
    return pictures(lambda: _DRAWERS[type(chart)](chart), title, formats)


def pictures(make: "Callable[[], Figure]", title: str, formats: Sequence[str] = FORMATS) -> dict[str, bytes]:
    """Return in each format what `make` draws while the style is in force; arguments else as of `draw`."""
    with _style():
        figure = make()
        found = {}
        for each in formats:
            stream = io.BytesIO()
            figure.savefig(stream, format=each, dpi=150, metadata={**_METADATA[each], "Title": title})
            found[each] = stream.getvalue()
    return found


@contextmanager
def _style() -> Iterator[None]:
    """Matplotlib's own defaults and our style, whatever the user's settings are."""
    import matplotlib

    with matplotlib.rc_context():
        matplotlib.rcdefaults()
        matplotlib.rcParams.update(matplotlib.rc_params_from_file(str(STYLE), use_default_template=False))
        yield


def shown(text: str) -> str:
    """Return a name as figures show it: one line, cut in its middle, every character of it in the font."""
    said = one_line(text)
    if len(said) > _LABEL_CHARS:
        half = (_LABEL_CHARS - 3) // 2
        said = f"{said[:half]}...{said[-half:]}"
    known = _characters()
    return "".join(each if ord(each) in known else f"\\u{ord(each):04x}" for each in said)


@cache
def _characters() -> frozenset[int]:
    from matplotlib import font_manager, ft2font

    path = font_manager.findfont("DejaVu Sans")
    return frozenset(ft2font.FT2Font(path).get_charmap())


def _labels(names: Sequence[str]) -> list[str]:
    """Names as shown, those that look alike numbered."""
    found: list[str] = []
    for name in map(shown, names):
        found.append(name if name not in found else f"{name} ({len(found) + 1})")
    return found


def _figure(height_in: float, width_in: float = _WIDTH_IN) -> "Figure":
    from matplotlib.figure import Figure

    return Figure(figsize=(width_in, height_in), layout="constrained")


def _grid(panels: int, most: int) -> tuple[int, int]:
    columns = min(most, panels)
    return -(-panels // columns), columns


def _dots(chart: DotChart) -> "Figure":
    rows, columns = _grid(len(chart.panels), 3)
    names = _labels(chart.agents)
    figure = _figure(rows * (0.9 + 0.19 * max(2, len(names))) + 0.35)
    axes = figure.subplots(rows, columns, sharey=True, squeeze=False)
    drawn: dict[str, Artist] = {}
    for index, axis in enumerate(axes.flat):
        if index >= len(chart.panels):
            axis.set_visible(False)
            continue
        _dot_panel(axis, chart, chart.panels[index], drawn)
    axes[0, 0].set_yticks(range(len(names)), names)
    axes[0, 0].set_ylim(len(names) - 0.4, -0.6)
    _legend(figure, drawn)
    return figure


def _dot_panel(axis: "Axes", chart: DotChart, panel: DotPanel, drawn: "dict[str, Artist]") -> None:
    seen = [series for series in panel.series if series.name != GAP]
    places = {agent: place for place, agent in enumerate(chart.agents)}
    if chart.joined:
        for first, second in zip(*(series.dots for series in seen), strict=True):
            axis.plot(
                [first.value, second.value], [places[first.agent]] * 2, color=f"#{_GREY}", linewidth=0.8, zorder=1
            )
    shift = 0.0 if len(seen) == 1 else 0.3 / (len(seen) - 1)
    for number, series in enumerate(seen):
        at = np.array([places[dot.agent] for dot in series.dots]) + (number * shift - 0.15 if shift else 0.0)
        for dot, y in zip(series.dots, at, strict=True):
            if dot.low is not None and dot.high is not None:
                axis.plot(
                    [dot.low, dot.high], [y, y], color=f"C{number}", linewidth=0.9, solid_capstyle="butt", zorder=2
                )
        (handle,) = axis.plot(
            [dot.value for dot in series.dots], at, linestyle="none", marker=_SHAPES[number], color=f"C{number}",
            markerfacecolor="white" if number else f"C{number}", zorder=3,
        )  # fmt: skip
        drawn.setdefault(series.name, handle)
    _reference(axis.axvline, panel.reference, drawn)
    axis.set_title("\n".join(wrap(shown(panel.title), _TITLE_CHARS)))
    axis.set_xlabel(_wrapped(panel.axis))
    axis.grid(visible=True, axis="both")
    axis.margins(x=0.08)
    if panel.ends is not None:
        low, high = panel.ends
        axis.set_xlim(low - 0.05 * (high - low), high + 0.05 * (high - low))


def _reference(line: "Callable[..., Artist]", reference: tuple[str, float] | None, drawn: "dict[str, Artist]") -> None:
    if reference is not None:
        name, value = reference
        drawn.setdefault(f"{name} ({value:g})", line(value, color=_RED, linestyle="--", linewidth=0.9, zorder=1))


def _wrapped(said: str) -> str:
    """What an axis says, its unit and which way is better on lines of their own."""
    return said.replace(" (", "\n(", 1).replace(", ", ",\n")


def _step_axis(axis: "Axes") -> None:
    """Steps along the bottom, none between two of them."""
    from matplotlib.ticker import MaxNLocator

    axis.set_xlabel("step")
    axis.xaxis.set_major_locator(MaxNLocator(integer=True))


def _legend(figure: "Figure", drawn: "dict[str, Artist]") -> None:
    if len(drawn) > 1:
        figure.legend(list(drawn.values()), list(drawn), loc="outside lower center", ncols=min(3, len(drawn)))


def _strips(chart: StripChart) -> "Figure":
    names, drawn = _labels(chart.agents), dict[str, "Artist"]()
    figure = _figure(1.0 + 0.3 * max(2, len(names)))
    axis = figure.subplots()
    for place, found in enumerate(chart.values):
        values = np.array([each.value for each in found])
        middle = float(np.median(values))
        if len(values) >= LEAST_SEEDS:
            low, high = np.quantile(values, [0.25, 0.75])
            axis.fill_betweenx(
                [place - 0.28, place + 0.28], low, high, facecolor="#DCE9F3", edgecolor="C0", linewidth=0.6
            )
        axis.plot([middle, middle], [place - 0.28, place + 0.28], color="C0", linewidth=2, solid_capstyle="butt")
        spread = place + 0.14 * np.resize([0.0, 1.0, -1.0], len(values))  # beside each other, by no dice
        axis.plot(values, spread, linestyle="none", marker="o", markersize=3, color="C1", alpha=0.8, markeredgewidth=0)
    _reference(axis.axvline, chart.reference, drawn)
    axis.set_yticks(
        range(len(names)), [f"{name} (n = {len(found)})" for name, found in zip(names, chart.values, strict=True)]
    )
    axis.set_ylim(len(names) - 0.4, -0.6)
    axis.set_xlabel(chart.axis)
    if drawn:
        figure.legend(list(drawn.values()), list(drawn), loc="outside lower center")
    return figure


def _lines(chart: StepChart) -> "Figure":
    figure, drawn = _figure(3.4), dict[str, "Artist"]()
    axis = figure.subplots()
    for number, (name, line) in enumerate(zip(_labels([each.agent for each in chart.lines]), chart.lines, strict=True)):
        steps, values = [*line.steps, line.last_step], [*line.values, line.values[-1]]
        (handle,) = axis.plot(
            steps, values, drawstyle="steps-post", color=f"C{number}", linestyle=_DASHES[number],
            marker=_SHAPES[number], markevery=range(len(line.steps)), markerfacecolor="white",
        )  # fmt: skip
        drawn[name] = handle
    _reference(axis.axhline, chart.reference, drawn)
    _step_axis(axis)
    axis.set_ylabel(chart.axis)
    figure.legend(list(drawn.values()), list(drawn), loc="outside lower center", ncols=2)
    return figure


def _searches(chart: SearchChart) -> "Figure":
    rows, columns = _grid(len(chart.panels), 3)
    figure, drawn = _figure(1.75 * rows + 0.6), dict[str, "Artist"]()
    axes = figure.subplots(rows, columns, sharex=True, sharey=True, squeeze=False)
    for index, axis in enumerate(axes.flat):
        if index >= len(chart.panels):
            axis.set_visible(False)
            continue
        panel = chart.panels[index]
        (dots,) = axis.plot(
            [each[2] for each in panel.scored], [each[3] for each in panel.scored], linestyle="none", marker="o",
            markersize=2, color=f"#{_GREY}", alpha=0.45, markeredgewidth=0, rasterized=len(panel.scored) > 5000,
        )  # fmt: skip
        drawn.setdefault("scored step", dots)
        if panel.curve:
            steps = [step for step, _ in panel.curve]
            (line,) = axis.plot(
                steps,
                [each.value for _, each in panel.curve],
                color="C0",
                marker="" if len(steps) > 1 else "_",
                drawstyle="steps-post",
            )
            drawn.setdefault("mean of what would have been submitted", line)
            known = [(step, each.low, each.high) for step, each in panel.curve if each.low is not None]
            if known:
                at, low, high = map(list, zip(*known, strict=True))
                band = axis.fill_between(at, low, high, color="C0", alpha=0.2, linewidth=0, step="post")
                drawn.setdefault("95 % interval", band)
        axis.set_title("\n".join(wrap(f"{shown(panel.agent)} (n = {panel.seeds})", _TITLE_CHARS)))
        if index + columns >= len(chart.panels):  # the lowest of its column
            _step_axis(axis)
            axis.tick_params(labelbottom=True)
    figure.supylabel(chart.axis if rows > 1 else _wrapped(chart.axis), fontsize=8)
    _legend(figure, drawn)
    return figure


_DRAWERS: dict[type, "Callable[..., Figure]"] = {
    DotChart: _dots, StripChart: _strips, StepChart: _lines, SearchChart: _searches,
}  # fmt: skip
