"""The lease of a unit, which is one seed of one run: who may append to it, and in which attempt.

Each change is the next number of a succession (`aira_bench.shared_store`), so of all workers that want a unit exactly
one gets it. What a number holds is a `LeaseEntry`: held, with the attempt's number and its owner; or given back,
halted, or over. One that is held is taken over where its process is known to be dead, which the same machine can tell,
or where its heartbeat was silent for `Terms.dead_after_s` by the observer's own clock. Of the latter nobody knows: it
may be paused, and go on. `Won.is_certain` says which it was, and whoever takes over an uncertain one works on a copy
(`aira_bench.record.forks`), so that whatever a late owner writes lands where no reader looks. It stays uncertain until
a copy was made, whoever has the unit then.

Not covered: what a unit holds (`aira_bench.record`), and which to take (`aira_bench.runs.units`).
"""

import contextlib
import threading
from collections.abc import Callable, Iterator
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Literal

from aira_bench.errors import AiraError
from aira_bench.excerpts import LINE_CHARS, NAME_CHARS
from aira_bench.leasing.entries import MOST_HALTS, LeaseEntry, State, beat_name, lease_store, read_entry, written
from aira_bench.leasing.terms import Terms
from aira_bench.sandbox.owner import is_dead, this_process
from aira_bench.shared_store.heartbeat import Heartbeat, Watch
from aira_bench.shared_store.store import SharedStore
from aira_bench.shared_store.succession import Numbered, Succession
from aira_bench.world import World

_BEATS = 12
"""In the time after which a silent owner counts as dead."""


class LeaseLost(Exception):
    """Another attempt has the unit; what this one still writes is read by nobody."""


@dataclass(frozen=True)
class Won:
    """A unit that is this worker's now."""

    lease: "Lease"
    is_certain: bool
    """Whether nobody else can write to it: it was free, or whoever had it is dead."""


@dataclass(frozen=True)
class Denied:
    """Why a unit is not to be had."""

    state: Literal["over", "halted", "held"]
    entry: LeaseEntry
    seen_alive: bool = False
    """Of one that is held: its counter was raised while this worker looked."""


class Lease:
    """The right of one attempt to append to one unit. `check` and `keep` may be called by several threads."""

    def __init__(
        self, store: SharedStore, seed: int, claim: Numbered, entry: LeaseEntry, terms: Terms, world: World
    ) -> None:
        """Of a claim that was won just now."""
        self.seed, self.entry = seed, entry
        self._store, self._claim, self._terms, self._world = store, claim, terms, world
        self._succession = Succession(store, str(seed))
        self._heart = Heartbeat(store, beat_name(seed, entry.attempt), entry.worker)
        self._alive_s = world.monotonic_s()
        self._lock, self._lost = threading.Lock(), False

    @property
    def every_s(self) -> float:
        """How often to `keep` it."""
        return self._terms.dead_after_s / _BEATS

    def keep(self) -> None:
        """Tell others that the holder lives, and look whether it still is the holder.

        Raises:
            LeaseLost: it is not.
            MachineError: the storage failed; one time does no harm.
        """
        with self._lock:
            self._look()
            began_s = self._world.monotonic_s()
            self._heart.beat()
            self._alive_s = began_s  # of a request that was answered: others saw no silence before

    def check(self) -> None:
        """Whether the unit was this attempt's until now. To be asked before something is appended, and again after it:
        what was on disk before the second answer is seen by every later attempt.

        Raises:
            LeaseLost: it is another's, or may be.
            MachineError: the storage failed, so nobody knows.
        """
        with self._lock:
            self._look()
            if self._world.monotonic_s() - self._alive_s < self._terms.dead_after_s / 2:
                return
        self.keep()  # it was paused, or the storage was away: nobody took over if its word still counts
        with self._lock:
            self._look()

    def end(
        self, state: State, *, fork: int, alone: bool, failure: AiraError | None = None, advanced: bool = False
    ) -> None:
        """Give the unit back. Nothing is appended by this attempt from here on.

        Args:
            state: how it stands.
            fork: the newest copy of the unit.
            alone: whether nobody else can write to that copy: it was won so, or this attempt has made it.
            failure: what it halted for, or was given back for.
            advanced: whether this attempt finished a step.

        Raises:
            LeaseLost: it was another's already.
            MachineError: the storage failed; it counts as held until its heartbeat has been silent.
        """
        halts = (0 if advanced else self.entry.halts) + (state == "halted")
        entry = replace(
            self.entry, state=state, fork=fork, alone=alone, halts=halts, at=self._world.now().isoformat(),
            why="" if failure is None else failure.message[:LINE_CHARS],
            status=0 if failure is None else failure.exit_code,
        )  # fmt: skip
        data = written(entry)
        with self._lock:
            self._look()
            if self._succession.claim(self._claim.number + 1, data).data != data:
                self._lost = True
                raise LeaseLost
            self._lost = True
        self._store.remove(beat_name(self.seed, self.entry.attempt))

    def _look(self) -> None:
        if not self._lost and self._succession.read(self._claim.number + 1) is not None:
            self._lost = True
        if self._lost:
            raise LeaseLost(f"seed {self.seed}: another worker has it")


