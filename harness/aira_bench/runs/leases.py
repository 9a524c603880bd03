"""Cores and GPUs leased to one run at a time, machine-wide: for whoever runs aira-bench on this machine, as any user.

Each core and each GPU has a file in one folder of the machine, and its lease is a lock on that file, which the kernel
takes back when the process ends, however it ends. The folder lies where every user may write and nobody may remove
what is not theirs; files are only ever locked, never written, so a reader's permission is enough. A child of the
process does not keep a lease: locks are closed where a process is started, and given up in one that is forked.

A run takes as many cores for a slot as it would alone, because fixed time on fewer cores trains less. Where others
hold some, it has fewer slots and says so; where not one slot is left, it waits.

Not covered: processes that are not aira-bench (`aira_bench.sandbox.core_share` counts what they take), machines whose
folders for locks are not shared between containers in which this runs, and engines on other machines.
"""

import contextlib
import errno
import fcntl
import os
import re
import stat
import time
from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass
from pathlib import Path

from aira_bench.errors import MachineError, PrerequisiteError
from aira_bench.machine_failures import machine_failure
from aira_bench.waiting import Waits

FOLDER_VARIABLE = "AIRA_LEASES"
_FOLDER = "aira-bench-leases"
_SHARED = (Path("/run/lock"), Path("/dev/shm"), Path("/tmp"))
_LOOKING = "looking"


