"""Reads the published tables that come with the product. Not covered: tables that no command recomputes."""

import csv
from collections.abc import Sequence
from pathlib import Path

from aira_bench.bundled import bundled_folder
from aira_bench.errors import PrerequisiteError

FILES = {
    "1": "table01_tasks.csv",
    "2": "table02_isotoken_2prim.csv",
    "3": "table03_isotoken_3prim.csv",
    "4": "table04_lra_normalized_score.csv",
    "5": "table05_autoresearch_trajectories.csv",
    "6": "table06_compose_packages.csv",
    "7": "table07_dclm_core.csv",
    "8": "table08_patterns_2prim.csv",
    "9": "table09_patterns_3prim.csv",
    "10": "table10_isoflop_steps_2prim.csv",
    "11": "table11_isoflop_steps_3prim.csv",
    "12": "table12_lra_config.csv",
    "13": "table13_lra_tuning.csv",
    "14": "table14_lra_best.csv",
    "15": "table15_autoresearch_packages.csv",
    "16": "table16_literature_architecture.csv",
    "17": "table17_literature_training.csv",
    "18": "table18_literature_optimizers.csv",
    "19": "table19_autoresearch_features.csv",
    "20": "table20_autoresearch_toggles.csv",
    "21": "table21_autoresearch_categories.csv",
    "headline": "headline_claims.csv",
    "text": "text_counts.csv",
}

Row = dict[str, str]


def read_table(table: str, columns: Sequence[str], folder: Path | None = None) -> list[Row]:
    """Rows of one published table, every value as printed.

    Args:
        table: a key of `FILES`.
        columns: what every row must have.
        folder: where the files are, by default those that come with the product.

    Raises:
        PrerequisiteError: the file is missing or has other columns.
    """
    path = (folder or bundled_folder("published")) / FILES[table]
    try:
        with path.open(encoding="utf-8", newline="") as stream:
            reader = csv.DictReader(stream, strict=True)
            rows = list(reader)
    except (OSError, csv.Error) as error:
        raise PrerequisiteError(f"Published table {table} cannot be read from {path}: {error}.") from error
    missing = [column for column in columns if column not in (reader.fieldnames or ())]
    ragged = [number for number, row in enumerate(rows, start=2) if None in row or None in row.values()]
    if missing or ragged or not rows:
        problem = f"columns {missing} are missing" if missing else f"lines {ragged} have another number of columns"
        raise PrerequisiteError(f"Published table {table} in {path} is damaged: {problem if rows else 'no rows'}.")
    return rows


def read_counts(folder: Path | None = None) -> dict[str, str]:
    """Numbers that stand in the paper's text alone, as printed, by what they count.

    Raises:
        PrerequisiteError: the file is missing or damaged.
    """
    return {row["name"]: row["value"] for row in read_table("text", ("name", "value", "unit", "section"), folder)}