class Lessee:
    """One worker, as far as leases go. Not for several threads at once."""

    def __init__(
        self, world: World, store_of: Callable[[Path], SharedStore] = lease_store, *, owner: str | None = None
    ) -> None:
        """Look at nothing yet.

        Args:
            world: its clock, and where its identifier is from.
            owner: its process (`aira_bench.sandbox.owner`); None for this one.
            store_of: what the workers of a run agree through, by the run's folder.
        """
        self.worker = world.new_id()
        self._world, self._owner, self._store_of = world, owner or this_process(), store_of
        self._watches: dict[Path, Watch] = {}
        self._looked_at: set[tuple[Path, str]] = set()

    def take(self, run: Path, seed: int, terms: Terms) -> Won | Denied:
        """Take a unit if it is to be had; what was won is held at once, and to be kept (`kept`).

        Raises:
            RunStateError: what stands there cannot be read.
            MachineError: the storage failed; if the unit was won all the same, the next try says so.
        """
        store = self._store_of(run)
        succession = Succession(store, str(seed))
        last = succession.last()
        entry = None if last is None else read_entry(last, seed)
        denied, is_certain = (None, True) if entry is None else self._judged(run, store, seed, entry, terms)
        if denied is not None:
            return denied
        is_certain = is_certain and (entry is None or entry.alone)
        mine = LeaseEntry(
            "held", 1 if entry is None else entry.attempt + 1, self.worker, self._owner,
            self._world.host_name()[:NAME_CHARS], self._world.now().isoformat(), 1 if entry is None else entry.fork,
            0 if entry is None else entry.halts, alone=is_certain,
        )  # fmt: skip
        data = written(mine)
        claim = succession.claim(1 if last is None else last.number + 1, data)
        if claim.data != data:
            return Denied("held", read_entry(claim, seed))
        lease = Lease(store, seed, claim, mine, terms, self._world)
        lease.keep()
        return Won(lease, is_certain)

    def _judged(
        self, run: Path, store: SharedStore, seed: int, entry: LeaseEntry, terms: Terms
    ) -> tuple[Denied | None, bool]:
        """Why a unit is not to be had, if so; and whether nobody else can write to it."""
        if entry.state == "over":
            return Denied("over", entry), True
        if entry.state == "halted" and entry.halts >= MOST_HALTS:
            return Denied("halted", entry), True
        if entry.state != "held" or entry.worker == self.worker or is_dead(entry.owner):
            return None, True
        watch = self._watches.setdefault(run, Watch(store, terms.dead_after_s, world=self._world))
        name = beat_name(seed, entry.attempt)
        known = (run, name) in self._looked_at
        self._looked_at.add((run, name))
        if watch.dead(name, written(entry)):
            return None, False
        return Denied("held", entry, seen_alive=known and watch.silent_s(name) == 0.0), True


@contextlib.contextmanager
def kept(lease: Lease, on_loss: Callable[[], object]) -> Iterator[None]:
    """Keep a lease from a thread of its own while the block runs.

    Args:
        lease: it need not be there any more when the block ends.
        on_loss: called once, from that thread, where another attempt has the unit.
    """
    over = threading.Event()

    def beat() -> None:
        while not over.wait(lease.every_s):
            try:
                lease.keep()
            except LeaseLost:
                if not over.is_set():
                    on_loss()
                return
            except AiraError:
                continue  # the storage is away, or refuses for now; whoever appends hears of it

    thread = threading.Thread(target=beat, name=f"lease-{lease.seed}", daemon=True)
    thread.start()
    try:
        yield
    finally:
        over.set()
        thread.join()
