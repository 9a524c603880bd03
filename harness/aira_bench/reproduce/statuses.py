"""The accepted status of every cell, in a file of its own: what changed since somebody last looked.

A reproduction without a mismatch can still have changed: what was reproduced may only be explained by rounding now. So
each cell's status is kept in a file beside the code, and any difference from it fails.

Not covered: whether a status is right; `tests/reproduce` has values worked by hand.
"""

import csv
import io
from dataclasses import dataclass
from pathlib import Path

from aira_bench.errors import PrerequisiteError
from aira_bench.files import write_atomically
from aira_bench.reproduce.cells import Reproduction

_COLUMNS = ("table", "row", "column", "status")
_Key = tuple[str, str, str]


@dataclass(frozen=True)
class StatusChange:
    """A cell whose status is not the accepted one."""

    table: str
    row: str
    column: str
    accepted: str | None
    """None of a cell that the file does not have."""
    now: str | None
    """None of a cell that is gone."""

    def __str__(self) -> str:
        place = f"Table {self.table}, {self.row}, {self.column}"
        return f"{place}: accepted {self.accepted or 'nothing'}, now {self.now or 'gone'}"


def write_statuses(report: Reproduction, path: Path) -> None:
    """Accept all statuses as they are: write them, one line a cell.

    Args:
        report: of all tables.
        path: the file.
    """
    stream = io.StringIO(newline="")
    writer = csv.writer(stream, lineterminator="\n")
    writer.writerow(_COLUMNS)
    writer.writerows((cell.table, cell.row, cell.column, str(cell.status)) for cell in report.cells)
    write_atomically(path, stream.getvalue().encode())


def changed_statuses(report: Reproduction, path: Path) -> list[StatusChange]:
    """Return the cells of the report's tables whose status is not the accepted one, in the report's order.

    Args:
        report: of some tables or all; other tables of the file are not asked for.
        path: the file that `write_statuses` wrote.

    Raises:
        PrerequisiteError: the file cannot be read, or has other columns or a cell twice.
    """
    now = {(cell.table, cell.row, cell.column): str(cell.status) for cell in report.cells}
    accepted = {key: status for key, status in _read(path).items() if key[0] in report.tables}
    keys = dict.fromkeys([*now, *accepted])
    return [StatusChange(*key, accepted.get(key), now.get(key)) for key in keys if accepted.get(key) != now.get(key)]


def _read(path: Path) -> dict[_Key, str]:
    try:
        with path.open(encoding="utf-8", newline="") as stream:
            rows = list(csv.reader(stream, strict=True))
    except (OSError, UnicodeDecodeError, csv.Error) as error:
        raise PrerequisiteError(f"Accepted statuses cannot be read from {path}: {error}.") from error
    wrong = [number for number, row in enumerate(rows[1:], start=2) if len(row) != len(_COLUMNS)]
    found = {(table, name, column): status for table, name, column, status in rows[1:]} if not wrong else {}
    if not rows or tuple(rows[0]) != _COLUMNS or wrong or len(found) != len(rows) - 1:
        what = (
            f"lines {wrong} have other columns" if wrong else f"expected the columns {', '.join(_COLUMNS)}, once a cell"
        )
        raise PrerequisiteError(
            f"Accepted statuses in {path} are damaged: {what}.", hint=f"aira-bench reproduce --write-statuses {path}"
        )
    return found
