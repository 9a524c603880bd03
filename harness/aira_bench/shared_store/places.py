"""Where the shared objects of a run are: in its folder, unless this process has it as a copy of one on object storage.

A copy is known by its path and in this process alone, so that no file in a run's folder leads anybody anywhere.

Not covered: the copies (`aira_bench.copies`).
"""

import contextlib
from collections.abc import Iterator
from pathlib import Path
from typing import Protocol

from aira_bench.shared_store.posix import PosixStore
from aira_bench.shared_store.store import SharedStore


class Elsewhere(Protocol):
    """Object storage of which a folder of runs is a copy."""

    def store(self, run: Path, folder: str) -> SharedStore:
        """Return the shared objects of a run's folder."""
        ...

    def typed(self, path: Path) -> str:
        """Return the address of what a path is the copy of."""
        ...


_COPIES: dict[Path, Elsewhere] = {}


@contextlib.contextmanager
def copies_of(place: Elsewhere, root: Path) -> Iterator[None]:
    """Have a folder of runs be the copy of a place while the block runs."""
    _COPIES[root.resolve()] = place
    try:
        yield
    finally:
        del _COPIES[root.resolve()]


def elsewhere(path: Path) -> Elsewhere | None:
    """Return the place that a folder is the copy of, itself or below one; None for one that is where it is."""
    if not _COPIES:
        return None
    found = path.resolve()
    return next((_COPIES[each] for each in (found, *found.parents) if each in _COPIES), None)


def typed(path: Path) -> str:
    """Return how a user names a folder: by its address where it is a copy."""
    place = elsewhere(path)
    return str(path) if place is None else place.typed(path)


def store_of(run: Path, folder: str) -> SharedStore:
    """Return what the workers of a run agree through, by the name of the folder in the run."""
    place = elsewhere(run)
    return PosixStore(run / folder) if place is None else place.store(run, folder)
