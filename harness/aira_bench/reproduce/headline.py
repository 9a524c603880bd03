"""Headline claims that follow from published tables. The rest are listed, with what they would need.

Not covered: whether a difference means anything; see `averages` for what the averages are taken over.
"""

from collections.abc import Callable
from fractions import Fraction
from pathlib import Path

from aira_bench.published_tables import read_table
from aira_bench.reproduce.averages import COLUMNS
from aira_bench.reproduce.cells import Cell, LeftOut, Status, compare_decimal


def headline_cells(folder: Path | None = None) -> tuple[list[Cell], list[LeftOut]]:
    """Claims beside their values from the tables, and claims that no table supports."""
    cells, left_out = [], []
    for row in read_table("headline", ("claim", "value", "unit", "follows_from"), folder):
        claim, value = row["claim"], row["value"]
        if claim not in _FROM_TABLES:
            left_out.append(LeftOut("headline", claim, f"{value} {row['unit']}", row["follows_from"]))
            continue
        status, text = compare_decimal(value, _FROM_TABLES[claim](folder), Fraction(0))
        reason = "" if status is Status.REPRODUCED else f"the tables give {text}"
        cells.append(Cell("headline", claim, row["unit"], value, text, status, reason))
    return cells, left_out


def _over_llama(table: str, architecture: str, folder: Path | None) -> Fraction:
    """Points of normalized accuracy over Llama 3.2, both averages as printed."""
    ours = {row["architecture"]: row["avg_acc_norm"] for row in read_table(table, COLUMNS, folder)}
    baseline = {row["architecture"]: row["avg_acc_norm"] for row in read_table("2", COLUMNS, folder)}
    return Fraction(ours[architecture]) - Fraction(baseline["Llama 3.2"])


def _behind_best_known(task: str, folder: Path | None) -> Fraction:
    """Points of accuracy between the best found and the best known model of a Long Range Arena task."""
    rows = [row for row in read_table("14", ("task", "sota", "score"), folder) if row["task"] == task]
    return 100 * (Fraction(rows[0]["sota"]) - max(Fraction(row["score"]) for row in rows))


def _lowest_bits_per_byte(folder: Path | None) -> Fraction:
    return min(Fraction(row["val_bpb"]) for row in read_table("5", ("val_bpb",), folder))


_FROM_TABLES: dict[str, Callable[[Path | None], Fraction]] = {
    "AIRAformer-D over Llama 3.2, downstream accuracy": lambda folder: _over_llama("2", "AIRAf.-D (Str.)", folder),
    "AIRAhybrid-D over Llama 3.2, downstream accuracy": lambda folder: _over_llama("3", "AIRAhybrid-D (Str.)", folder),
    "LRA document matching, distance to SOTA": lambda folder: _behind_best_known("Retrieval", folder),
    "LRA text classification, distance to SOTA": lambda folder: _behind_best_known("Text", folder),
    "Autoresearch, best validation BPB": _lowest_bits_per_byte,
}
