"""Changes rows of a copied table of the paper, for tests of what notices."""

import csv
from collections.abc import Callable
from pathlib import Path

from aira_bench.published_tables import FILES


def edit(folder: Path, table: str, change: Callable[[list[dict[str, str]]], None]) -> None:
    path = folder / FILES[table]
    with path.open(newline="", encoding="utf-8") as stream:
        rows = list(csv.DictReader(stream))
    change(rows)
    with path.open("w", newline="", encoding="utf-8") as stream:
        writer = csv.DictWriter(stream, list(rows[0]))
        writer.writeheader()
        writer.writerows(rows)
