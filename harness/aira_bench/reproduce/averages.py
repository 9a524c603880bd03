"""Tables 2, 3 and 7: averages over tasks.

Accuracy is averaged over six tasks. WinoGrande has no normalized accuracy: most rows average the five that have one,
some take WinoGrande's plain accuracy as a sixth. The definition that most rows of both tables follow is the tables';
a row that follows only the other is an erratum, since its average does not compare with its neighbours'.

Inputs are printed with one decimal, so a mean of them may be off by half a unit, and so may the printed mean.
"""

from collections.abc import Sequence
from fractions import Fraction
from pathlib import Path

from aira_bench.published_tables import Row, read_table
from aira_bench.reproduce.cells import Cell, Status, compare_decimal, decimal_text

_TASKS = ("arc_c_acc", "arc_e_acc", "hellaswag_acc", "piqa_acc", "sciq_acc")
_WINOGRANDE = "winogrande_acc"
_PLAIN = (*_TASKS, _WINOGRANDE)
_NORMALIZED = tuple(f"{task}_norm" for task in _TASKS)
_WITH_WINOGRANDE = (*_NORMALIZED, _WINOGRANDE)
_CORE = (
    "copa", "coqa_f1", "lambada", "obqa_norm", "winogrande", "xwinograd", "agieval_lsat_ar_norm", "arc_c_norm",
    "arc_e_norm", "boolq", "commonsenseqa", "hellaswag_norm", "piqa_norm", "squadv2_f1",
)  # fmt: skip
COLUMNS = ("architecture", *_WITH_WINOGRANDE, *_PLAIN, "avg_acc", "avg_acc_norm", "dclm_core")
_SLACK = Fraction(1, 10)
"""Half a unit of the inputs and half a unit of the average, both of 0.1."""


def accuracy_cells(table: str, folder: Path | None = None) -> list[Cell]:
    """Return the three averages of every row of Table `2` or `3`."""
    rows = read_table(table, COLUMNS, folder)
    both = [row for name in ("2", "3") for row in read_table(name, COLUMNS, folder)]
    five, six = (sum(_agrees(row, tasks) for row in both) for tasks in (_NORMALIZED, _WITH_WINOGRANDE))
    usual, other = (_NORMALIZED, _WITH_WINOGRANDE) if five >= six else (_WITH_WINOGRANDE, _NORMALIZED)
    core = {_plain_name(row["architecture"]): row for row in _core_rows(folder)}
    cells = []
    for row in rows:
        name = row["architecture"]
        cells.append(_mean_cell(table, name, "avg_acc", row["avg_acc"], _mean(row, _PLAIN)))
        cells.append(_normalized_cell(table, row, usual, other, f"{max(five, six)} of {len(both)}"))
        mean = _mean(core[_plain_name(name)], _CORE) if _plain_name(name) in core else None
        cells.append(_core_cell(table, row, mean))
    return cells


def core_cells(folder: Path | None = None) -> list[Cell]:
    """Return the average of the 14 tasks in every row of Table 7."""
    return [
        _mean_cell("7", row["architecture"], "average", row["average"], _mean(row, _CORE)) for row in _core_rows(folder)
    ]


def _core_rows(folder: Path | None) -> list[Row]:
    return read_table("7", ("architecture", "average", *_CORE), folder)


def _mean(row: Row, columns: Sequence[str]) -> Fraction:
    return sum((Fraction(row[column]) for column in columns), Fraction(0)) / len(columns)


def _agrees(row: Row, columns: Sequence[str]) -> bool:
    return compare_decimal(row["avg_acc_norm"], _mean(row, columns), _SLACK)[0] is not Status.MISMATCH


def _mean_cell(table: str, name: str, column: str, published: str, mean: Fraction) -> Cell:
    status, text = compare_decimal(published, mean, _SLACK)
    return Cell(table, name, column, published, text, status, _mean_reason(status, mean))


def _mean_reason(status: Status, mean: Fraction) -> str:
    if status is Status.REPRODUCED:
        return ""
    exact = decimal_text(mean, 3)
    if status is Status.ROUNDING:
        return f"the printed scores, themselves rounded, average {exact}"
    return f"the printed scores average {exact}, further off than their rounding explains"


def _normalized_cell(table: str, row: Row, usual: Sequence[str], other: Sequence[str], share: str) -> Cell:
    cell = _mean_cell(table, row["architecture"], "avg_acc_norm", row["avg_acc_norm"], _mean(row, usual))
    if cell.status is not Status.MISMATCH or not _agrees(row, other):
        return cell
    reason = (
        f"this row's average is over {_named(other)}; {share} rows of Tables 2 and 3 average {_named(usual)}, "
        "so it does not compare with theirs"
    )
    return Cell(table, cell.row, cell.column, cell.published, cell.computed, Status.ERRATUM, reason)


def _named(columns: Sequence[str]) -> str:
    return "six tasks, WinoGrande's plain accuracy among them" if _WINOGRANDE in columns else "the five normalized ones"


def _core_cell(table: str, row: Row, mean: Fraction | None) -> Cell:
    name, published = row["architecture"], row["dclm_core"]
    if mean is None:
        return Cell(table, name, "dclm_core", published, "-", Status.MISMATCH, "Table 7 has no row of this name")
    return _mean_cell(table, name, "dclm_core", published, mean)


def _plain_name(name: str) -> str:
    """Tables 2, 3 and 7 abbreviate and space the same names differently."""
    spelled = name.replace("AIRAf.", "AIRAformer")
    return "".join(character for character in spelled if character not in " ()").lower()
