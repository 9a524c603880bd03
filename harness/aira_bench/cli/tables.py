"""Plain tables for commands that list things."""

from collections.abc import Collection, Sequence
from typing import Any

from aira_bench.terminal import cell, line, results_console

_LEAST_WORD_CHARS = 12
"""A column may be so narrow that longer words are broken, and no narrower."""
_GAP_CHARS = 2


def print_rows(rows: Sequence[dict[str, Any]], *, empty: str, optional: Collection[str] = ()) -> None:
    """Print dictionaries of the same keys as a table; in a window too narrow for it, one below the other.

    Args:
        rows: what to print.
        empty: printed where there are none.
        optional: columns left out where no row has anything in them.
    """
    from rich.table import Table

    console = results_console()
    if not rows:
        console.print(line(empty), soft_wrap=True)
        return
    table = Table(box=None, pad_edge=False)
    columns = {name: _texts([row[name] for row in rows]) for name in rows[0]}
    shown = [name for name, cells in columns.items() if name not in optional or set(cells) - {"", "-"}]
    if sum(_least_chars(name, columns[name], whole=name == shown[0]) for name in shown) > console.width + _GAP_CHARS:
        for number in range(len(rows)):
            console.print(line(f"{shown[0]}: {columns[shown[0]][number]}"))
            told = [name for name in shown[1:] if columns[name][number] not in ("", "-")]
            for name in told:
                console.print(line(f"  {name}: {columns[name][number]}"))
        return
    for index, name in enumerate(shown):
        numeric = any(_is_number(row[name]) for row in rows)
        # The first column is what one types: never broken.
        table.add_column(name, justify="right" if numeric else "left", overflow="fold", no_wrap=index == 0)
    for cells in zip(*(columns[name] for name in shown), strict=True):
        table.add_row(*map(cell, cells))
    console.print(table)


def _texts(values: Sequence[Any]) -> list[str]:
    """A column's cells; its fractions, in lists too, have as many decimals as the longest needs, at most four."""
    single = [each for value in values for each in (value if isinstance(value, list | tuple) else [value])]
    fractions = [f"{value:.4f}".rstrip("0").partition(".")[2] for value in single if isinstance(value, float)]
    decimals = max(map(len, fractions), default=0)
    return [_cell(value, decimals) for value in values]


def _least_chars(name: str, cells: Sequence[str], *, whole: bool) -> int:
    """Width of a column, gap included, in which no word is broken that need not be; a `whole` one is never broken."""
    longest = max(len(word) for text in (name, *cells) for word in ([text] if whole else text.split() or [""]))
    return _GAP_CHARS + (longest if whole else min(longest, _LEAST_WORD_CHARS))


def _is_number(value: object) -> bool:
    return isinstance(value, int | float) and not isinstance(value, bool)


def _cell(value: Any, decimals: int) -> str:  # noqa: ANN401
    if value is None or value == []:
        return "-"
    if isinstance(value, bool):
        return "yes" if value else ""
    if isinstance(value, float):
        return f"{value:.{decimals}f}"
    return ", ".join(_cell(each, decimals) for each in value) if isinstance(value, list | tuple) else str(value)
