"""The board of a folder of runs as pages have it: texts, figures and intervals, none of them escaped.

All runs are read for a board, which for a large suite takes more memory and time than a server has for a click: another
process reads them (`board_process`), and pages show the last board while a newer one is made (`board_keeping`).

Not covered: what boards say and how it comes about (`aira_bench.boards`).
"""

from collections.abc import Sequence
from dataclasses import dataclass

from aira_bench.boards.board import Table, tables_of
from aira_bench.boards.columns import COLUMNS
from aira_bench.boards.curves import TableCurves
from aira_bench.boards.endings import endings_lines
from aira_bench.boards.formats import explanations, heading, left_out_lines, noise_line, parts, shown_cells
from aira_bench.boards.order import TableOrder, order_lines, with_ranks
from aira_bench.boards.over_tasks import over_tasks_lines
from aira_bench.boards.published_rows import published_lines
from aira_bench.boards.statistics import (
    EXTRA,
    BoardStatistics,
    TableStatistics,
    board_statistics,
    statistics_are_possible,
)
from aira_bench.keys import KeyRing
from aira_bench.record.folder import RunFolder
from aira_bench.record.run_record import read_runs


@dataclass(frozen=True)
class BoardPart:
    """Rows of a section: those in its order, or those in none."""

    said: str
    headers: tuple[str, ...]
    rows: tuple[tuple[str, ...], ...]
    numeric: tuple[bool, ...]
    """Of each column, whether it has numbers."""


@dataclass(frozen=True)
class BoardEstimate:
    """A figure with its interval, where there is one."""

    value: float
    low: float | None
    high: float | None


@dataclass(frozen=True)
class RankedRow:
    """The mean score of a row, with its rank; rows that cannot be told apart share ranks."""

    name: str
    rank: str
    score: BoardEstimate
    seeds: int
    failed: int


@dataclass(frozen=True)
class BoardCurves:
    """What rows of a section would have submitted over one kind of cost."""

    cost: str
    at: tuple[float, ...]
    rows: tuple[tuple[str, tuple[BoardEstimate, ...], BoardEstimate], ...]
    """Name, the score at each cost, and the mean over all of them."""
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
    said: tuple[str, ...]
    """What its order, ties, endings and published figures come to, a line each."""
    basis: str
    ranked: tuple[RankedRow, ...]
    before: float | None
    """The score before the first valid step, where there are curves."""
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
    missing: str
    """What to install for intervals, ties and curves; empty where it is there."""


def make_board(folders: Sequence[RunFolder], ring: KeyRing) -> BoardEntry:
    """Read runs and return their board.

    Args:
        folders: the runs; one that cannot be read is left out, with a line that says why.
        ring: the keys that this machine knows.
    """
    found, faults = read_runs(folders, ring)
    tables = tables_of(found, ring)
    told: BoardStatistics | None = None
    if statistics_are_possible() and tables:
        tables = with_ranks(tables)
        told = board_statistics(tables, found)
    statistics: Sequence[TableStatistics | None] = told.tables if told else [None] * len(tables)
    return BoardEntry(
        tuple(_section(table, each) for table, each in zip(tables, statistics, strict=True)),
        tuple(line for group in (told.over_tasks if told else ()) for line in over_tasks_lines(group)),
        tuple(explanations(tables)),
        tuple(fault.message for fault in faults),
        len(found),
        "" if statistics_are_possible() else f"pip install '{EXTRA}'",
    )


def _section(table: Table, told: TableStatistics | None) -> BoardSection:
    section = table.section
    lines: list[str] = []
    if told is not None:
        lines = [*order_lines(told.order), *endings_lines(told.endings)]
        lines += published_lines(told.published) if told.published else []
    pieces = []
    numbers = {each.shown.heading for each in COLUMNS if each.shown and (each.spread or each.kind != "text")}
    for said, part in parts(table):
        headers, *rows = shown_cells(part)
        pieces.append(BoardPart(said, headers, tuple(rows), tuple(each in numbers for each in headers)))
    return BoardSection(
        heading(table), section.task, section.metric, section.lower_is_better, noise_line(table), tuple(pieces),
        tuple(left_out_lines(table)), tuple(lines), section.ordered_by, _ranked(told.order) if told else (),
        told.curves.before if told and told.curves else None, _curves(told.curves) if told and told.curves else (),
    )  # fmt: skip


def _ranked(order: TableOrder) -> tuple[RankedRow, ...]:
    return tuple(
        RankedRow(
            row.name,
            str(row.rank),
            BoardEstimate(row.score.value, row.score.low, row.score.high),
            row.score.count,
            row.failed,
        )
        for row in order.rows
        if row.score is not None
    )


def _curves(found: TableCurves) -> tuple[BoardCurves, ...]:
    return tuple(
        BoardCurves(
            each.cost,
            each.at,
            tuple(
                (
                    name,
                    tuple(BoardEstimate(point.value, point.low, point.high) for point in row.points),
                    BoardEstimate(row.area.value, row.area.low, row.area.high),
                )
                for name, row in each.rows.items()
            ),
            each.unknown,
        )
        for each in found.costs
    )
