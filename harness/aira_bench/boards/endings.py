"""How steps and runs of a board's rows ended: counts of every class, both rates, and the best against the submitted.

Needs the extra `aira-bench[stats]`. Not covered: which class a step is; the record says so.
"""

import hashlib
from collections.abc import Sequence
from dataclasses import asdict, dataclass
from typing import TYPE_CHECKING

from aira_bench.boards.board import Section, Table
from aira_bench.boards.board_runs import BoardRuns, row_names
from aira_bench.boards.replicates import by_seed
from aira_bench.boards.rows import Row
from aira_bench.shown_numbers import figure

if TYPE_CHECKING:
    from aira_bench.statistics.arrays import IntervalEstimate
    from aira_bench.statistics.counts import Submissions


@dataclass(frozen=True)
class RowEndings:
    """How the steps and replicates of one row ended."""

    name: str
    classes: tuple[int, ...]
    """How many steps had each class, in the order of `TableEndings.classes`."""
    submissions: "Submissions"
    rate: float | None
    """Our valid submission rate, over seeds, as the table has it."""
    rate_interval: tuple[float, float] | None
    """Exact, of that rate; None where a seed was run again, whose runs are no independent trials."""
    missed: "IntervalEstimate | None"
    """How much better the best test score met was than that of the submission, mean over seeds; never below 0."""


@dataclass(frozen=True)
class TableEndings:
    """How the steps and replicates of a table's rows ended."""

    section: Section
    classes: tuple[str, ...]
    """Of steps, most frequent first."""
    rows: tuple[RowEndings, ...]


def endings_of(table: Table, behind: BoardRuns) -> TableEndings:
    """Count how steps and replicates ended.

    Args:
        table: its rows keep their order.
        behind: the runs it was built from.
    """
    from aira_bench.statistics.counts import class_counts

    steps = {
        str(index): [node.step_class for each in row.results for node in behind.seed(each).nodes]
        for index, row in enumerate(table.rows)
    }
    classes, counts = class_counts(steps)
    rows = []
    for index, (name, row) in enumerate(zip(row_names(table), table.rows, strict=True)):
        submissions = submissions_of(row)
        missed = missed_by(row, table.section)
        interval = submissions.interval() if len({each.seed for each in row.judged}) == len(row.judged) else None
        rows.append(RowEndings(name, counts[str(index)], submissions, row.valid_submission_rate, interval, missed))
    return TableEndings(table.section, tuple(map(str, classes)), tuple(rows))


def submissions_of(row: Row) -> "Submissions":
    """Count how the replicates of a row that came to their end ended."""
    from aira_bench.statistics.counts import Submissions

    return Submissions(
        valid=sum(each.submitted is not None and not each.unranked for each in row.judged),
        disqualified=sum(each.submitted is not None and bool(each.unranked) for each in row.judged),
        none=sum(each.submitted is None for each in row.judged),
        lost=len(row.ended) - len(row.judged),
    )


def missed_by(row: Row, section: Section) -> "IntervalEstimate | None":
    """Return how much better the best test score met is than that of the submission, mean over seeds; None without any.

    Args:
        row: of the seeds.
        section: of its table, which says which way is better.
    """
    import numpy as np

    from aira_bench.statistics.resampling import Aggregate, stratified_estimate

    sign = -1.0 if section.lower_is_better else 1.0
    gaps = by_seed(
        row.ranked,
        lambda each: None if each.best_test is None or each.test is None else sign * (each.best_test - each.test),
    )
    if not gaps:
        return None
    values = np.array([float(np.mean(each)) for each in gaps.values()])
    return stratified_estimate([values], Aggregate.MEAN, np.random.default_rng(entropy("endings", section)))


def entropy(*names: object) -> int:
    """Return a seed that hangs on nothing but names, so that the same runs give the same figures."""
    return int.from_bytes(hashlib.sha256(repr(names).encode()).digest()[:8], "big")


def endings_records(tables: Sequence[TableEndings]) -> list[dict[str, object]]:
    """Return endings for JSON: a record a table."""
    return [
        {
            "task": table.section.task,
            "profile": table.section.profile,
            "rows": [
                {
                    "name": row.name,
                    "step_classes": dict(zip(table.classes, row.classes, strict=True)),
                    **asdict(row.submissions),
                    "valid_submission_rate": row.rate,
                    "valid_submission_rate_interval": row.rate_interval,
                    "published_valid_submission_rate": row.submissions.published_rate,
                    "best_less_submitted": asdict(row.missed) if row.missed else None,
                }
                for row in table.rows
            ],
        }
        for table in tables
    ]


def endings_lines(table: TableEndings) -> list[str]:
    """Return what people read of how a table's rows ended: one line a row.

    Args:
        table: of one section.
    """
    lines = ["How steps and seeds ended (VSR: ours, without what infrastructure took; the paper's, of all runs):"]
    for row in table.rows:
        found, counts = row.submissions, zip(table.classes, row.classes, strict=True)
        steps = ", ".join(f"{count} {name}" for name, count in counts if count) or "no steps"
        between = f" ({row.rate_interval[0]:.2f} to {row.rate_interval[1]:.2f})" if row.rate_interval else ""
        lines.append(
            f"  {row.name}: {steps}; submitted {found.valid}, disqualified {found.disqualified}, none {found.none}, "
            f"lost {found.lost}; VSR {_rate(row.rate)}{between}, the paper's {_rate(found.published_rate)}"
            + (f"; best met better than submitted by {figure(row.missed.value)}" if row.missed else "")
        )
    return lines


def _rate(value: float | None) -> str:
    return "-" if value is None else f"{value:.2f}"
