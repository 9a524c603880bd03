"""All that `leaderboard --statistics` says of a board: orders, endings, curves, published rows, and over tasks.

Needs the extra `aira-bench[stats]`. Not covered: each part, which has a module of its own beside this.
"""

import importlib.util
from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from typing import TYPE_CHECKING

from aira_bench.boards.board import Table
from aira_bench.boards.board_runs import BoardRuns
from aira_bench.boards.curves import TableCurves, curves_lines, curves_of, curves_records
from aira_bench.boards.endings import TableEndings, endings_lines, endings_of, endings_records
from aira_bench.boards.order import TableOrder, order_lines, order_of, order_records
from aira_bench.boards.over_tasks import OverTasks, over_tasks, over_tasks_lines, over_tasks_records
from aira_bench.boards.published_rows import TablePublished, published_lines, published_of, published_records
from aira_bench.errors import PrerequisiteError
from aira_bench.record.run_record import RunRecord

if TYPE_CHECKING:
    from aira_bench.statistics.suite import StatisticsSettings

EXTRA = "aira-bench[stats]"


@dataclass(frozen=True)
class TableStatistics:
    """What is said of one table."""

    order: TableOrder
    endings: TableEndings
    curves: TableCurves | None
    published: TablePublished | None


@dataclass(frozen=True)
class BoardStatistics:
    """What is said of a board, table by table and over tasks."""

    tables: tuple[TableStatistics, ...]
    over_tasks: tuple[OverTasks, ...]
    worst: str
    """Which score is a task's worst: `fixed` or `observed`."""


def require_statistics() -> None:
    """Check that the libraries of the extra are there.

    Raises:
        PrerequisiteError: they are not.
    """
    if missing := _missing():
        raise PrerequisiteError(f"Statistics need {' and '.join(missing)}.", hint=f"pip install '{EXTRA}'")


def statistics_are_possible() -> bool:
    """Whether the libraries of the extra are there; boards have ranks only then."""
    return not _missing()


def _missing() -> list[str]:
    return [name for name in ("numpy", "scipy") if importlib.util.find_spec(name) is None]


def board_statistics(
    tables: Sequence[Table], runs: Sequence[RunRecord], settings: "StatisticsSettings | None" = None
) -> BoardStatistics:
    """Compute the statistics of a board.

    Args:
        tables: of the board.
        runs: that it was built from.
        settings: how statistics are computed, by default as `StatisticsSettings` says.

    Raises:
        PrerequisiteError: a published table is missing or damaged.
    """
    from aira_bench.statistics.runs import Worst
    from aira_bench.statistics.suite import StatisticsSettings

    how, behind = settings or StatisticsSettings(), BoardRuns.of(runs)
    found = (
        TableStatistics(
            order_of(table, how.alpha),
            endings_of(table, behind),
            curves_of(table, behind, observed_worst=how.worst is Worst.OBSERVED),
            published_of(table),
        )
        for table in tables
    )
    return BoardStatistics(tuple(found), tuple(over_tasks(tables, behind, how)), str(how.worst))


def statistics_record(found: BoardStatistics) -> dict[str, object]:
    """Return a board's statistics for JSON."""
    return {
        "worst": found.worst,
        "orders": order_records([each.order for each in found.tables]),
        "endings": endings_records([each.endings for each in found.tables]),
        "curves": curves_records([each.curves for each in found.tables if each.curves]),
        "published": published_records([each.published for each in found.tables if each.published]),
        "over_tasks": over_tasks_records(found.over_tasks),
    }


def statistics_lines(found: BoardStatistics) -> Iterator[str]:
    """Yield what people read of a board's statistics.

    Args:
        found: of one board.
    """
    for each in found.tables:
        yield ""
        yield f"{each.order.section.task}, profile {each.order.section.profile}"
        yield from order_lines(each.order)
        yield from endings_lines(each.endings)
        yield from curves_lines(each.curves) if each.curves else ()
        yield from published_lines(each.published) if each.published else ()
    for group in found.over_tasks:
        yield ""
        yield from over_tasks_lines(group)
