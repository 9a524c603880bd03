"""Reads what was trained: architecture, parameters, budget and loss of each run, from tables.

    architecture,parameters,budget_flops,loss[,seed][,loss_sd]

One line a run. `parameters` are without embeddings, `budget_flops` what the run was planned for: runs of one budget are
on one parabola. `loss_sd` is the standard deviation of that loss, where it is known; it weighs the run, and then every
line has one. An empty loss is a run that has none: it is counted and left out.

A folder in place of a table stands for the trainings below it (`aira_bench.scaling.trained_folders`); those of a recipe
without a budget are no isoFLOP runs, and are counted and left out too.

Not covered: whether losses compare, which is the user's to know: one data set, one tokenizer, one set of held-out text.
"""

import csv
import io
import math
from collections import Counter
from collections.abc import Iterable, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING

from aira_bench.errors import UsageError
from aira_bench.excerpts import VALUE_CHARS
from aira_bench.files import Unacceptable, read_text, reason

if TYPE_CHECKING:
    from aira_bench.scaling.trained_folders import TrainingFolder

REQUIRED = ("architecture", "parameters", "budget_flops", "loss")
OPTIONAL = ("seed", "loss_sd")
MOST_RUNS = 100_000
_MOST_BYTES = 64 << 20
_LARGEST = 1e40
"""Of any number of a table: ten orders of magnitude above the FLOPs of any training there was."""
_NAME_CHARS = 200
_EXAMPLE = "aira-bench scale fit runs.csv   (columns: architecture,parameters,budget_flops,loss; docs/scaling.md)"


@dataclass(frozen=True)
class TrainedRun:
    """One training that ended."""

    architecture: str
    parameters: float
    """Without embeddings."""
    budget_flops: float
    """What it was planned for; the same for all runs of one parabola."""
    loss: float
    """On held-out text, in nats a token."""
    seed: int = 0
    loss_sd: float | None = None


@dataclass(frozen=True)
class Observations:
    """Runs of any number of tables."""

    runs: tuple[TrainedRun, ...]
    """In an order of their own, whatever that of the tables: resamples are drawn in it."""
    without_loss: int
    """Runs that are listed and have no loss: they failed, or go on."""
    first: str
    """The architecture of the first run of the first table."""
    without_budget: int = 0
    """Trainings of recipes that are no FLOP budgets."""
    marks: tuple[str, ...] = ()
    """Of the tokens of trainings in folders: synthetic, a tokenizer of our own."""


def read_observations(paths: Sequence[Path]) -> Observations:
    """Read tables, and folders of trainings, one after the other.

    Raises:
        UsageError: one cannot be read, or a line of it is no run; a run stands twice; no run has a loss.
        RunStateError: the record of a training cannot be read.
    """
    runs: list[TrainedRun] = []
    missing = other = 0
    first: TrainingFolder | None = None
    for path in paths:
        if path.is_dir():
            found, lost, left, first = _read_folder(path, first)
        else:
            (found, lost), left = _read_table(path), 0
        runs += found
        missing += lost
        other += left
    if not runs:
        budgets = f" {other} of recipes without a FLOP budget are left out." if other else ""
        raise UsageError(f"None of {missing} runs has a loss, so there is nothing to fit.{budgets}", hint=_EXAMPLE)
    _require_once(runs)
    if len({run.loss_sd is None for run in runs}) > 1:
        raise UsageError("Some runs have a loss_sd and some have none.", hint="a loss_sd in every line, or in none")
    marks = () if first is None else first.marks
    return Observations(tuple(sorted(runs, key=_order)), missing, runs[0].architecture, other, marks)


def _order(run: TrainedRun) -> tuple[str, float, float, int, float]:
    return run.architecture, run.budget_flops, run.parameters, run.seed, run.loss


def _require_once(runs: Iterable[TrainedRun]) -> None:
    seen = Counter((run.architecture, run.parameters, run.budget_flops, run.seed) for run in runs)
    (name, parameters, budget, seed), times = seen.most_common(1)[0]
    if times > 1:
        raise UsageError(
            f"{name[:VALUE_CHARS]!r} with {parameters:.4g} parameters at {budget:.3g} FLOPs and seed {seed} stands "
            f"{times} times.", hint="a seed column that tells runs apart, or one line less",
        )  # fmt: skip


