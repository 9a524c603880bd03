"""Tells failures of the machine from defects of ours: full disks, missing descriptors, threads that cannot start.

The operating system reports such states through whatever was called last, under many names and often inside the
exception of a library. Here they become one error, `MachineError`, so that nothing takes them for a verdict about a
file, a container or a model.

Not covered: what the engine and the providers of models say themselves.
"""

import contextlib
import errno
import os
import re
import shutil
from collections.abc import Iterator
from pathlib import Path

from aira_bench.errors import MachineError

_STATES = {
    errno.ENOSPC: ("the disk is full", "df -h {place}"),
    errno.EDQUOT: ("the disk quota is used up", "df -h {place}"),
    errno.EFBIG: ("the file may not grow further", "ulimit -f"),
    errno.EROFS: ("the file system is read-only", "mount | grep ro,"),
    errno.EIO: ("the disk reports an input/output error", "dmesg | tail"),
    errno.EUCLEAN: ("the file system is damaged", "dmesg | tail"),
    errno.ESTALE: ("the network file system lost the file", "df -h {place}"),
    errno.ENOLCK: ("the system has no file locks left", "cat /proc/locks"),
    errno.EMFILE: ("the process has no file descriptors left", "ulimit -n"),
    errno.ENFILE: ("the system has no file descriptors left", "cat /proc/sys/fs/file-nr"),
    errno.ENOMEM: ("the machine has no memory left", "free -h"),
}  # fmt: skip
_THREADS = ("the process may start no more threads or processes", "ulimit -u")
_NO_THREAD = "can't start new thread"
"""What CPython's RuntimeError says, the one failure of the system that has no class of its own."""
_IN_TEXT = re.compile(r"\[Errno (\d+)\]")


def machine_failure(error: BaseException, place: Path | None = None) -> MachineError | None:
    """Return the state of the machine that an exception tells of, itself or as its cause; None if there is none.

    What an exception was raised in place of, `from None`, is no cause of it. `place` is named where the exception names
    no file.
    """
    if isinstance(error, BlockingIOError):  # of a new process; as a mere cause it may be a socket's
        return _halted(*_THREADS, place)
    seen: list[BaseException] = []
    cause: BaseException | None = error
    while cause is not None and cause not in seen:
        found = _failure(cause, place)
        if found is not None:
            return found
        seen.append(cause)
        cause = cause.__cause__ or (None if cause.__suppress_context__ else cause.__context__)
    return None


def _failure(error: BaseException, place: Path | None) -> MachineError | None:
    if isinstance(error, MachineError):
        return error
    if isinstance(error, MemoryError):
        return _halted(*_STATES[errno.ENOMEM], place)
    if isinstance(error, RuntimeError) and _NO_THREAD in str(error):
        return _halted(*_THREADS, place)
    number = _number_of(error) if isinstance(error, OSError) else None
    if isinstance(error, OSError) and number in _STATES:
        return _halted(*_STATES[number], _path_of(error) or place)
    return None


def _number_of(error: OSError) -> int | None:
    """The system's number of an error. `shutil` keeps those of the files it could not copy as text."""
    if isinstance(error, shutil.Error):
        found = _IN_TEXT.search(str(error))
        return int(found[1]) if found else None
    return error.errno


def _halted(state: str, remedy: str, place: Path | None) -> MachineError:
    where = f"{place}: " if place else ""
    return MachineError(
        f"The machine failed: {where}{state}. What is recorded is safe.", hint=remedy.format(place=place or ".")
    )


def _path_of(error: OSError) -> Path | None:
    name = error.filename
    return Path(os.fsdecode(name)) if isinstance(name, str | bytes | os.PathLike) else None


@contextlib.contextmanager
def machine_failures(*folders: Path) -> Iterator[None]:
    """Raise what befalls the machine, or files below `folders` in whatever way, as a `MachineError`."""
    try:
        yield
    except (OSError, MemoryError, RuntimeError) as error:
        failure = machine_failure(error, folders[0]) or _of_a_file(error, folders)
        if failure is None:
            raise
        raise failure from error


def _of_a_file(error: BaseException, folders: tuple[Path, ...]) -> MachineError | None:
    """A folder that somebody moved, closed or replaced while it was worked in."""
    path = _path_of(error) if isinstance(error, OSError) else None
    if path is None or not isinstance(error, OSError) or not any(map(path.is_relative_to, folders)):
        return None
    return MachineError(f"The machine failed: {path}: {error.strerror}. What is recorded is safe.", hint="df -h")


@contextlib.contextmanager
def about(path: Path) -> Iterator[None]:
    """Give an `OSError` of a call that knows only a descriptor the name of its file."""
    try:
        yield
    except OSError as error:
        if error.filename is None and error.errno is not None:
            error.filename = str(path)
        raise
