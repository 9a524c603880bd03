"""Small whole objects that workers on several machines share, by four operations that a folder and a bucket both have.

A name made by `create` holds the same bytes for ever, and of all that ask to make it exactly one does. That is the one
operation on which agreement rests: a succession of numbered names (`succession`) is as good as compare-and-swap, so
`put-if-match` is not needed. What `put` wrote is a hint: readers may see an older one for a while.

Not covered: large files, locks, and what the objects mean.
"""

from collections.abc import Callable
from dataclasses import dataclass
from typing import Protocol, TypeVar

from aira_bench.errors import MachineError

MOST_BYTES = 1 << 22
"""Of one object."""
_PAUSES_S = (0.1, 0.5, 2.0, 5.0)
Found = TypeVar("Found")


class SharedStore(Protocol):
    """Objects below one root. A name is a relative path of plain parts, none of which begins with a dot.

    Every operation may raise `MachineError`: the storage failed, and whether the operation took effect is not known.
    All of them may be asked again with the same bytes.
    """

    def create(self, name: str, data: bytes) -> bytes:
        """Make an object unless it is there, and return what it holds now and for ever.

        Whoever finds its own bytes has made it, also where an earlier answer was lost; so bytes that tell who won must
        be unlike anybody else's (an owner's identifier of its own).
        """
        ...

    def get(self, name: str) -> bytes | None:
        """Return an object's bytes. A missing one may have been made a while ago, unless this client heard so.

        An object that was `put` may be an older one, but is always a whole one.
        """
        ...

    def put(self, name: str, data: bytes) -> None:
        """Make or replace an object as a whole. It may be lost with the machine: for what can be told again."""
        ...

    def names(self, folder: str) -> list[str]:
        """Return the last parts of the names directly in a folder, sorted. New ones may be missing for a while."""
        ...

    def remove(self, name: str) -> None:
        """Remove an object if it is there. Never one that a succession stands on."""
        ...


def check_object(name: str, data: bytes = b"") -> None:
    """Refuse what is no name of an object, or more than one may hold.

    Raises:
        ValueError: it is one of these, which is a defect of ours.
    """
    if any(not part or part.startswith(".") for part in name.split("/")):
        raise ValueError(f"no name of a shared object: {name!r}")
    if len(data) > MOST_BYTES:
        raise ValueError(f"{name} has {len(data):,} bytes, at most {MOST_BYTES:,} are kept")


@dataclass(frozen=True)
class Stubborn:
    """Asks a store again while it fails, some eight seconds long: what was paid for has to be recorded."""

    pause: Callable[[float], None]

    def __call__(self, ask: Callable[[], Found]) -> Found:
        """Return what `ask` does.

        Raises:
            MachineError: of the last try.
        """
        for pause_s in _PAUSES_S:
            try:
                return ask()
            except MachineError:
                self.pause(pause_s)
        return ask()
