"""The board of a folder of runs as pages have it: made in a process of its own, and kept in the index.

All runs are read for a board, which for a large suite takes memory and time that a server has not. So another process
reads them and leaves texts and figures, and pages show the last board while a newer one is made.
"""

from dataclasses import dataclass


@dataclass(frozen=True)
class BoardPart:
    """Rows of a section: those in its order, or those in none."""

    said: str
    headers: tuple[str, ...]
    rows: tuple[tuple[str, ...], ...]


@dataclass(frozen=True)
class CurvePoint:
    """A curve's estimate at a cost, with its interval where there is one."""

    at: float
    value: float
    low: float | None
    high: float | None


@dataclass(frozen=True)
class BoardCurves:
    """The curves of a section's rows over one kind of cost."""

    cost: str
    before: float
    rows: tuple[tuple[str, tuple[CurvePoint, ...]], ...]
    unknown: tuple[str, ...]


@dataclass(frozen=True)
class BoardSection:
    """One section of a board."""

    heading: str
    task: str
    metric: str
    lower_is_better: bool
    noise: str
    parts: tuple[BoardPart, ...]
    left_out: tuple[str, ...]
    statistics: tuple[str, ...]
    """What its order, intervals and ties come to, a line each."""
    curves: tuple[BoardCurves, ...]


@dataclass(frozen=True)
class BoardEntry:
    """The board of a folder of runs."""

    sections: tuple[BoardSection, ...]
    over_tasks: tuple[str, ...]
    legend: tuple[tuple[str, str], ...]
    faults: tuple[str, ...]
    """Runs that could not be read, and why, a line each."""
    runs: int
    without_statistics: str
    """What to install for intervals; empty where they are there."""