def _read_folder(
    path: Path, first: "TrainingFolder | None"
) -> "tuple[list[TrainedRun], int, int, TrainingFolder | None]":
    """Read a folder's trainings; `first` is the first of the folders before, whose data all have in common."""
    from aira_bench.scaling.trained_folders import training_folders  # pydantic takes time to load

    runs, lost, other = [], 0, 0
    for found in training_folders(path):
        loss, budget = found.record.validation_loss, found.budget_flops
        first = first or found
        if found.record.identity.data != first.record.identity.data:
            raise UsageError(
                f"{found.folder} was trained on other data than {first.folder}: their losses do not compare.",
                hint="aira-bench scale fit DIR   (a folder with trainings of one data set)",
            )
        if budget is None:
            other += 1
        elif not found.record.finished or loss is None or not 0 < loss <= _LARGEST:
            lost += 1
        else:
            seed = found.record.identity.seed
            runs.append(TrainedRun(found.architecture, float(found.parameters), budget, loss, seed))
    return runs, lost, other, first


def _read_table(path: Path) -> tuple[list[TrainedRun], int]:
    try:
        text = read_text(path, _MOST_BYTES)
    except (OSError, Unacceptable) as error:
        raise UsageError(f"{path} cannot be read: {reason(error)}.", hint=_EXAMPLE) from error
    reader = csv.DictReader(io.StringIO(text, newline=""), strict=True)
    try:
        header = reader.fieldnames or []
        _require_columns(path, header)
        rows = [(reader.line_num, row) for row in reader]
    except csv.Error as error:
        raise UsageError(f"{path} is no CSV file: line {reader.line_num}: {error}.", hint=_EXAMPLE) from error
    if len(rows) > MOST_RUNS:
        raise UsageError(f"{path} has {len(rows):,} lines, at most {MOST_RUNS:,} are read.", hint=_EXAMPLE)
    found = [_run(f"{path}, line {number}", row) for number, row in rows]
    runs = [run for run in found if run is not None]
    return runs, len(found) - len(runs)


def _require_columns(path: Path, header: Sequence[str]) -> None:
    missing = [name for name in REQUIRED if name not in header]
    unknown = [name for name in header if name not in (*REQUIRED, *OPTIONAL)]
    if missing or unknown or len(set(header)) < len(header):
        said = (
            f"lacks the column {missing[0]!r}" if missing
            else f"has an unknown column {unknown[0][:VALUE_CHARS]!r}" if unknown
            else "has a column twice"
        )  # fmt: skip
        raise UsageError(f"{path} {said}; columns are {','.join(REQUIRED)} and {','.join(OPTIONAL)}.", hint=_EXAMPLE)


def _run(where: str, row: dict[str | None, str | None]) -> TrainedRun | None:
    if None in row or None in row.values():
        raise UsageError(f"{where} has another number of columns than the first line.", hint=_EXAMPLE)
    texts = {str(key): (value or "").strip() for key, value in row.items()}
    name = texts["architecture"]
    if not name or len(name) > _NAME_CHARS:
        raise UsageError(f"{where}: an architecture needs a name of 1 to {_NAME_CHARS} characters.", hint=_EXAMPLE)
    if not texts["loss"]:
        return None
    seed = texts.get("seed") or "0"
    if not (seed.isascii() and seed.isdigit() and len(seed) <= 10):
        raise UsageError(f"{where}: seed is {seed[:VALUE_CHARS]!r}, expected a whole number.", hint=_EXAMPLE)
    return TrainedRun(
        name,
        _positive(where, "parameters", texts["parameters"]),
        _positive(where, "budget_flops", texts["budget_flops"]),
        _positive(where, "loss", texts["loss"]),
        int(seed),
        _positive(where, "loss_sd", texts["loss_sd"]) if texts.get("loss_sd") else None,
    )


def _positive(where: str, name: str, text: str) -> float:
    try:
        value = float(text) if text.isascii() and "_" not in text else math.nan
    except ValueError:
        value = math.nan
    if not 0 < value <= _LARGEST:
        raise UsageError(f"{where}: {name} is {text[:VALUE_CHARS]!r}, expected a number above 0.", hint=_EXAMPLE)
    return value
