"""Which runs a board is made of: those that are asked for, read, and which of them its user leaves out.

Folders are compared by where they are and runs by their ids, so that a link, or another way of writing a path, neither
counts a run twice nor keeps it on the board.

Not covered: reading one run (`aira_bench.record.run_record`), and boards (`aira_bench.boards.board`).
"""

import contextlib
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path

from aira_bench.errors import RunStateError, UsageError
from aira_bench.keys import KeyRing
from aira_bench.record.folder import RunFolder, find_run, list_runs, no_runs
from aira_bench.record.run_record import RunRecord, read_runs


@dataclass(frozen=True)
class BoardReading:
    """The runs of a board, as they were read."""

    records: tuple[RunRecord, ...]
    """Those that are left out included: rows name them."""
    faults: tuple[RunStateError, ...]
    """Why others could not be read."""
    left_out: Mapping[str, str]
    """Why each run that is to be in no figure is left out, by its run id."""


def read_for_board(runs: Path, wanted: Sequence[str], excluded: Mapping[str, str], ring: KeyRing) -> BoardReading:
    """Read the runs that a board is to be made of.

    Args:
        runs: the folder of run folders.
        wanted: names or folders of runs; none for every run in the folder.
        excluded: why each run that is to be in no figure is left out, by its name or folder.
        ring: the keys this machine knows.

    Raises:
        UsageError: there is no such run, or the folder holds none; or a run is left out twice.
    """
    places = {name: find_run(runs, name) for name in excluded}
    if len({place.path.resolve() for place in places.values()}) < len(places):
        raise UsageError(
            f"Of {', '.join(places)} two are one run, which has one reason to be left out.",
            hint="aira-bench leaderboard --help",
        )
    folders = [find_run(runs, name) for name in wanted] if wanted else list_runs(runs)
    each_once: dict[Path, RunFolder] = {}
    for folder in (*folders, *places.values()):
        each_once.setdefault(folder.path.resolve(), folder)
    if not each_once:
        raise no_runs(runs)
    records, faults = read_runs(list(each_once.values()), ring)
    there = {record.manifest.run_id for record in records}
    left_out = {}
    for name, place in places.items():
        with contextlib.suppress(RunStateError):  # which is among the faults
            if (run_id := place.manifest.run_id) in there:
                left_out[run_id] = excluded[name]
    return BoardReading(tuple(records), tuple(faults), left_out)
