"""Cores and GPUs leased to one slot at a time, machine-wide: for whoever runs aira-bench on this machine, as any user.

Each core and each GPU has a file in one folder of the machine, and its lease is a lock on that file, which the kernel
takes back when the process ends, however it ends. The folder lies where every user may write and nobody may remove
what is not theirs; the files of leases are only ever locked, so a reader's permission is enough. A child of the
process does not keep a lease: locks are closed where a process is started, and given up in one that is forked.

Not covered: whose turn it is (`line`), what a killed process left running (`line` and `slots`), processes that are not
aira-bench (`aira_bench.sandbox.core_share` counts what they take), machines whose folders for locks are not shared
between containers in which this runs, and engines on other machines.
"""

import contextlib
import errno
import fcntl
import os
import stat
from pathlib import Path

from aira_bench.errors import MachineError, PrerequisiteError
from aira_bench.machine_failures import machine_failure

FOLDER_VARIABLE = "AIRA_LEASES"
_FOLDER = "aira-bench-leases"
_SHARED = (Path("/run/lock"), Path("/dev/shm"), Path("/tmp"))


def lease_folder() -> Path:
    """Return the machine's folder for leases: `AIRA_LEASES`, or one in the first folder that all users share."""
    if chosen := os.environ.get(FOLDER_VARIABLE):
        return Path(chosen)
    for shared in _SHARED:
        with contextlib.suppress(OSError):
            mode = shared.stat().st_mode
            if mode & stat.S_ISVTX and mode & stat.S_IWOTH:
                return shared / _FOLDER
    raise PrerequisiteError(
        f"There is no folder that all users share for the leases of cores: none of {', '.join(map(str, _SHARED))}.",
        hint=f"export {FOLDER_VARIABLE}=DIR, the same for all who run here",
    )


class Leases:
    """Locks of one party of this process on cores and GPUs. Not for several threads at once.

    Files stay open once they were looked at, so that looking again tells nobody anything: that a file of a lease is
    closed is how those who wait hear of a lease that came back (`bell`).
    """

    def __init__(self, folder: Path) -> None:
        """Make the folder if it is absent.

        Raises:
            PrerequisiteError: it cannot be made or used.
        """
        self.folder = folder
        self._open: dict[str, int] = {}
        self._held: set[str] = set()
        make_shared(folder)
        os.register_at_fork(after_in_child=self.release)

    def take(self, name: str) -> bool:
        """Whether a lease is ours now and was not before; False if another party has it.

        Raises:
            PrerequisiteError: the folder cannot be used.
        """
        if name in self._held:
            return False
        try:
            while True:
                if name not in self._open:
                    self._open[name] = opened(self.folder / name)
                fcntl.flock(self._open[name], fcntl.LOCK_EX | fcntl.LOCK_NB)
                if os.fstat(self._open[name]).st_nlink:
                    break
                os.close(self._open.pop(name))  # somebody cleared the folder: a lock on this file keeps nobody out
        except BlockingIOError:
            return False
        except OSError as error:
            raise unusable(self.folder, error) from error
        self._held.add(name)
        return True

    def put_back(self, name: str) -> None:
        """Give up one that was only looked at; nobody hears of it."""
        self._held.remove(name)
        fcntl.flock(self._open[name], fcntl.LOCK_UN)

    def give_back(self, name: str) -> None:
        """Let others have one that is ours, and hear of it."""
        self.put_back(name)  # at once, even where a child that is being started still has the file open
        os.close(self._open.pop(name))

    def release(self) -> None:
        """Give all of them up. Safe to call twice, and in a fork: what its parent has stays the parent's."""
        open_files, self._open, self._held = self._open, {}, set()
        for descriptor in open_files.values():
            os.close(descriptor)


def make_shared(folder: Path) -> None:
    """Make a folder in which every user may write, and nobody remove what is not theirs, unless it is there.

    Raises:
        PrerequisiteError: it cannot be made.
    """
    try:
        folder.mkdir()
        folder.chmod(0o1777)
    except FileExistsError:
        pass
    except OSError as error:
        raise unusable(folder, error) from error


def opened(path: Path) -> int:
    """Open a file for its lock. It may be another user's, which the kernel opens for nobody who would create it."""
    flags = os.O_RDONLY | os.O_CLOEXEC | os.O_NOFOLLOW | os.O_NONBLOCK
    while True:
        try:
            descriptor = os.open(path, flags)
            break
        except FileNotFoundError:
            with contextlib.suppress(FileExistsError):
                os.close(os.open(path, os.O_WRONLY | os.O_CREAT | os.O_EXCL | os.O_CLOEXEC, 0o644))
                path.chmod(0o644)  # whatever the umask
    if not stat.S_ISREG(os.fstat(descriptor).st_mode):
        os.close(descriptor)
        raise OSError(f"{path.name} is no plain file")
    return descriptor


def unusable(folder: Path, error: OSError) -> MachineError | PrerequisiteError:
    """What a folder of leases that cannot be used is: the machine's failure, or one of its set-up."""
    if error.errno != errno.EROFS and (failure := machine_failure(error, folder)) is not None:
        return failure
    return PrerequisiteError(
        f"Cores cannot be leased in {folder}: {error.strerror or error}.",
        hint=f"ls -la {folder}; or export {FOLDER_VARIABLE}=DIR, the same for all who run here",
    )
