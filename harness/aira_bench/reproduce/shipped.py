"""Compares published settings with what the product ships, where nothing is computed: Tables 1, 6, 12, 13, 14 and 15.

Where the product does otherwise on purpose, `differences.csv` names the cell, both values and the reason; such a cell
is a `difference`. One that is not listed, or whose listed values are no longer those, is a mismatch.

Tables 6 and 15 are compared with the versions in the agents' image that follows the paper, `cuda-paper`.
Table 12's constants and Table 13's ranges are compared with the table in each configurable task's description: it is
what agents are told, and the evaluator's tests hold it to what judges do.

Not covered: whether the packages do the same, and the original Autoresearch's packages, which no image of ours follows.
"""

import csv
import re
from collections.abc import Mapping
from decimal import Decimal
from functools import cache
from pathlib import Path

from packaging.requirements import Requirement

from aira_bench.errors import PrerequisiteError
from aira_bench.images.flavour import load_flavour, normal_name
from aira_bench.images.names import PAPER_FLAVOUR
from aira_bench.published_tables import read_table
from aira_bench.reproduce.cells import Cell, LeftOut, Status
from aira_bench.tasks.task import Task, shipped_tasks

_DATASETS = {"listops": "ListOps", "text": "Text", "retrieval": "Retrieval"}
_ABSENT = "not in the image"
_TOLD = re.compile(r"^\| `([A-Z_]+)`(?: or `([A-Z_]+)`)? \| [^|]+ \| ([^|]+) \| ([^|]+) \|", re.MULTILINE)


def task_cells(folder: Path | None = None) -> list[Cell]:
    """Return Table 1 beside the shipped tasks: each task's framework and artifact, and how many there are."""
    shipped = {task.name: task for task in shipped_tasks() if task.metadata.aira.origin is None}
    rows, cells = read_table("1", ("framework", "task", "artifact"), folder), []
    for row in rows:
        task = shipped.get(row["task"])
        frame = "-" if task is None else "AIRA-Compose" if "ArchitectureSearch" in task.name else "AIRA-Design"
        artifact = "-" if task is None else task.metadata.aira.artifact.name
        for column, ours in (("framework", frame), ("artifact", artifact)):
            cells.append(_compared("1", row["task"], column, row[column], ours))
    cells.append(_compared("1", "all", "tasks", str(len(rows)), str(len(shipped))))
    return cells


def constant_cells(folder: Path | None = None) -> list[Cell]:
    """Return Table 12: each constant's names and its default for each data set, beside what agents are told."""
    columns, cells = ("variable", "config_key", *_DATASETS), []
    for row in read_table("12", columns, folder):
        for dataset in _DATASETS:
            told = _told(dataset).get(row["variable"].partition(" / ")[0])
            names = " / ".join(told[0]) if told else "-"
            cells.append(_compared("12", row["variable"], f"{dataset} names", row["variable"], names))
            ours = told[1] if told and Decimal(told[1]) != Decimal(row[dataset]) else row[dataset] if told else "-"
            cells.append(_compared("12", row["variable"], dataset, row[dataset], ours))
    return cells


def range_cells(folder: Path | None = None) -> list[Cell]:
    """Return Table 13: whether what the paper's agents tried is admitted by the shipped configurable tasks."""
    columns, cells = ("parameter", *(f"{each}_{what}" for each in _DATASETS for what in ("range", "unique"))), []
    for row in read_table("13", columns, folder):
        for dataset in _DATASETS:
            told, tried = _told(dataset).get(row["parameter"]), row[f"{dataset}_range"]
            if told is None:
                cells.append(_compared("13", row["parameter"], dataset, tried, "-"))
                continue
            (low, high), (least, most) = (_ends(each) for each in (tried, told[2]))
            ours = tried if least <= low <= high <= most else told[2]
            cells.append(_compared("13", row["parameter"], f"{dataset} admitted", tried, ours))
    return cells


