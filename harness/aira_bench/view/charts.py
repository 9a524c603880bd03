"""One chart of a page: a figure that Plotly draws, and the same figures as a table and a file.

Colours are of a palette that readers who see few of them can tell apart, and nothing is told by colour alone. Lines,
text and ground take the page's own colours in the browser. Not covered: which charts there are (`run_charts`,
`architecture_charts`, `code_charts`, `training_charts`, `suite_charts`), and escaping, which the page does.
"""

import csv
import io
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass, field

from aira_bench.escaping import csv_cell, one_line
from aira_bench.shown_numbers import figure

Cell = str | int | float | None
PALETTE = ("#0072b2", "#d55e00", "#009e73", "#cc79a7", "#e69f00", "#56b4e9", "#8c6d00", "#6a51a3")
"""Okabe and Ito's colours that can be seen on white and on black, and two more."""
DASHES = ("solid", "dash", "dot", "dashdot", "longdash")
OPERATOR_COLOURS: Mapping[str, str] = {
    "draft": "#0072b2", "improve": "#009e73", "debug": "#d55e00", "crossover": "#cc79a7",
}  # fmt: skip
CLASS_SHAPES: Mapping[str, str] = {
    "valid": "circle", "buggy": "x", "invalid_submission": "square-x", "timeout": "hourglass",
    "out_of_memory": "triangle-up", "rule_violation": "diamond-x", "infra_error": "circle-open",
}  # fmt: skip
CLASS_COLOURS: Mapping[str, str] = {
    "valid": "#009e73", "buggy": "#d55e00", "invalid_submission": "#cc79a7", "timeout": "#e69f00",
    "out_of_memory": "#8c6d00", "rule_violation": "#6a51a3", "infra_error": "#999999",
}  # fmt: skip
CLASS_PATTERNS: Mapping[str, str] = {
    "valid": "", "buggy": "/", "invalid_submission": "x", "timeout": "\\", "out_of_memory": "-", "rule_violation": "|",
    "infra_error": ".",
}  # fmt: skip
NAME_CHARS = 60
LABEL_CHARS = 28
"""Of a name beside an axis or in a menu, which a phone has to have room for."""
_HEIGHT = 380
_ROW_PX, _BARE_PX, _LEAST_PX, _MOST_PX = 16, 120, 220, 2400
MOST_LINES = 60
"""Of a chart with a line a step; of more an even choice is drawn."""
SHARES = [[0, "#f7fbff"], [0.5, "#6baed6"], [1, "#08306b"]]
"""A scale from nothing to all."""
_MOST_SHOWN = 1000
_FEW_STEPS = 20
"""So many have a mark each on an axis."""


@dataclass(frozen=True)
class Chart:
    """What is drawn, and the same in figures."""

    name: str
    """Of its files: small letters and dashes."""
    title: str
    said: str
    """How it is read, in a sentence or two."""
    columns: tuple[str, ...]
    rows: tuple[tuple[Cell, ...], ...]
    traces: tuple[Mapping[str, object], ...]
    layout: Mapping[str, object] = field(default_factory=dict)

    @property
    def file(self) -> str:
        """The name of the file of its table, beside the page."""
        return f"{self.name}.csv"

    @property
    def shown_rows(self) -> tuple[tuple[Cell, ...], ...]:
        """The rows that a page lists; the file has all of them."""
        return self.rows[:_MOST_SHOWN]

    @property
    def numeric(self) -> tuple[bool, ...]:
        """Of each column, whether it has numbers, or nothing at all."""
        columns = zip(*self.shown_rows[:100], strict=True)
        return tuple(
            any(isinstance(value, int | float) for value in column) or not any(value is not None for value in column)
            for column in columns
        )

    @property
    def height(self) -> object:
        """How high it is drawn, in pixels."""
        return self.layout.get("height", _HEIGHT)

    @property
    def figure(self) -> Mapping[str, object]:
        """What Plotly is told to draw."""
        return {"data": list(self.traces), "layout": {**self.layout, "height": self.height}}

    @property
    def csv(self) -> str:
        """The table as a file."""
        stream = io.StringIO()
        writer = csv.writer(stream, lineterminator="\n")
        writer.writerow(self.columns)
        writer.writerows([csv_cell(value) for value in row] for row in self.rows)
        return stream.getvalue()


def axis(title: str, **more: object) -> dict[str, object]:
    """Return an axis with a title, as Plotly takes it.

    Args:
        title: of ours.
        more: what else Plotly is told of it.
    """
    return {"title": {"text": title}, "automargin": True, **more}


def step_axis(steps: Iterable[int]) -> dict[str, object]:
    """Return the axis of some steps of a search, without marks between two of them."""
    return axis("step", **({"dtick": 1} if max(steps, default=0) <= _FEW_STEPS else {}))


def rows_height(rows: int) -> int:
    """Return the height of a chart with so many rows, in pixels."""
    return min(max(_BARE_PX + _ROW_PX * rows, _LEAST_PX), _MOST_PX)


def score_axis(title: str, values: Iterable[float | None]) -> dict[str, object]:
    """Return the axis of scores. Where all are the same it is as wide as they are large, not from -1 to 1 around them.

    Args:
        title: of ours.
        values: what is drawn along it.
    """
    known = {value for value in values if value is not None}
    if len(known) != 1:
        return axis(title)
    (value,) = known
    beside = abs(value) / 10 or 0.1
    return axis(title, range=[value - beside, value + beside])


def shown_name(value: object, most: int = NAME_CHARS) -> str:
    """Return a stranger's name as a legend or a label shows it.

    Plotly reads a few HTML tags in texts, so what begins one is shown as another character.

    Args:
        value: the name.
        most: characters; a longer one is cut.
    """
    said = one_line(value, NAME_CHARS)
    said = said if len(said) <= most else f"{said[: most - 3]}..."
    return said.replace("<", "\u2039").replace(">", "\u203a").replace("&", "\uff06")


def labels(names: Sequence[object]) -> list[str]:
    """Return names for places along an axis, short ones; those that look alike are numbered, so that none has the place
    of another.
    """
    found: list[str] = []
    for name in names:
        shown = shown_name(name, LABEL_CHARS)
        found.append(shown if shown not in found else f"{shown} ({len(found) + 1})")
    return found


def colour(place: int) -> str:
    """Return the colour of the line at that place; past the last they begin anew."""
    return PALETTE[place % len(PALETTE)]


def dash(place: int) -> str:
    """Return the dashes of the line at that place, so that lines of one colour differ."""
    return DASHES[place // len(PALETTE) % len(DASHES)]


def score(value: float | None) -> str:
    """Return a score as pages show it."""
    return "-" if value is None else figure(value)


def present(charts: Sequence[Chart | None]) -> tuple[Chart, ...]:
    """Return the charts that there are, in order."""
    return tuple(each for each in charts if each is not None)
