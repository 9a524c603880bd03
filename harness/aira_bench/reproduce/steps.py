"""Tables 10 and 11: training steps for FLOP budgets, and whether their layers are those of Tables 8 and 9.

Every step count follows from the layers that Tables 10 and 11 print themselves. Those layers are often not the ones
that Tables 8 and 9 give for the model of the same name; `layers` shows each row where two tables disagree.
"""

from pathlib import Path

from aira_bench.published_tables import Row, read_table
from aira_bench.reproduce.cells import Cell, Status
from aira_bench.reproduce.patterns import PatternRow, pattern_rows
from aira_contract.model_sizes import Space, model_size
from aira_contract.training_arithmetic import FLOP_BUDGETS, LayerCounts, isoflop_steps

_SPACES: dict[str, Space] = {"10": "2-primitive", "11": "3-primitive"}
_PATTERN_TABLE = {"10": "8", "11": "9"}
_BUDGETS = {f"steps_{budget:.0e}".replace("+", ""): budget for budget in FLOP_BUDGETS}


def step_cells(table: str, folder: Path | None = None) -> list[Cell]:
    """Return every step count of Table `10` or `11` beside the computed one."""
    cells = []
    for row in _rows(table, folder):
        counts, size = _printed_counts(row), model_size(row["scale"], _SPACES[table])
        for column, budget in _BUDGETS.items():
            steps = str(isoflop_steps(counts, size, budget))
            status = Status.REPRODUCED if steps == row[column] else Status.MISMATCH
            reason = "" if status is Status.REPRODUCED else f"the printed layers {counts} give another step count"
            cells.append(Cell(table, _name(row), column, row[column], steps, status, reason))
    return cells


def layer_cells(folder: Path | None = None) -> list[Cell]:
    """Return the layers behind each row of Tables 10 and 11 beside the pattern of Table 8 or 9 of that name."""
    cells = []
    for table, patterns in _PATTERN_TABLE.items():
        known = {row.name: row for row in pattern_rows(patterns, folder)}
        cells += [_layer_cell(table, row, known.get(_name(row))) for row in _rows(table, folder)]
    return cells


def _layer_cell(table: str, row: Row, known: PatternRow | None) -> Cell:
    printed = _printed_counts(row)
    column = f"table {table} against {_PATTERN_TABLE[table]}"
    if known is None:
        reason = f"Table {_PATTERN_TABLE[table]} has no model of this name at this scale"
        return Cell("layers", _name(row), column, str(printed), "-", Status.ERRATUM, reason)
    if printed == known.expanded:
        return Cell("layers", _name(row), column, str(printed), str(known.expanded), Status.REPRODUCED)
    reason = f"Tables {known.table} and {table} give the model of this name different layers"
    if table == "11" and printed == _table9_counts(known):
        reason = f"Table {table} has the counts that Table 9 prints, Table 9's pattern has others"
    return Cell("layers", _name(row), column, str(printed), str(known.expanded), Status.ERRATUM, reason)


def _table9_counts(row: PatternRow) -> LayerCounts:
    return _printed_counts(row.printed)


def _printed_counts(row: Row) -> LayerCounts:
    return LayerCounts(int(row["attention"]), int(row["mlp"]), int(row.get("mamba", "0")))


def _rows(table: str, folder: Path | None) -> list[Row]:
    columns = ["scale", "architecture", "attention", "mlp", *_BUDGETS]
    return read_table(table, columns + (["mamba"] if table == "11" else []), folder)


def _name(row: Row) -> str:
    return f"{row['architecture']} {row['scale']}"