def best_known_cells(folder: Path | None = None) -> tuple[list[Cell], list[LeftOut]]:
    """Return Table 14's state of the art beside the shipped tasks' anchors, and its scores, which nothing gives."""
    cells, left_out = [], []
    for row in read_table("14", ("task", "sota", "setup", "score", "agent", "architecture"), folder):
        task = _lra_task(row["task"], configurable=row["setup"] == "config")
        entries = (task.metadata.logging_info.sota or ()) if task else ()
        ours = f"{entries[0].sota_score:.4f}" if entries else "-"
        name = f"{row['task']} {row['setup']}"
        cells.append(_compared("14", name, "sota", row["sota"], ours))
        why = f"the best run of {row['agent']}, which is not published"
        left_out.append(LeftOut("14", name, row["score"], why))
    return cells, left_out


def compose_package_cells(folder: Path | None = None) -> list[Cell]:
    """Return Table 6 beside the pins of the image that follows the paper."""
    pins = _paper_pins()
    cells = []
    for row in read_table("6", ("package", "version"), folder):
        pinned = pins.get(normal_name(row["package"]))
        published = row["version"] or "any"
        fits = pinned is not None and row["version"] in ("", _public(pinned))
        cells.append(_compared("6", row["package"], "image", published, published if fits else pinned or _ABSENT))
    return cells


def autoresearch_package_cells(folder: Path | None = None) -> tuple[list[Cell], list[LeftOut]]:
    """Return Table 15's right column beside the image's pins; the left one is another project's."""
    pins = _paper_pins()
    cells, left_out = [], []
    for row in read_table("15", ("setup", "requirement", "build"), folder):
        wanted, shown = Requirement(row["requirement"]), row["requirement"]
        if row["setup"] != "aira":
            left_out.append(
                LeftOut("15", wanted.name, shown, "of the original Autoresearch; no image of ours follows it")
            )
            continue
        pinned = pins.get(normal_name(wanted.name))
        fits = pinned is not None and wanted.specifier.contains(_public(pinned), prereleases=True)
        cells.append(_compared("15", wanted.name, "image", shown, shown if fits else pinned or _ABSENT))
    return cells, left_out


def _compared(table: str, row: str, column: str, published: str, ours: str) -> Cell:
    if published == ours:
        return Cell(table, row, column, published, ours, Status.REPRODUCED)
    reason = _differences().get((table, row, published, ours))
    if reason is not None:
        return Cell(table, row, column, published, ours, Status.DIFFERENCE, reason)
    return Cell(table, row, column, published, ours, Status.MISMATCH, "differs, and differences.csv does not say why")


@cache
def _differences() -> Mapping[tuple[str, str, str, str], str]:
    path = Path(__file__).with_name("differences.csv")
    try:
        with path.open(encoding="utf-8", newline="") as stream:
            rows = list(csv.DictReader(stream, strict=True))
    except (OSError, csv.Error) as error:
        raise PrerequisiteError(f"The accepted differences cannot be read from {path}: {error}.") from error
    return {(row["table"], row["row"], row["published"], row["ours"]): row["reason"] for row in rows}


def _lra_task(dataset: str, *, configurable: bool) -> Task | None:
    wanted = f"LongContextReasoningLRA{dataset}{'Configurable' if configurable else ''}Accuracy"
    return next((task for task in shipped_tasks() if task.name == wanted), None)


@cache
def _told(dataset: str) -> Mapping[str, tuple[tuple[str, ...], str, str]]:
    """By its first name what a configurable task's description says of a constant: names, default, range."""
    task = _lra_task(_DATASETS[dataset], configurable=True)
    found = _TOLD.findall(task.description) if task else []
    return {
        first: ((first, second) if second else (first,), default.strip(), admitted.strip())
        for first, second, default, admitted in found
    }


def _ends(text: str) -> tuple[Decimal, Decimal]:
    low, _, high = text.replace(" to ", "|").replace(" – ", "|").partition("|")  # noqa: RUF001, as printed
    return Decimal(low), Decimal(high)


def _paper_pins() -> Mapping[str, str]:
    """Versions of the packages in the agents' image that follows the paper, by their normal names."""
    flavour = load_flavour(PAPER_FLAVOUR)
    return flavour.versions("agent") | {each.name: each.version for each in flavour.settings.compiled}


def _public(version: str) -> str:
    """Without the local part, which says how a wheel was built."""
    return version.partition("+")[0]
