"""The files that one step left, each with whether it is still what was recorded; and which of them is which.

Whoever wrote them may be anybody: no link is followed, nothing is read beyond a bound, and names are for `escaping`.

Not covered: what is in them (`artifact`, `opened`).
"""

from dataclasses import dataclass
from pathlib import Path, PurePosixPath
from typing import Literal

from aira_bench.files import Unacceptable, entries_below, hash_file, kind_of, read_file
from aira_bench.record.folder import MOST_TEXT_BYTES
from aira_bench.record.journal import StepEnded
from aira_bench.record.salvage import SeedRemains
from aira_contract.files import ARCHITECTURE_FILE, CLAIM_FILE, MODULE_FILE, SCRIPT_FILE

FileState = Literal["as recorded", "not recorded", "replaced", "missing", "not compared", "unreadable"]
SOLUTION, STDOUT, STDERR = "solution.py", "stdout.txt", "stderr.txt"
_KNOWN_ARTIFACTS = (ARCHITECTURE_FILE, MODULE_FILE, SCRIPT_FILE)
_NO_ARTIFACT = frozenset({SOLUTION, STDOUT, STDERR, CLAIM_FILE})
_CONFIRMED = "hidden/confirmed"
_MOST_ENTRIES = 10_000
_MOST_HASHED_BYTES = 2**30
"""Of one file, for a look; `status RUN` hashes whatever is there."""


@dataclass(frozen=True)
class StepFile:
    """One file of a step."""

    path: str
    """Below the folder of the seed, as whoever wrote it named it."""
    size_bytes: int | None
    """None of a file that is missing or cannot be looked at."""
    state: FileState
    detail: str = ""
    """Why it is not as it should be, where there is more to say."""

    @property
    def name(self) -> str:
        """The last part of its path."""
        return PurePosixPath(self.path).name


def step_files(seed: SeedRemains, step: StepEnded) -> tuple[list[StepFile], list[str]]:
    """Return every file of a step, by path, and what kept others from being listed.

    Args:
        seed: whose step it is.
        step: its line in the journal, with hashes where the run is signed.
    """
    root, found, faults = seed.folder.path, dict[str, StepFile](), list[str]()
    for folder in (*seed.folder.step_folders(step.node.step), _CONFIRMED):
        try:
            for name, mode in entries_below(root, PurePosixPath(folder), _MOST_ENTRIES):
                if folder != _CONFIRMED:
                    found[name] = _looked_at(root, name, mode, step.files.get(name))
                elif name.removeprefix(f"{_CONFIRMED}/")[:5] in (f"{step.node.step:04d}/", f"{step.node.step:04d}-"):
                    found[name] = StepFile(name, _size(root, name), "not compared", "it is of a confirmation")
        except Unacceptable as error:
            faults.append(f"{folder}: {error}.")
    for name in step.files:
        if name not in found:
            found[name] = StepFile(name, None, "missing")
    return [found[name] for name in sorted(found)], faults


def artifact_of(seed: SeedRemains, step: StepEnded, files: list[StepFile]) -> StepFile | None:
    """Return which of a step's files is what it submitted; None where nothing was judged, or the file is lost.

    The journal has the hash of it, not the name, which is the task's: it is the file of that hash, and in a run that
    recorded no hashes of files the one of a known name, or the only one that is nothing else.
    """
    if step.node.artifact_sha256 is None:
        return None
    at = PurePosixPath(f"nodes/{step.node.step:04d}")
    beside = [each for each in files if PurePosixPath(each.path).parent == at and each.name not in _NO_ARTIFACT]
    for each in beside:
        if step.files.get(each.path) == step.node.artifact_sha256:
            return each
    known = [each for each in beside if each.name in _KNOWN_ARTIFACTS]
    chosen = known or beside
    return chosen[0] if len(chosen) == 1 else None


def read_step_file(seed: SeedRemains, file: StepFile) -> bytes:
    """Return what is in a file of a step, whatever its state, within `MOST_TEXT_BYTES`.

    Raises:
        Unacceptable: it is missing, no plain file, or too large.
    """
    try:
        return read_file(seed.folder.path, file.path, MOST_TEXT_BYTES)
    except FileNotFoundError:
        raise Unacceptable("it is missing") from None


def absolute(seed: SeedRemains, file: StepFile) -> Path:
    """Return where a file of a step lies."""
    return seed.folder.path / file.path


def _looked_at(root: Path, name: str, mode: int, recorded: str | None) -> StepFile:
    size = _size(root, name)
    if recorded is None:
        return StepFile(name, size, "not recorded")
    if size is not None and size > _MOST_HASHED_BYTES:
        return StepFile(name, size, "not compared", "it is large")
    try:
        same = hash_file(root, name, _MOST_HASHED_BYTES) == recorded
    except FileNotFoundError:
        return StepFile(name, None, "missing")
    except Unacceptable as error:
        return StepFile(name, size, "unreadable", f"{kind_of(mode)}; {error}")
    return StepFile(name, size, "as recorded" if same else "replaced")


def _size(root: Path, name: str) -> int | None:
    try:
        return (root / name).lstat().st_size
    except (OSError, ValueError):
        return None
