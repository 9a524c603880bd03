"""What is said of a unit, number after number of its succession, as whoever looks at a run reads it.

Not covered: who may say it (`lease`).
"""

import json
from collections.abc import Collection
from dataclasses import asdict, replace
from pathlib import Path
from typing import Annotated, Literal, TypeVar

from pydantic import ConfigDict, Field, TypeAdapter
from pydantic.dataclasses import dataclass as checked_dataclass

from aira_bench.errors import RunStateError
from aira_bench.files import parse_json
from aira_bench.sandbox.owner import is_dead
from aira_bench.shared_store.places import store_of
from aira_bench.shared_store.store import SharedStore
from aira_bench.shared_store.succession import Numbered, Succession
from aira_bench.world import World

FOLDER = "leases"
"""Of a run: what its workers agree through. A run that has none is worked on by one process, which locks it."""
MOST_HALTS = 3
"""So many attempts that halted without a finished step: others would fare no better, until the user says otherwise."""

State = Literal["held", "released", "halted", "over"]
_HALTED: tuple[State, ...] = ("halted",)


@checked_dataclass(frozen=True, config=ConfigDict(extra="forbid"))
class LeaseEntry:
    """What one number of a unit's succession says."""

    state: State
    attempt: Annotated[int, Field(ge=1)]
    worker: str
    """An identifier of the worker's own, so that no two ask with the same words."""
    owner: str
    """Its process (`aira_bench.sandbox.owner`)."""
    host: str
    at: str
    """By the clock of that host, for people."""
    fork: int = Field(default=1, ge=1)
    """The newest copy of the unit that was known, which is where a unit that was given back goes on."""
    halts: int = Field(default=0, ge=0)
    """How many attempts before, this one included, halted since a step was finished."""
    why: str = ""
    """What it halted for, or was given back for."""
    status: int = Field(default=0, ge=0, le=255)
    """The exit status that says the same."""
    alone: bool = True
    """Whether nobody but the attempt can write to copy `fork`. It is not while whoever was silent before may wake up,
    until somebody has made a copy of its own; giving the unit back does not change that."""


_ENTRY: TypeAdapter[LeaseEntry] = TypeAdapter(LeaseEntry)
Read = TypeVar("Read")


def lease_store(run: Path) -> SharedStore:
    """Return what the workers of a run agree through."""
    return store_of(run, FOLDER)


def last_entry(store: SharedStore, seed: int) -> LeaseEntry | None:
    """Return what is said last of a unit, as far as can be seen; None where it was nobody's yet.

    Raises:
        RunStateError: it cannot be read.
    """
    found = Succession(store, str(seed)).last()
    return None if found is None else read_entry(found, seed)


def reopen_unit(run: Path, seed: int, world: World, states: Collection[State] = _HALTED) -> None:
    """Let a unit be taken again that halted too often, or is in another of the `states` that nobody takes it in.

    Raises:
        RunStateError: what stands there cannot be read.
        MachineError: the storage failed.
    """
    succession = Succession(lease_store(run), str(seed))
    last = succession.last()
    if last is not None and (entry := read_entry(last, seed)).state in states:
        again = replace(entry, state="released", halts=0, worker=world.new_id(), at=world.now().isoformat())
        succession.claim(last.number + 1, written(again))


def looks_alive(run: Path, seed: int, entry: LeaseEntry, dead_after_s: float, now_s: float) -> bool:
    """Whether the holder of a unit seems to live, for people: by a glance at one moment nobody can know.

    Args:
        run: its folder.
        seed: the unit.
        entry: the last that can be seen.
        dead_after_s: of the run's terms.
        now_s: seconds of the epoch; another machine's clock may say otherwise.
    """
    if entry.state != "held" or is_dead(entry.owner):
        return False
    try:
        beat = (run / FOLDER / beat_name(seed, entry.attempt)).lstat().st_mtime
    except OSError:
        return False
    return abs(now_s - beat) < 2 * dead_after_s


def may_be_alive(entry: LeaseEntry) -> bool:
    """Whether a unit is held, and its holder not certainly dead."""
    return entry.state == "held" and not is_dead(entry.owner)


def beat_name(seed: int, attempt: int) -> str:
    """Return the name of the heartbeat of one attempt at a unit."""
    return f"{seed}/beat-{attempt}"


def read_entry(found: Numbered, seed: int) -> LeaseEntry:
    """Return what one number of a unit's succession says.

    Raises:
        RunStateError: it cannot be read.
    """
    return read_checked(_ENTRY, found.data, f"{seed}/{found.number}")


def written(entry: LeaseEntry) -> bytes:
    """Return an entry as the succession holds it."""
    return json.dumps(asdict(entry), separators=(",", ":")).encode("ascii")


def read_checked(adapter: TypeAdapter[Read], data: bytes, name: str) -> Read:
    """Return what a file of the leases holds.

    Args:
        adapter: of what it has to be.
        data: its bytes.
        name: of the file, below the folder of leases.

    Raises:
        RunStateError: it is something else.
    """
    try:
        parse_json(data)  # refuses what pydantic takes: keys twice, numbers without bounds
        return adapter.validate_json(data, strict=True)
    except ValueError as error:
        raise RunStateError(f"{FOLDER}/{name} is no lease of this version: {str(error).splitlines()[0]}.") from error