@dataclass(frozen=True)
class Wanted:
    """What a run would have on this machine alone."""

    cores: Sequence[int]
    """Which it may use."""
    slots: int
    """Steps at a time."""
    gpus: Sequence[str] = ()
    """UUIDs of those it may use; one for each slot. None where its profile uses none."""
    most_cores: int | None = None
    """How many of the cores it uses; None for all."""

    @property
    def core_count(self) -> int:
        """How many cores it has alone."""
        return len(self.cores) if self.most_cores is None else min(self.most_cores, len(self.cores))

    @property
    def slots_alone(self) -> int:
        """How many slots it has alone."""
        return min(self.slots, len(self.gpus)) if self.gpus else self.slots

    @property
    def cores_a_slot(self) -> int:
        """How many cores a slot has alone; 1 also where slots share cores."""
        return max(1, self.core_count // self.slots_alone)

    @property
    def shares_cores(self) -> bool:
        """Whether more slots than cores were asked for: then slots share them."""
        return self.slots_alone > self.core_count


@dataclass(frozen=True)
class Place:
    """The cores, and the GPU, of one slot."""

    cores: tuple[int, ...]
    gpu: str | None = None


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
    """Locks of this process on cores and GPUs. Not for several threads at once."""

    def __init__(self, folder: Path) -> None:
        """Make the folder if it is absent.

        Raises:
            PrerequisiteError: it cannot be made or used.
        """
        self._folder = folder
        self._held: dict[str, int] = {}
        try:
            folder.mkdir()
            folder.chmod(0o1777)
        except FileExistsError:
            pass
        except OSError as error:
            raise _unusable(folder, error) from error
        os.register_at_fork(after_in_child=self.release)

    def take(self, name: str) -> bool:
        """Whether a lease is ours now; False if another run has it.

        Raises:
            PrerequisiteError: the folder cannot be used.
        """
        try:
            descriptor = _opened(self._folder / name)
        except OSError as error:
            raise _unusable(self._folder, error) from error
        try:
            fcntl.flock(descriptor, fcntl.LOCK_EX | fcntl.LOCK_NB)
        except BlockingIOError:
            os.close(descriptor)
            return False
        except BaseException:
            os.close(descriptor)
            raise
        self._held[name] = descriptor
        return True

    def give_back(self, name: str) -> None:
        """Let others have one that is ours."""
        os.close(self._held.pop(name))

    def release(self) -> None:
        """Give all of them up. Safe to call twice, and in a fork: what its parent has stays the parent's."""
        held, self._held = self._held, {}
        for descriptor in held.values():
            os.close(descriptor)


def _opened(path: Path) -> int:
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


def _unusable(folder: Path, error: OSError) -> MachineError | PrerequisiteError:
    """What a folder of leases that cannot be used is: the machine's failure, or one of its set-up."""
    if error.errno != errno.EROFS and (failure := machine_failure(error, folder)) is not None:
        return failure
    return PrerequisiteError(
        f"Cores cannot be leased in {folder}: {error.strerror or error}.",
        hint=f"ls -la {folder}; or export {FOLDER_VARIABLE}=DIR, the same for all who run here",
    )


@contextlib.contextmanager
def leased(
    wanted: Wanted, waits: Waits, note: Callable[[str], None], *, most: int | None = None, folder: Path | None = None
) -> Iterator[list[Place]]:
    """Hold the places of a run's slots; wait while there is none.

    Args:
        wanted: what it would have alone.
        waits: ends when the run is stopped, and says what is waited for.
        note: told where there are fewer places than alone.
        most: places, if it needs fewer than it would have.
        folder: of the leases; None for the machine's.

    Raises:
        Stopped: the run was stopped before there was a place.
        PrerequisiteError: the folder cannot be used.
    """
    leases = Leases(lease_folder() if folder is None else folder)
    most = wanted.slots_alone if most is None else most
    try:
        said = f"waiting for {_told(wanted)}: other runs of this machine have them; --cores and --gpus choose others"
        places = waits.obtain(lambda seconds: _look(leases, wanted, most, seconds), "cores", said)
        if len(places) < most:
            note(f"other runs have leased cores or GPUs: {len(places)} steps at a time, {most} alone")
        yield places
    finally:
        leases.release()


def _look(leases: Leases, wanted: Wanted, most: int, seconds: float) -> list[Place] | None:
    """Take the places that are free, after a pause; None if there is none, or somebody else is looking just now."""
    time.sleep(seconds)
    if not leases.take(_LOOKING):  # two that each took half of what is free would both have nothing
        return None
    gpus = [gpu for gpu in wanted.gpus if leases.take(_gpu(gpu))]
    cores = [core for core in wanted.cores if leases.take(_core(core))]
    places = deal(wanted, cores, gpus)[:most]
    used_cores, used_gpus = {core for place in places for core in place.cores}, {place.gpu for place in places}
    for name in [_LOOKING, *(_core(each) for each in cores if each not in used_cores),
                 *(_gpu(each) for each in gpus if each not in used_gpus)]:  # fmt: skip
        leases.give_back(name)
    return places or None


def deal(wanted: Wanted, cores: Sequence[int], gpus: Sequence[str]) -> list[Place]:
    """Return the places that free cores and GPUs make: all alike, each with as many cores as it would have alone.

    Where more slots than cores are wanted, slots share cores: no more of them share one than would alone.
    """
    if wanted.gpus and not gpus:
        return []
    most = min(wanted.slots_alone, len(gpus)) if wanted.gpus else wanted.slots_alone
    if wanted.shares_cores:
        shared = cores[: wanted.core_count]
        count = min(most, wanted.slots_alone * len(shared) // wanted.core_count)
        dealt = [shared[index % len(shared) :][:1] for index in range(count)]
    else:
        share = wanted.cores_a_slot
        count = min(most, len(cores) // share)
        dealt = [cores[index * share : (index + 1) * share] for index in range(count)]
    return [Place(tuple(each), gpus[index] if wanted.gpus else None) for index, each in enumerate(dealt)]


def _told(wanted: Wanted) -> str:
    cores = ", ".join(map(str, wanted.cores))
    return f"{wanted.cores_a_slot} of the cores {cores}" + (
        f" and one of {len(wanted.gpus)} GPUs" if wanted.gpus else ""
    )


def _core(core: int) -> str:
    return f"core-{core}"


def _gpu(uuid: str) -> str:
    return "gpu-" + re.sub(r"[^A-Za-z0-9-]", "_", uuid)
