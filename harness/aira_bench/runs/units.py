"""Which units a folder has: the seeds of its run, or of the runs below it that are shared.

Not covered: whose they are (`aira_bench.leasing`), and work on one (`worker`).
"""

import os
from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from pathlib import Path

from aira_bench.errors import AiraError, RunStateError, UsageError
from aira_bench.leasing.entries import lease_store
from aira_bench.leasing.terms import Terms, read_terms
from aira_bench.record.folder import RunFolder, is_run, list_runs

ENDED = b'"event":"seed_ended"'
"""In the last line of a journal; inside of a text its quotes would be escaped."""
SUBMITTED_NOTHING = b'"submitted":null'
"""In the same line."""
TRAINING_REFUSED = b'"event":"confirmation_refused"'
"""In a line of a seed's confirmations, after which its submission is not trained again."""
_TAIL_BYTES = 4096
"""More than that line has."""


@dataclass(frozen=True)
class Unit:
    """One seed of one run."""

    run: Path
    seed: int

    @property
    def name(self) -> str:
        """The unit in words."""
        return f"{self.run.name} seed {self.seed}"


@dataclass(frozen=True)
class SharedRun:
    """A run whose seeds workers take."""

    path: Path
    seeds: tuple[int, ...]
    terms: Terms

    @property
    def units(self) -> tuple[Unit, ...]:
        """Its seeds in the order of the plan."""
        return tuple(Unit(self.path, seed) for seed in self.seeds)


def runs_below(folder: Path) -> Sequence[RunFolder]:
    """Return the run that a folder is, or the runs in it and in its folders, by path.

    Raises:
        UsageError: there is no such folder.
    """
    if is_run(folder):
        return [RunFolder(folder.resolve())]
    if not folder.is_dir():
        raise UsageError(f"{folder} is no folder.", hint="aira-bench worker RUNS/NAME")
    inner = [
        each for path in sorted(folder.iterdir()) if path.is_dir() and not is_run(path) for each in list_runs(path)
    ]
    found = [RunFolder(each.path.resolve()) for each in (*list_runs(folder), *inner)]
    return sorted(found, key=lambda each: each.path)


def shared_run(folder: RunFolder) -> SharedRun | None:
    """Return what workers need to know of a run; None where it is not theirs.

    Raises:
        RunStateError: its manifest or its terms cannot be read.
    """
    terms = read_terms(lease_store(folder.path)) if folder.is_shared else None
    return None if terms is None else SharedRun(folder.path, folder.manifest.plan.seeds, terms)


def has_ended(folder: RunFolder, seed: int) -> bool:
    """Whether the search of a seed has ended, by the last line of its journal: a long one is not read whole."""
    return ENDED in tail(folder.seed(seed).journal)


def awaits_trainings(folder: RunFolder, seed: int, wanted: int) -> bool:
    """Whether fewer trainings are recorded of what a seed submitted than it is to have, by lines of its files alone.

    Args:
        folder: of the run.
        seed: one whose search has ended.
        wanted: how many trainings confirm a submission.
    """
    place = folder.seed(seed)
    if SUBMITTED_NOTHING in tail(place.journal):
        return False
    try:
        data = place.confirmed.path.read_bytes()
    except FileNotFoundError:
        return True
    return TRAINING_REFUSED not in data and data.count(b"\n") < 1 + wanted  # the first says whose they are


def tail(path: Path) -> bytes:
    """Return the last line or so of a journal; nothing of one that is not there."""
    try:
        with path.open("rb") as file:
            file.seek(max(0, file.seek(0, os.SEEK_END) - _TAIL_BYTES))
            return file.read().rstrip(b"\n").rpartition(b"\n")[2]
    except OSError:
        return b""


def readable_runs(folders: Sequence[RunFolder], faults: dict[Path, AiraError]) -> Iterator[SharedRun]:
    """Runs that are shared and can be read; what is wrong with others goes to `faults`."""
    for folder in folders:
        if folder.path in faults:
            continue
        try:
            found = shared_run(folder)
        except RunStateError as error:
            faults[folder.path] = error
            continue
        if found is not None:
            yield found
