"""Which tables can be recomputed, and the one function that does it."""

from collections.abc import Callable, Sequence
from pathlib import Path

from aira_bench.errors import UsageError
from aira_bench.reproduce.averages import accuracy_cells, core_cells
from aira_bench.reproduce.cells import Cell, LeftOut, Reproduction
from aira_bench.reproduce.counts import delta_cells, literature_cells, mean_cells, text_cells
from aira_bench.reproduce.features import category_cells, feature_cells, toggle_cells
from aira_bench.reproduce.headline import headline_cells
from aira_bench.reproduce.patterns import pattern_cells
from aira_bench.reproduce.shipped import (
    autoresearch_package_cells,
    best_known_cells,
    compose_package_cells,
    constant_cells,
    range_cells,
    task_cells,
)
from aira_bench.reproduce.steps import layer_cells, step_cells

_Recomputed = tuple[list[Cell], list[LeftOut]]

TABLES: dict[str, Callable[[Path | None], _Recomputed]] = {
    "1": lambda folder: (task_cells(folder), []),
    "2": lambda folder: (accuracy_cells("2", folder), []),
    "3": lambda folder: (accuracy_cells("3", folder), []),
    "4": mean_cells,
    "5": lambda folder: (delta_cells(folder), []),
    "6": lambda folder: (compose_package_cells(folder), []),
    "7": lambda folder: (core_cells(folder), []),
    "8": lambda folder: (pattern_cells("8", folder), []),
    "9": lambda folder: (pattern_cells("9", folder), []),
    "10": lambda folder: (step_cells("10", folder), []),
    "11": lambda folder: (step_cells("11", folder), []),
    "12": lambda folder: (constant_cells(folder), []),
    "13": lambda folder: (range_cells(folder), []),
    "14": best_known_cells,
    "15": autoresearch_package_cells,
    "16": lambda folder: (literature_cells("16", folder), []),
    "17": lambda folder: (literature_cells("17", folder), []),
    "18": lambda folder: (literature_cells("18", folder), []),
    "19": lambda folder: (feature_cells(folder), []),
    "20": lambda folder: (toggle_cells(folder), []),
    "21": category_cells,
    "layers": lambda folder: (layer_cells(folder), []),
    "headline": headline_cells,
    "text": lambda folder: (text_cells(folder), []),
}


def reproduce(tables: Sequence[str] | None = None, folder: Path | None = None) -> Reproduction:
    """Recompute published tables from formulas and from each other, and compare every number.

    Args:
        tables: names among `TABLES`; None or empty for all.
        folder: published CSV files, by default those that come with the product.

    Raises:
        UsageError: an unknown table.
        PrerequisiteError: a published file is missing or damaged.
    """
    if unknown := [name for name in tables or () if name not in TABLES]:
        raise UsageError(
            f"Table {unknown[0]!r} cannot be recomputed, expected one of {', '.join(TABLES)}.",
            hint="aira-bench reproduce 10 11",
        )
    cells: list[Cell] = []
    left_out: list[LeftOut] = []
    for name in TABLES:
        if not tables or name in tables:
            more, missing = TABLES[name](folder)
            cells += more
            left_out += missing
    return Reproduction(tuple(cells), tuple(left_out))
