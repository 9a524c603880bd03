"""One picture a table: each row's seeds as points on a line, their mean, and the noise of training, as SVG in a page.

Colours are the page's own (`currentColor` and a variable of its style), so it reads on light and on dark. The figures
in the table say the same for those who do not see it.

Not covered: escaping, which the page's template does; a picture here is numbers and names.
"""

import math
import statistics
from collections.abc import Sequence
from dataclasses import dataclass

from aira_bench.boards.board import Table
from aira_bench.boards.replicates import by_seed
from aira_bench.boards.rows import Row

WIDTH, ROW_HEIGHT, MARGIN = 480, 44, 20
"""Of the picture in its own units: its width, a row's height, in which its name stands above its points, and the edge.
So narrow, its text can be read on a phone."""
_NAME_CHARS = 30
_TICKS = 5


@dataclass(frozen=True)
class Drawn:
    """One row of a picture."""

    name: str
    y: float
    mean: float
    low: float
    high: float
    points: tuple[float, ...]
    """Places from the left, like the three before."""


@dataclass(frozen=True)
class Tick:
    """One mark of the scale."""

    x: float
    text: str


@dataclass(frozen=True)
class NoiseBar:
    """How long the noise of one training is on the scale of a picture."""

    x: float
    """Its right end; it begins where the scale does, and ends with it at the latest."""
    y: float
    text: str


@dataclass(frozen=True)
class Picture:
    """What a template draws."""

    basis: str
    """Which score the points are: `confirmed`, or `test` where nothing is confirmed."""
    height: int
    rows: tuple[Drawn, ...]
    ticks: tuple[Tick, ...]
    noise: NoiseBar | None
    """None where the task's noise was not measured."""


def picture_of(table: Table) -> Picture | None:
    """Return the picture of a table; None where no row has a score."""
    basis = "confirmed" if any(each.confirmed is not None for row in table.rows for each in row.ranked) else "test"
    values = [(row, _values(row, basis)) for row in table.rows]
    known = [value for _, found in values for value in found]
    if not known:
        return None
    low, high = min(known), max(known)
    if not high > low:
        low, high = low - 0.5, high + 0.5
    scale = (WIDTH - 2 * MARGIN) / (high - low)

    def x(value: float) -> float:
        return round(MARGIN + (value - low) * scale, 1)

    rows = tuple(
        Drawn(
            _name(row), ROW_HEIGHT * (index + 0.75), x(statistics.fmean(found)), x(min(found)), x(max(found)),
            tuple(map(x, found)),
        )
        for index, (row, found) in enumerate((row, found) for row, found in values if found)
    )  # fmt: skip
    ticks = tuple(Tick(x(value), f"{value:.4g}") for value in _marks(low, high))
    height, noise = 2 * MARGIN + ROW_HEIGHT * len(rows), None
    if table.noise is not None:
        deviation = table.noise.deviation
        end = round(min(MARGIN + deviation * scale, WIDTH - MARGIN), 1)
        noise = NoiseBar(end, height, f"standard deviation of one training, {deviation:.4f}")
        height += MARGIN
    return Picture(basis, height, rows, ticks, noise)


def _values(row: Row, basis: str) -> Sequence[float]:
    """Of each seed the mean over its replicates, as the row's own mean has it."""
    found = by_seed(row.ranked, lambda each: each.confirmed if basis == "confirmed" else each.test)
    return [statistics.fmean(values) for values in found.values()]


def _name(row: Row) -> str:
    said = f"{row.entry.agent}, {row.entry.scaffold}"
    return said if len(said) <= _NAME_CHARS else said[: _NAME_CHARS - 3] + "..."


def _marks(low: float, high: float) -> list[float]:
    """Round numbers between two: the step is 1, 2 or 5 times a power of ten."""
    rough = (high - low) / _TICKS
    power = 10.0 ** math.floor(math.log10(rough))
    step = next(factor * power for factor in (1, 2, 5, 10) if factor * power >= rough)
    first = math.ceil(low / step)
    return [number * step for number in range(first, first + 2 * _TICKS + 1) if number * step <= high]
