"""The counterpart of figure 7: latency and validation loss of architectures, and which of them no other beats in both.

Not covered: where latencies and losses come from (`aira_bench.scaling.latency_pareto`).
"""

import csv
import io
from collections.abc import Sequence
from pathlib import Path
from typing import TYPE_CHECKING

from aira_bench.escaping import csv_cell
from aira_bench.figures.drawing import FORMATS, pictures, shown
from aira_bench.files import write_atomically
from aira_bench.scaling.latency_pareto import ParetoPanel, ParetoPoint
from aira_bench.scaling.notation import write_pattern
from aira_contract.model_sizes import space_of

if TYPE_CHECKING:
    from matplotlib.axes import Axes
    from matplotlib.figure import Figure

NAME = "figure07_latency_pareto"
COLUMNS = (
    "protocol", "phase", "batch", "length", "context", "number", "architecture", "pattern", "loss", "loss_sd",
    "latency_s", "low_s", "high_s", "blocks_s", "measured_s", "rounds", "cold", "on_front", "layers", "layers_printed",
)  # fmt: skip
_SHAPES = {"2-primitive": "o", "3-primitive": "s"}
_UNSURE = "x"
"""Of what the paper prints with two numbers of layers."""
_MOST_COLUMNS = 2
_WIDTH_IN = 7.0


def write_chart(panels: Sequence[ParetoPanel], folder: Path) -> list[Path]:
    """Write the picture as SVG and PDF, and its values as CSV; return the paths.

    Args:
        panels: of one scale, at least one.
        folder: where the files go.
    """
    drawn = pictures(lambda: _figure(panels), "Figure 7: latency and validation loss")
    files = {f"{NAME}.{kind}": drawn[kind] for kind in FORMATS} | {f"{NAME}.csv": _csv(panels)}
    for name, content in files.items():
        write_atomically(folder / name, content)
    return [folder / name for name in files]


def _numbers(panels: Sequence[ParetoPanel]) -> dict[str, int]:
    """A number for each architecture, the same in all panels."""
    names = dict.fromkeys(point.model.name for panel in panels for point in panel.points)
    return {name: number for number, name in enumerate(names, start=1)}


def _figure(panels: Sequence[ParetoPanel]) -> "Figure":
    from matplotlib.figure import Figure

    numbers, columns = _numbers(panels), min(_MOST_COLUMNS, len(panels))
    rows, legend_rows = -(-len(panels) // columns), -(-len(numbers) // 3)
    figure = Figure(figsize=(_WIDTH_IN, 2.7 * rows + 0.16 * legend_rows + 0.3), layout="constrained")
    axes = figure.subplots(rows, columns, squeeze=False)
    for index, axis in enumerate(axes.flat):
        if index < len(panels):
            _panel(axis, panels[index], numbers)
        else:
            axis.set_visible(False)
    from matplotlib.lines import Line2D

    handles = [Line2D([], [], linestyle="none") for _ in numbers]
    labels = [f"{number} {shown(name)}" for name, number in numbers.items()]
    figure.legend(handles, labels, loc="outside lower center", ncols=3, handlelength=0, handletextpad=0)
    return figure


def _panel(axis: "Axes", panel: ParetoPanel, numbers: dict[str, int]) -> None:
    for point in panel.points:
        model = point.model
        x_ms = model.total_s * 1e3
        shape = _UNSURE if point.layers_printed is not None else _SHAPES[space_of(model.pattern)]
        axis.plot([model.low_s * 1e3, model.high_s * 1e3], [point.loss.loss] * 2, color="#777777", linewidth=0.9)
        if point.loss.sd is not None:
            ends = [point.loss.loss - point.loss.sd, point.loss.loss + point.loss.sd]
            axis.plot([x_ms] * 2, ends, color="#777777", linewidth=0.9)
        fill = "C0" if point.on_front else "white"
        axis.plot(x_ms, point.loss.loss, linestyle="none", marker=shape, color="C0", markerfacecolor=fill)
        axis.annotate(
            str(numbers[model.name]), (x_ms, point.loss.loss), xytext=(3, 3), textcoords="offset points", fontsize=6
        )
    front = sorted((point.model.total_s * 1e3, point.loss.loss) for point in panel.points if point.on_front)
    axis.plot(*map(list, zip(*front, strict=True)), drawstyle="steps-post", color="C1", linestyle="--", zorder=1)
    case = panel.case
    behind = f" behind {case.context}" if case.context else ""
    axis.set_title(f"{panel.protocol}: {case.phase}, {case.batch} x {case.length}{behind}")
    axis.set_xlabel("latency, sum of parts (ms)")
    axis.set_ylabel("validation loss (nats a token)")
    axis.grid(visible=True)


def _csv(panels: Sequence[ParetoPanel]) -> bytes:
    stream, numbers = io.StringIO(), _numbers(panels)
    writer = csv.writer(stream, lineterminator="\n")
    writer.writerow(COLUMNS)
    for panel in panels:
        for point in panel.points:
            cells = _cells(panel, point, numbers[point.model.name])
            writer.writerow("" if cell is None else csv_cell(cell) for cell in cells)
    return stream.getvalue().encode()


def _cells(panel: ParetoPanel, point: ParetoPoint, number: int) -> tuple[str | int | float | None, ...]:
    model, case = point.model, panel.case
    whole = None if model.measured is None else model.measured.median_s
    return (
        panel.protocol, case.phase, case.batch, case.length, case.context, number, model.name,
        write_pattern(model.pattern), point.loss.loss, point.loss.sd, model.total_s, model.low_s, model.high_s,
        model.blocks_s, whole, model.rounds, str(model.cold), str(point.on_front), len(model.pattern),
        point.layers_printed,
    )  # fmt: skip
