"""Plain tables for commands that list things."""

from collections.abc import Sequence
from typing import Any

_WIDE = 240


def print_rows(rows: Sequence[dict[str, Any]], *, empty: str) -> None:
    """Print dictionaries of the same keys as a table; `empty` instead of an empty one."""
    from rich.console import Console
    from rich.table import Table
    from rich.text import Text

    console = Console(highlight=False)
    if not console.is_terminal:  # nobody's window is too narrow: one line a row, for grep and files
        console = Console(highlight=False, width=_WIDE)
    if not rows:
        console.print(Text(empty), soft_wrap=True)
        return
    table = Table(box=None, pad_edge=False)
    for index, (name, value) in enumerate(rows[0].items()):
        numeric = isinstance(value, int | float) and not isinstance(value, bool)
        # The first column is what one types: never broken.
        table.add_column(name, justify="right" if numeric else "left", overflow="fold", no_wrap=index == 0)
    for row in rows:
        table.add_row(*(Text(_cell(value)) for value in row.values()))
    console.print(table)


def _cell(value: Any) -> str:  # noqa: ANN401
    if value is None or value == []:
        return "-"
    if isinstance(value, bool):
        return "yes" if value else ""
    if isinstance(value, float):
        return f"{value:.4f}".rstrip("0").rstrip(".")
    return ", ".join(map(str, value)) if isinstance(value, list | tuple) else str(value)
