"""Entries of the machine's line for places: a file for each process that uses, keeps or awaits some.

An entry is locked by its process for as long as that lives, so an entry that can be locked is a dead process's. It is
made under a hidden name and gets its own when it is locked; it loses its name before it loses its lock. What a dead
process used may still be used by its containers, which outlive it.

What other processes wrote is data of strangers: read up to a bound, checked, and believed to say what they want; they
could as well hold every lease. Whoever reads or writes holds the lock of the line (`line`).

Not covered: who is served (`line`).
"""

import contextlib
import fcntl
import os
import secrets
from dataclasses import dataclass
from pathlib import Path
from typing import Annotated
from urllib.parse import quote, unquote

from pydantic import BaseModel, ConfigDict, Field, ValidationError

from aira_bench.runs.leases import make_shared, unusable
from aira_bench.sandbox.owner import is_dead, this_process

_MOST_BYTES = 1 << 20
_SEPARATOR, _UNMADE = "~", "."
Name = Annotated[str, Field(pattern=r"^(core|gpu)-[A-Za-z0-9_-]{1,100}$")]


class Standing(BaseModel):
    """What one process has, and what it waits for."""

    model_config = ConfigDict(extra="forbid", frozen=True)

    since_ns: int | None = None
    """When it began to wait, on the machine's monotonic clock; None if it waits for nothing that others have."""
    wants: tuple[frozenset[Name], ...] = ()
    """What makes a place, of which any would do."""
    uses: frozenset[Name] = frozenset()
    """What its containers may work on; some of it may be given back meanwhile."""
    keeps: frozenset[Name] = frozenset()
    """What of that it does not give back soon."""


@dataclass(frozen=True)
class Dead:
    """The entry of a process that is no more."""

    name: str
    owner: str
    """The process, as its containers are labelled (`aira_bench.sandbox.owner`)."""
    uses: frozenset[str] | None
    """What its containers may work on still; None where it ended while it wrote that."""


class Entries:
    """The entries of all processes, one of them ours."""

    def __init__(self, folder: Path) -> None:
        """Make the folder if it is absent, and an entry in it.

        Raises:
            PrerequisiteError: the folder cannot be used.
        """
        self._folder = folder
        make_shared(folder)
        self._ours = folder / f"{quote(this_process(), safe='')}{_SEPARATOR}{secrets.token_hex(4)}"
        unmade = folder / f"{_UNMADE}{self._ours.name}"
        flags = os.O_RDWR | os.O_CREAT | os.O_EXCL | os.O_CLOEXEC
        try:
            self._file: int | None = os.open(unmade, flags, 0o644)
            fcntl.flock(self._file, fcntl.LOCK_EX | fcntl.LOCK_NB)
            unmade.chmod(0o644)  # whatever the umask
            self.write(Standing())
            unmade.rename(self._ours)
        except OSError as error:
            raise unusable(folder, error) from error
        os.register_at_fork(after_in_child=self._forget)

    def write(self, standing: Standing) -> None:
        """Say where we stand. Does nothing once closed.

        Raises:
            PrerequisiteError: the folder cannot be used.
        """
        if self._file is None:
            return
        text = standing.model_dump_json().encode()
        try:
            os.pwrite(self._file, text, 0)
            os.ftruncate(self._file, len(text))
        except OSError as error:
            raise unusable(self._folder, error) from error

    def others(self) -> tuple[dict[str, Standing], list[Dead]]:
        """Return where the others stand that live, by name of the entry, and the entries of the dead.

        Raises:
            PrerequisiteError: the folder cannot be read.
        """
        live: dict[str, Standing] = {}
        dead: list[Dead] = []
        try:
            found = [path.name for path in self._folder.iterdir() if path != self._ours]
        except OSError as error:
            raise unusable(self._folder, error) from error
        for name in sorted(name for name in found if not name.startswith(_UNMADE)):
            with contextlib.suppress(OSError):  # gone in this moment, or nothing that an entry can be
                standing, ended = self._read(name)
                if ended:
                    dead.append(Dead(name, _owner(name), None if standing is None else standing.uses))
                elif standing is not None:
                    live[name] = standing
        return live, dead

    def remove(self, name: str) -> None:
        """Remove a dead process's entry, where that is ours to remove."""
        with contextlib.suppress(OSError):
            (self._folder / name).unlink(missing_ok=True)

    def close(self) -> None:
        """Remove our entry. Safe to call twice."""
        file, self._file = self._file, None
        if file is not None:
            with contextlib.ExitStack() as at_end:
                at_end.callback(os.close, file)
                for _ in range(2):  # it goes last of all that a command does, and nobody comes back for it: a signal
                    at_end.callback(self.remove, self._ours.name)  # or a disk's moment may cut the first short

    def _forget(self) -> None:
        """In a fork: the entry stays the parent's."""
        file, self._file = self._file, None
        if file is not None:
            os.close(file)

    def _read(self, name: str) -> tuple[Standing | None, bool]:
        file = os.open(self._folder / name, os.O_RDONLY | os.O_CLOEXEC | os.O_NOFOLLOW | os.O_NONBLOCK)
        try:
            try:
                fcntl.flock(file, fcntl.LOCK_SH | fcntl.LOCK_NB)
                ended = True
                if not os.fstat(file).st_nlink:
                    raise FileNotFoundError(name)  # left the line in this moment, and says nothing of its process
            except BlockingIOError:
                ended = False
            return _standing(os.read(file, _MOST_BYTES)), ended
        finally:
            os.close(file)


def dead_entries(folder: Path) -> list[Path]:
    """Return the entries in a folder whose processes are seen to be dead; none where the folder cannot be read.

    Once the engine was swept of what they had left, they say nothing more and may be removed; so may those that were
    never made to the end.
    """
    try:
        return [path for path in sorted(folder.iterdir()) if is_dead(_owner(path.name))]
    except OSError:
        return []


def _owner(name: str) -> str:
    return unquote(name.rpartition(_SEPARATOR)[0].removeprefix(_UNMADE))


def _standing(text: bytes) -> Standing | None:
    try:
        return Standing.model_validate_json(text)
    except ValidationError:
        return None
