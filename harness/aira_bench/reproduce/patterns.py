"""Tables 8 and 9: layer counts, ratios and parameters that follow from the printed patterns.

A row is a set of statements about one model: a pattern, a number of layers, a count of each primitive (Table 9) or
their ratio (Table 8), and two parameter counts. The pattern is expanded and everything else computed from it. Where
the expansion contradicts what the same row prints about layers, the row contradicts itself, whatever the parameter
formulas say; its parameters are then also computed from the layers it prints, and a count that those explain is an
erratum of the pattern. A parameter count that neither explains is a mismatch.
"""

from dataclasses import dataclass
from fractions import Fraction
from pathlib import Path

from aira_bench.published_tables import Row, read_table
from aira_bench.reproduce.cells import Cell, Status, compare_decimal, decimal_text
from aira_bench.scaling.notation import read_pattern
from aira_contract.model_sizes import ModelSize, Space, model_size
from aira_contract.training_arithmetic import LayerCounts, count_layers, parameters, parameters_with_embedding

_PARAMETERS = ("params_b", "params_with_embedding_b")
_BILLION = 10**9
_LAST_DIGIT = Fraction(1, 100)
_SPACES: dict[str, Space] = {"8": "2-primitive", "9": "3-primitive"}


@dataclass(frozen=True)
class PatternRow:
    """One row of Table 8 or 9 with its pattern expanded."""

    table: str
    printed: Row
    size: ModelSize
    expanded: LayerCounts

    @property
    def name(self) -> str:
        """The architecture's name and the scale, as the table has them."""
        return f"{self.printed['architecture']} {self.size.scale}"


def pattern_rows(table: str, folder: Path | None = None) -> list[PatternRow]:
    """Rows of Table `8` or `9`."""
    columns = ("attention_to_mlp",) if table == "8" else ("attention", "mlp", "mamba")
    return [
        PatternRow(table, row, model_size(row["scale"], _SPACES[table]), count_layers(read_pattern(row["pattern"])))
        for row in read_table(table, ("architecture", "scale", "layers", *_PARAMETERS, "pattern", *columns), folder)
    ]


def pattern_cells(table: str, folder: Path | None = None) -> list[Cell]:
    """Return every number of Table `8` or `9` beside the computed one."""
    return [cell for row in pattern_rows(table, folder) for cell in _row_cells(row)]


def _row_cells(row: PatternRow) -> list[Cell]:
    computed = _counted(row)
    wrong = [column for column, text in computed.items() if row.printed[column] != text]
    reading = _printed_reading(row) if wrong else None
    counted = [
        Cell(
            row.table, row.name, column, row.printed[column], text,
            Status.ERRATUM if column in wrong else Status.REPRODUCED,
            _contradiction(row, column, wrong, reading) if column in wrong else "",
        )
        for column, text in computed.items()
    ]  # fmt: skip
    return counted + [_parameter_cell(row, column, reading) for column in _PARAMETERS]


def _counted(row: PatternRow) -> dict[str, str]:
    """What the expanded pattern says about layers, as the table would print it."""
    counts = row.expanded
    if row.table == "8":
        ratio = decimal_text(Fraction(counts.attention, counts.mlp), 1)
        return {"layers": str(counts.layers), "attention_to_mlp": f"{ratio}:1"}
    return {
        "layers": str(counts.layers),
        "attention": str(counts.attention),
        "mlp": str(counts.mlp),
        "mamba": str(counts.mamba),
    }


def _billions(column: str, counts: LayerCounts, size: ModelSize) -> Fraction:
    count = parameters if column == "params_b" else parameters_with_embedding
    return Fraction(count(counts, size), _BILLION)


def _printed_reading(row: PatternRow) -> LayerCounts | None:
    """The layers the row prints apart from its pattern, if its parameters agree with them.

    Table 9 prints them. Table 8 prints their sum: the split whose parameters come out as printed is taken, one that
    needs no rounding and has the printed ratio before others. None where no such layers exist.
    """
    printed = row.printed
    if row.table == "9":
        candidates = [LayerCounts(int(printed["attention"]), int(printed["mlp"]), int(printed["mamba"]))]
    else:
        layers = int(printed["layers"])
        candidates = [LayerCounts(attention, layers - attention) for attention in range(layers)]
        candidates.sort(key=lambda split: _ratio(split) != printed["attention_to_mlp"])
    fitting = [split for split in candidates if split.layers == int(printed["layers"])]
    for accepted in ({Status.REPRODUCED}, {Status.REPRODUCED, Status.ROUNDING}):
        for split in fitting:
            if all(_parameter_status(row, column, split) in accepted for column in _PARAMETERS):
                return split
    return None


def _parameter_status(row: PatternRow, column: str, counts: LayerCounts) -> Status:
    return compare_decimal(row.printed[column], _billions(column, counts, row.size), _LAST_DIGIT)[0]


def _ratio(counts: LayerCounts) -> str:
    return decimal_text(Fraction(counts.attention, counts.mlp), 1) + ":1"


def _contradiction(row: PatternRow, column: str, wrong: list[str], reading: LayerCounts | None) -> str:
    text = f"the row's own pattern expands to {row.expanded.layers} layers ({row.expanded})"
    if "layers" in wrong:
        text += f", the row prints {row.printed['layers']} layers"
    if reading is None:
        return text + "; no layers printed in the row give its parameters"
    if reading == row.expanded:
        return text + f", which give its printed parameters, but not the printed {column.replace('_', ' ')}"
    text += f"; {reading} give its printed parameters"
    if row.table == "8" and _ratio(reading) != row.printed["attention_to_mlp"]:
        text += f" but the ratio {_ratio(reading)}, not {row.printed['attention_to_mlp']}"
    return text


def _parameter_cell(row: PatternRow, column: str, reading: LayerCounts | None) -> Cell:
    published = row.printed[column]
    status, text = compare_decimal(published, _billions(column, row.expanded, row.size), _LAST_DIGIT)
    reason = ""
    if status is not Status.REPRODUCED and reading is not None and reading != row.expanded:
        status = Status.ERRATUM
        given = decimal_text(_billions(column, reading, row.size), 4)
        reason = f"the pattern ({row.expanded}) gives {text}; the layers the row prints ({reading}) give {given}"
    elif status is Status.ROUNDING:
        exact = decimal_text(_billions(column, row.expanded, row.size), 4)
        reason = f"{exact} before rounding, off by less than one unit of the last digit"
    elif status is Status.MISMATCH:
        reason = f"neither the pattern ({row.expanded}) nor other layers printed in the row give this"
    return Cell(row.table, row.name, column, published, text, status, reason)
