"""A suite's scores as a table: what was evaluated, and the paper's rows, marked as published."""

from collections.abc import Sequence
from dataclasses import asdict

from aira_bench.scaling.downstream.scores import ScoreRow
from aira_bench.scaling.downstream.suites import DownstreamSuite
from aira_contract.downstream import MetricEstimate


def table_rows(suite: DownstreamSuite, rows: Sequence[ScoreRow]) -> list[dict[str, str]]:
    """Return the cells of each row in percent: a score, its standard error, in brackets the normalized one."""
    return [
        {
            "model": row.name,
            "from": "evaluated here" if row.published is None else f"published, Table {row.published}",
            **{task.name: _pair(row.scores.get(task.name), row.normalized.get(task.name)) for task in suite.tasks},
            "average": _pair(row.average, row.normalized_average),
            "centred": _cell(row.centred),
        }
        for row in rows
    ]


def notes(suite: DownstreamSuite, rows: Sequence[ScoreRow]) -> list[str]:
    """Return what has to be said beside the table."""
    said = list(suite.notes)
    said += [f"{task.name}: {task.note}" for task in suite.tasks if task.note]
    for row in rows:
        if row.printed_otherwise:
            printed = " and ".join(f"{value:.1f}" for value in row.printed if value is not None)
            said.append(
                f"{row.name}: Table {row.published} prints averages of {printed}; those here are of its scores "
                "(docs/reproduce.md)."
            )
    return said


def row_record(row: ScoreRow) -> dict[str, object]:
    """Return a row as JSON values."""
    return asdict(row)


def _pair(score: MetricEstimate | None, normalized: MetricEstimate | None) -> str:
    return _cell(score) if normalized is None else f"{_cell(score)} ({_cell(normalized)})"


def _cell(estimate: MetricEstimate | None) -> str:
    if estimate is None:
        return "-"
    return f"{estimate.value:.1f}" + ("" if estimate.stderr is None else f" +- {estimate.stderr:.1f}")
