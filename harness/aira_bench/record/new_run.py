"""Makes the folder of a new run, whole or not at all.

It is made beside its place, as `<runs>/.new-<name>`, under the lock of a run, and moved there with its manifest in it.
So whatever dies on the way, there is a run of that name that can be resumed, or none. What a dead process left is swept
by the next that makes a run; what a live one is making is not.
"""

import contextlib
import fcntl
import os
import re
import shutil
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path

from aira_bench.errors import RunStateError, UsageError
from aira_bench.record.folder import UNFINISHED, RunFolder, is_run
from aira_bench.shared_store.places import typed

_NAME = re.compile(r"[A-Za-z0-9][A-Za-z0-9._-]{0,99}")


class BeingMade(UsageError):
    """Another process makes a run of the same name at this moment."""


@dataclass(frozen=True)
class NewRun:
    """A run that is being made."""

    folder: RunFolder
    """Where its files are written."""
    place: Path
    """Where it will be."""

    def publish(self) -> RunFolder:
        """Move the folder to its place; from then on it is a run.

        Raises:
            UsageError: somebody put something there meanwhile.
        """
        _require_free(self.place)
        try:
            self.folder.path.rename(self.place)
        except OSError as error:
            if os.path.lexists(self.place):
                raise _taken(self.place) from error
            raise
        with _opened(self.place.parent) as folder:
            os.fsync(folder)
        return RunFolder(self.place)


def require_plain_name(name: str, what: str = "a run") -> None:
    """Whether a name is one that a folder in the folder of runs can have, and leads nowhere else.

    Raises:
        UsageError: it is not.
    """
    if not _NAME.fullmatch(name):
        raise UsageError(f"{name!r} cannot name {what}: letters, digits, '.', '_' and '-' only.", hint="another --name")


def require_new_name(runs: Path, name: str) -> None:
    """Whether a run of that name could be made, before anything is built for it; it is asked again when it is made.

    Raises:
        UsageError: the name is not a plain file name, or is taken.
    """
    require_plain_name(name)
    _require_free(runs / name)


@contextlib.contextmanager
def making_run(runs: Path, name: str) -> Iterator[NewRun]:
    """Begin a new run and hold its lock; what was not published is removed.

    Raises:
        UsageError: the name is not a plain file name, or is taken.
    """
    require_new_name(runs, name)
    runs.mkdir(parents=True, exist_ok=True)
    place, made = runs / name, RunFolder(runs / f"{UNFINISHED}{name}")
    with _alone_in(runs) as alone:
        if alone:
            _sweep_dead(runs)
        _require_free(place)
        try:
            made.path.mkdir()
        except FileExistsError:
            raise BeingMade(
                f"A run named {name!r} is being made in {runs} by another process.", hint="another --name"
            ) from None
        lock = made.lock()
    try:
        yield NewRun(made, place)
    finally:
        shutil.rmtree(made.path, ignore_errors=True)  # nothing lies there once it is published
        os.close(lock)


def _require_free(place: Path) -> None:
    if os.path.lexists(place):
        raise _taken(place)


def _taken(place: Path) -> UsageError:
    if is_run(place):
        return UsageError(
            f"A run named {place.name!r} exists in {typed(place.parent)}.", hint=RunFolder(place).command("resume")
        )
    return UsageError(f"{place} exists, and is no run.", hint="another --name")


@contextlib.contextmanager
def _opened(folder: Path) -> Iterator[int]:
    descriptor = os.open(folder, os.O_RDONLY | os.O_DIRECTORY | os.O_CLOEXEC)
    try:
        yield descriptor
    finally:
        os.close(descriptor)


@contextlib.contextmanager
def _alone_in(runs: Path) -> Iterator[bool]:
    """Wait until no other process begins a run here, which takes milliseconds: between a new folder and its lock the
    folder of a live process would look like that of a dead one. False where a file system cannot lock folders.
    """
    with _opened(runs) as folder:
        try:
            fcntl.flock(folder, fcntl.LOCK_EX)
        except OSError:
            yield False
        else:
            yield True


def _sweep_dead(runs: Path) -> None:
    """Remove what processes that died left of runs they were making. Whoever lives holds the lock of his."""
    for path in runs.glob(f"{UNFINISHED}*"):
        if path.is_symlink() or not path.is_dir():
            continue
        with contextlib.suppress(RunStateError):
            lock = RunFolder(path).lock()
            shutil.rmtree(path, ignore_errors=True)
            os.close(lock)
