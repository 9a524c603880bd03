"""Folders and files that are not finished yet, and what a dead process left of them.

Who works on one holds the lock of a file beside it, which the kernel drops with the process, however that ends, and
also where several machines share the disk. So whoever gets such a lock without having made it knows that its owner is
dead, and what it names may go; what is merely old may not.

Not covered: containers and volumes, which have no lock to hold (`aira_bench.sandbox.leftovers`), and downloads, which
go on where they stopped (`aira_bench.tasks.download`).
"""

import contextlib
import fcntl
import math
import os
import shutil
import time
from collections.abc import Callable, Iterator
from pathlib import Path

TEMPORARY = ".tmp"
"""How the names of files end that `aira_bench.files.write_atomically` has not renamed yet."""
_STAGING, _LOCK = ".staging", ".lock"
_POLL_S = 0.2
_BEFORE_ITS_LOCK_S = 10.0
"""A temporary file is there a moment before it is locked: younger ones are let be."""


@contextlib.contextmanager
def only_one(lock: Path, waiting: Callable[[], None] = lambda: None) -> Iterator[None]:
    """Let one process at a time through. The file `lock` is there only meanwhile.

    Args:
        lock: a file in a folder that is there.
        waiting: called once if another process has it; then this waits without end, as a signal's handler may end it.
    """
    descriptor = _take(lock)
    if descriptor is None:
        waiting()
    while descriptor is None:
        time.sleep(_POLL_S)
        descriptor = _take(lock)
    try:
        yield
    finally:
        lock.unlink(missing_ok=True)  # while it is held: whoever opened it meanwhile finds it gone, and makes its own
        os.close(descriptor)


@contextlib.contextmanager
def staging_folder(place: Path, new_id: str) -> Iterator[Path]:
    """A new folder beside `place` that nobody else can enter, removed in the end unless it was renamed.

    Args:
        place: what it is to become; its folder is there.
        new_id: tells it from those of other processes.
    """
    name = f".{place.name}.{new_id}"
    staging = place.with_name(f"{name}{_STAGING}")
    with only_one(place.with_name(f"{name}{_LOCK}")):
        staging.mkdir(mode=0o700)
        try:
            yield staging
        finally:
            shutil.rmtree(staging, ignore_errors=True)


def sweep_staging(folder: Path) -> int:
    """Remove the staging folders directly below `folder` that dead processes left; return how many there were."""
    hidden = [path.name for path in _entries(folder) if path.name.startswith(".")]
    names = {name.removesuffix(end) for name in hidden for end in (_STAGING, _LOCK) if name.endswith(end)}
    swept = 0
    for name in sorted(names):
        staging, lock = folder / f"{name}{_STAGING}", folder / f"{name}{_LOCK}"
        descriptor = _take(lock)
        if descriptor is None:
            continue
        swept += staging.is_dir()
        shutil.rmtree(staging, ignore_errors=True)
        lock.unlink(missing_ok=True)
        os.close(descriptor)
    return swept


def sweep_temporaries(folder: Path, *, alone: bool = False) -> int:
    """Remove the files below `folder` that dead processes did not come to rename; return how many there were.

    Args:
        folder: with all that is in it.
        alone: no other process writes there, since the caller holds the lock of it all.
    """
    swept = 0
    for here, _, names in os.walk(folder):
        for name in names:
            if name.startswith(".") and name.endswith(TEMPORARY):
                swept += _remove_unlocked(Path(here) / name, -math.inf if alone else _BEFORE_ITS_LOCK_S)
    return swept


def _take(lock: Path) -> int | None:
    """A descriptor that holds the lock, None if another has it."""
    while True:
        descriptor = os.open(lock, os.O_RDWR | os.O_CREAT | os.O_CLOEXEC | os.O_NOFOLLOW, 0o600)
        try:
            fcntl.flock(descriptor, fcntl.LOCK_EX | fcntl.LOCK_NB)
            if _names(lock, descriptor):
                return descriptor
        except BlockingIOError:
            os.close(descriptor)
            return None
        except BaseException:
            os.close(descriptor)
            raise
        os.close(descriptor)  # whoever held it has removed the file since


def _names(path: Path, descriptor: int) -> bool:
    try:
        return os.path.samestat(path.lstat(), os.fstat(descriptor))
    except FileNotFoundError:
        return False


def _remove_unlocked(path: Path, least_age_s: float) -> bool:
    with contextlib.suppress(OSError):
        descriptor = os.open(path, os.O_RDWR | os.O_CLOEXEC | os.O_NOFOLLOW | os.O_NONBLOCK)
        try:
            fcntl.flock(descriptor, fcntl.LOCK_EX | fcntl.LOCK_NB)
            if time.time() - os.fstat(descriptor).st_mtime >= least_age_s:
                path.unlink()
                return True
        finally:
            os.close(descriptor)
    return False


def _entries(folder: Path) -> list[Path]:
    return sorted(folder.iterdir()) if folder.is_dir() else []
