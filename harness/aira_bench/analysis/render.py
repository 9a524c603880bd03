"""Shows the tables as text or as JSON."""

from collections.abc import Sequence
from dataclasses import asdict
from typing import Any, Literal

from rich.console import Console
from rich.table import Table

from aira_bench.analysis.tables import Tables
from aira_bench.terminal import cell


def tables_record(tables: Tables) -> dict[str, Any]:
    """Return every table and every improvement step as JSON values."""
    return {"schema": 1, **asdict(tables)}


def print_tables(tables: Tables, console: Console) -> None:
    """Print all tables that have rows, and what they leave out."""
    steps = len(tables.improvements)
    solo = sum(step.solo for step in tables.improvements)
    console.print(cell(f"improvement steps: {steps}, by a single feature: {solo}"))
    if not steps:
        return
    _print(console, "by feature", [asdict(row) for row in tables.features])
    _print(console, "by toggle", [asdict(row) for row in tables.toggles])
    _print(console, "by category", [asdict(row) for row in tables.categories])
    _print(console, "kinds of MLP", [asdict(row) for row in tables.mlp_transitions])
    if tables.unattributed:
        console.print(cell(f"steps that changed none of the 27 features: {tables.unattributed}"))
    if tables.read_as_text:
        console.print(cell(f"steps with a script that did not parse and was read as text: {tables.read_as_text}"))
    if tables.not_read:
        console.print(cell(f"steps with a script that could not be read in time or is too large: {tables.not_read}"))


def _print(console: Console, title: str, rows: Sequence[dict[str, Any]]) -> None:
    if not rows:
        return
    table = Table(box=None, pad_edge=False, title=title, title_justify="left")
    for name, value in rows[0].items():
        side: Literal["left", "right"] = "left" if isinstance(value, str) else "right"
        table.add_column(name.replace("_", " "), justify=side, overflow="fold", no_wrap=name == "feature")
    for row in rows:
        table.add_row(*(cell(_cell(name, value)) for name, value in row.items()))
    console.print()
    console.print(table)


def _cell(name: str, value: Any) -> str:  # noqa: ANN401
    if value is None:
        return "-"
    if isinstance(value, float):
        return f"{value:.0f} %" if name.startswith("percent") else f"{value:.4f}"
    return str(value)
