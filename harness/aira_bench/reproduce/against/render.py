"""Shows measured values beside published ones: a count a table, every cell with its verdict, what the runs cost."""

from dataclasses import asdict
from typing import Any

from rich.console import Console
from rich.table import Table

from aira_bench.boards.columns import cost, tokens
from aira_bench.reproduce.against.agreement import Agreement
from aira_bench.reproduce.against.comparison import AgainstRuns
from aira_bench.reproduce.against.paper_runs import Cost
from aira_bench.terminal import cell, line

_NAMED = 4
"""Empty cells of a table; JSON has all."""
_STYLES = {
    Agreement.AGREES: "green",
    Agreement.DIFFERS: "bold red",
    Agreement.CANNOT_TELL: "yellow",
    Agreement.NOT_COMPARABLE: "magenta",
    Agreement.NOT_MEASURED: "dim",
}


def against_record(found: AgainstRuns) -> dict[str, Any]:
    """Return everything for JSON: `summary`, `cells`, `costs`, `unused`, `signed_by_others`."""
    return {
        "schema": 1,
        "summary": {
            table: {str(each): number for each, number in found.counts(table).items()} for table in found.costs
        },
        "cells": [{**asdict(each), "agreement": str(each.agreement)} for each in found.cells],
        "costs": {table: asdict(each) for table, each in found.costs.items()},
        "unused": found.unused,
        "signed_by_others": found.signed_by_others,
    }


def print_against(found: AgainstRuns, console: Console) -> None:
    """Print a table for each published one, with what its runs cost and the commands that would fill it."""
    for name, spent in found.costs.items():
        cells = [each for each in found.cells if each.table == name]
        counts = ", ".join(f"{number} {each}" for each, number in found.counts(name).items() if number)
        title = f"Table {name}" if name.isdigit() else f"Small-scale {name}"
        console.print(line(f"{title}: {counts}. {_spent(spent)}", "bold"))
        measured = [each for each in cells if each.agreement is not Agreement.NOT_MEASURED]
        if measured:
            table = Table(box=None, pad_edge=False)
            for heading in ("row", "column", "published", "measured", "verdict", "why"):
                table.add_column(heading, overflow="fold")
            for each in measured:
                values = map(cell, (each.row, each.column, each.published, each.measured))
                table.add_row(*values, cell(each.agreement, _STYLES[each.agreement]), cell(each.reason))
            console.print(table)
        empty = [each for each in cells if each.agreement is Agreement.NOT_MEASURED]
        if empty:
            names = [f"{each.row} {each.column}" for each in empty[:_NAMED]]
            more = f" and {len(empty) - _NAMED} more" if len(empty) > _NAMED else ""
            console.print(line(f"  not measured: {', '.join(names)}{more}"))
        commands = dict.fromkeys(each.command for each in cells if each.command)
        for command in commands:
            console.print(line(f"  would fill more: {command}"), soft_wrap=True)
    if found.signed_by_others:
        console.print(line(f"signed by nobody you trust, so taken at their word: {', '.join(found.signed_by_others)}"))
    for name in found.unused:
        console.print(line(f"says nothing of these tables: {name}"))


def _spent(spent: Cost) -> str:
    if not spent.runs:
        return "No run says anything of it."
    hours = [
        f"{value:.4g} {unit}"
        for value, unit in ((spent.gpu_hours, "GPU-hours"), (spent.processor_hours, "hours of processors"))
        if value
    ]
    asked = f"{tokens(spent.use)} tokens, {cost(spent.use)}" if spent.use.calls else "no model was asked"
    return f"{_many(spent.runs, 'run')}, {_many(spent.seeds, 'seed')}: {', '.join([*hours, asked])}."


def _many(count: int, what: str) -> str:
    return f"{count} {what}" + ("" if count == 1 else "s")
