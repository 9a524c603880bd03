"""Takes runs out of packs of other machines, once everything in them agrees.

A pack is unpacked in a folder of its own beside the runs, each run is read as `aira-bench verify` does, with every file
that a step left, and held against the pack's record; each key must be known. Only then do the runs move to their
places.

Not covered: whether scores can be had again, which whoever merges may ask between the two (`aira_bench.runs.rescore`).
"""

import shutil
import tempfile
from collections.abc import Callable, Collection, Sequence
from dataclasses import dataclass, replace
from pathlib import Path

from aira_bench.errors import RunStateError
from aira_bench.keys import KeyRing
from aira_bench.packs.pack_file import PackIndex, unpack
from aira_bench.packs.submitting import vouched_files
from aira_bench.publication.document import BOARD_FILE
from aira_bench.publication.verification import read_board, read_evidence
from aira_bench.record.folder import RunFolder, is_run, list_runs
from aira_bench.record.run_record import RunRecord, read_run


@dataclass(frozen=True)
class Merged:
    """What became of one run of a pack."""

    run: str
    """Its name here."""
    run_id: str
    is_new: bool
    """Whether it was not here before."""


def merge(
    pack: Path,
    runs: Path,
    ring: KeyRing,
    named: Collection[str] = (),
    check: Callable[[Sequence[RunRecord]], object] = lambda records: None,
) -> list[Merged]:
    """Add the runs of a pack to a folder of runs; nothing is added unless all of it holds.

    Args:
        pack: the file.
        runs: the folder of run folders.
        ring: the keys that this machine knows.
        named: public keys that count as known for this pack.
        check: given the runs once they agree with the pack's record, and before any is added; raises what is wrong.

    Raises:
        RunStateError: it is no pack, its runs do not give its board, or a key is not known.
        AiraError: whatever `check` raises.
    """
    runs.mkdir(parents=True, exist_ok=True)
    with tempfile.TemporaryDirectory(prefix=".merge-", dir=runs) as temporary:
        place = Path(temporary)
        index = unpack(pack, place)
        if BOARD_FILE not in index.files:
            raise RunStateError(f"{pack} is no pack of runs: it has no {BOARD_FILE}.")
        known = replace(ring, seen=None, trusted=ring.trusted | set(named))
        board = read_board(place / BOARD_FILE)
        if not (place / "runs").is_dir():
            raise RunStateError(f"{pack} is no pack of runs: there is none in it.")
        records, found = read_evidence(board, place / "runs", known)
        packed = {path.name for path in (place / "runs").iterdir()}
        told = {run.name for run in board.told.runs}
        differences = [*found, *(f"run {name}: the pack's record does not name it" for name in packed - told)]
        if differences:
            raise RunStateError(f"Nothing of {pack} was merged: {'; '.join(differences[:5])}.")
        _require_vouched(pack, index, records)
        _plan(place / "runs", runs, ring)  # what cannot come need not be checked for hours
        check(records)
        planned = _plan(place / "runs", runs, ring)
        for name, merged in planned.items():
            if merged.is_new:
                shutil.move(place / "runs" / name, runs / merged.run)
        return list(planned.values())


def _require_vouched(pack: Path, index: PackIndex, records: Sequence[RunRecord]) -> None:
    """Raises RunStateError where a pack has a file that no record of its runs names: readers of a run would find it."""
    vouched = {BOARD_FILE, *(f"runs/{run.name}/{name}" for run in records for name, _ in vouched_files(run))}
    if unknown := sorted(index.files.keys() - vouched):
        raise RunStateError(f"Nothing of {pack} was merged: {unknown[0]} is a file that no record of its run names.")


def _plan(packed: Path, runs: Path, ring: KeyRing) -> dict[str, Merged]:
    """What is to become of each run of a pack, by its name there; raises RunStateError where one cannot come."""
    planned = {path.name: _planned(RunFolder(path), runs, ring) for path in sorted(packed.iterdir())}
    if len({each.run for each in planned.values()}) < len(planned):
        raise RunStateError("Nothing of the pack was merged: two of its runs would have one name here.")
    return planned


def _planned(packed: RunFolder, runs: Path, ring: KeyRing) -> Merged:
    """What is to become of a run; it is under its run id too where another has its name."""
    record = read_run(packed, replace(ring, seen=None), "records")
    run_id, name = record.manifest.run_id, packed.path.name
    here = _of_run_id(list_runs(runs), run_id)
    if here is not None:
        ours = read_run(here, ring, "records")
        if [seed.seal for seed in ours.seeds] != [seed.seal for seed in record.seeds]:
            raise RunStateError(
                f"Nothing of the pack was merged: run {here.path.name} has the run id of its {name}, and is another."
            )
        return Merged(here.path.name, run_id, is_new=False)
    if is_run(runs / name) or (runs / name).exists():
        name = f"{name[:80]}-{run_id[:12]}"
    if (runs / name).exists():
        raise RunStateError(
            f"Nothing of the pack was merged: there is no free name for run {packed.path.name} in {runs}."
        )
    return Merged(name, run_id, is_new=True)


def _of_run_id(folders: Sequence[RunFolder], run_id: str) -> RunFolder | None:
    for folder in folders:
        try:
            if folder.manifest.run_id == run_id:
                return folder
        except RunStateError:
            continue  # what cannot be read is in nobody's way
    return None
