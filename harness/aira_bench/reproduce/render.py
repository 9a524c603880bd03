"""Shows a report: a count a table and every cell that is not plainly reproduced, or all of it as JSON."""

from dataclasses import asdict
from typing import Any

from rich.console import Console
from rich.table import Table

from aira_bench.reproduce.cells import Reproduction, Status
from aira_bench.terminal import cell as shown

_STYLES = {
    Status.REPRODUCED: "green",
    Status.ROUNDING: "cyan",
    Status.ERRATUM: "yellow",
    Status.DIFFERENCE: "magenta",
    Status.MISMATCH: "bold red",
}


def report_record(report: Reproduction) -> dict[str, Any]:
    """Return the whole report, for JSON: `summary`, `cells`, `left_out`."""
    summary = {table: {str(key): value for key, value in report.counts(table).items()} for table in report.tables}
    return {
        "schema": 1,
        "holds": report.holds,
        "summary": summary,
        "cells": [asdict(cell) for cell in report.cells],
        "left_out": [asdict(claim) for claim in report.left_out],
    }


def print_report(report: Reproduction, console: Console) -> None:
    """Print counts, then what deserves reading."""
    console.print(_summary(report))
    noted = [cell for cell in report.cells if cell.status is not Status.REPRODUCED]
    if noted:
        table = Table(box=None, pad_edge=False, title="cells that did not come out as printed", title_justify="left")
        for name in ("table", "row", "column", "published", "computed", "status", "reason"):
            table.add_column(name, overflow="fold")
        for cell in noted:
            status = shown(cell.status, _STYLES[cell.status])
            values = (cell.table, cell.row, cell.column, cell.published, cell.computed)
            table.add_row(*map(shown, values), status, shown(cell.reason))
        console.print(table)
    for claim in report.left_out:
        console.print(shown(f"not recomputable: {claim.row}: {claim.published} ({claim.reason})"))


def _summary(report: Reproduction) -> Table:
    table = Table(box=None, pad_edge=False)
    table.add_column("table")
    for status in Status:
        table.add_column(str(status), justify="right", style=_STYLES[status])
    table.add_column("cells", justify="right")
    rows = [(name, report.counts(name)) for name in report.tables] + [("all", report.counts())]
    for name, counts in rows:
        table.add_row(name, *(str(counts[status]) for status in Status), str(sum(counts.values())))
    return table
