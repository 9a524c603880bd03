"""The machine's line for places: which process takes which cores and GPU next, first come, first served.

A place is leased while a step or an evaluation runs, and given back while models think, so runs share what a machine
has. Each process stands in the line once, however many of its seeds wait, and goes to the end of it when it was
served: runs take turns. Who came first has a claim. On the place that is free for it; or, while none is, on every part
of those that it could have, so that one who needs four cores is not passed for ever by those who need one. What a seed
keeps for its life is out of reach and claimed by nobody, and who does not come when it is called is passed.

All this is decided by each process for itself, under one lock that is held for milliseconds, from the others' entries
and from which leases are free. What keeps two from one device are the leases alone.

Not covered: who is next within a process, other than first come, first served; and priorities.
"""

import collections
import threading
import time
from collections.abc import Collection, Sequence, Set
from dataclasses import dataclass
from functools import partial
from pathlib import Path

from aira_bench.errors import PrerequisiteError
from aira_bench.runs.bell import Bell
from aira_bench.runs.entries import Dead, Entries, Standing, dead_entries
from aira_bench.runs.leases import Leases, lease_folder
from aira_bench.runs.places import Place
from aira_bench.waiting import Stopped, Waits

_WINDOW = "looking"
_WINDOW_TRIES, _WINDOW_PAUSE_S = 50, 0.002
_LOOK_S = 1.0
"""Longest time between looks of who is first in its process, for what no bell tells."""
_CALLED_S = 5.0
"""How long a free place is kept for one who does not take it: its process may be stopped."""
_ENTRIES = "line"


@dataclass(frozen=True)
class Turn:
    """One who waits in this process."""

    keeps: bool = False
    """Whether it will keep its place for long."""


@dataclass(frozen=True)
class Taken:
    """A place that is ours now."""

    index: int
    left_by: tuple[Dead, ...] = ()
    """Processes that ended while they used some of it: their containers may be there still."""


def dead_in_line() -> list[Path]:
    """Return the entries of the machine's line whose processes are dead (`entries.dead_entries`)."""
    try:
        return dead_entries(lease_folder() / _ENTRIES)
    except PrerequisiteError:  # there is no such folder, as who leases something will say
        return []


class Line:
    """Where one run stands in the machine's line. Safe between threads."""

    def __init__(
        self,
        places: Sequence[Place],
        *,
        most: int | None = None,
        folder: Path | None = None,
    ) -> None:
        """Stand in the line for some of `places`, and wait for none yet.

        Args:
            places: any of them would do.
            most: how many it has at a time; None for all.
            folder: of the leases; None for the machine's.

        Raises:
            PrerequisiteError: the folder cannot be used.
        """
        self.places = tuple(places)
        self.most = len(self.places) if most is None else most
        self._names = [frozenset(place.names) for place in self.places]
        self._prefers: Collection[int] = ()
        self._leases = Leases(lease_folder() if folder is None else folder)
        self._entries = Entries(self._leases.folder / _ENTRIES)
        self._bell = Bell(self._leases.folder)
        self._changed = threading.Condition()
        self._turns: collections.deque[Turn] = collections.deque()
        self._held: dict[int, Turn] = {}
        self._uses: collections.Counter[str] = collections.Counter()
        self._given_back: dict[int, int] = {}
        self._standing = Standing()
        self._looked_s = 0.0
        self._called_s: dict[str, float] = {}
        self._is_closed = False

    def take(self, waits: Waits, *, keeps: bool = False) -> Taken:
        """Wait for a place and take it.

        Raises:
            Stopped: the run was stopped before one was free.
            PrerequisiteError: the folder of leases cannot be used.
        """
        turn = self.enter(keeps=keeps)
        with self._changed:
            own = len(self._held) + len(self._turns) > self.most  # those before us in this run take what there is
        try:
            attempt = partial(self.attempt, turn)
            if own:
                return waits.obtain(attempt, "slot", "waiting for a slot")
            said = f"waiting for {self._told()}: other runs of this machine have them; --cores and --gpus choose others"
            return waits.obtain(attempt, "cores", said)
        finally:
            self.leave(turn)

    def prefer(self, numbers: Collection[int]) -> None:
        """Take places of these numbers first, as they are at that moment."""
        self._prefers = numbers

    def enter(self, *, keeps: bool = False) -> Turn:
        """Begin to wait for a place, behind all who wait in this process."""
        turn = Turn(keeps)
        with self._changed:
            self._turns.append(turn)
        return turn

    def attempt(self, turn: Turn, seconds: float) -> Taken | None:
        """Take a place if it is our turn and one is free; else wait for a change, `seconds` at most, and try again.

        Raises:
            Stopped: the line was closed.
        """
        with self._changed:
            self._require_open()
            if not self._is_next(turn):
                if seconds > 0:
                    self._changed.wait(seconds)
                self._require_open()
                if not self._is_next(turn):
                    return None
            elif seconds > 0:
                self._changed.release()  # who gives a place back need not wait for who waits for one
                try:
                    rang = self._bell.wait(seconds)
                finally:
                    self._changed.acquire()
                self._require_open()
                if not rang and time.monotonic() - self._looked_s < _LOOK_S:
                    return None
            return self._look(turn)

    def leave(self, turn: Turn) -> None:
        """Wait no more, served or not."""
        with self._changed:
            self._turns = collections.deque(each for each in self._turns if each is not turn)
            self._changed.notify_all()
            if not self._turns and self._standing.since_ns is not None:
                self._stand(self._standing.model_copy(update={"since_ns": None}))
                self._bell.ring()

    def give_back(self, index: int) -> None:
        """Let others have a place."""
        with self._changed:
            turn = self._held.pop(index, None)
            if turn is None:
                return  # all was given back when the line was left
            self._given_back[index] = time.monotonic_ns()
            for name in self.places[index].names:
                self._uses[name] -= 1
                if not self._uses[name]:
                    self._leases.give_back(name)
            if turn.keeps:
                self._stand(self._standing.model_copy(update={"keeps": self._kept()}))
            self._changed.notify_all()

    def cleared(self, left: Dead) -> None:
        """Note that nothing is left of a dead process."""
        self._entries.remove(left.name)

    def close(self) -> None:
        """Leave the line, and let go of everything. Safe to call twice."""
        with self._changed:
            self._is_closed = True
            self._held.clear()
            self._leases.release()
            self._entries.close()
        self._bell.close()
        self._bell.ring()

    def _require_open(self) -> None:
        if self._is_closed:
            raise Stopped

    def _is_next(self, turn: Turn) -> bool:
        return self._turns[0] is turn and len(self._held) < self.most

    def _look(self, turn: Turn) -> Taken | None:
        """Take the place that is ours to take, if there is one."""
        self._looked_s = time.monotonic()
        if not self._at_window():
            return None
        free: set[str] = set()
        index = None
        try:
            live, dead = self._entries.others()
            since_ns = self._standing.since_ns or time.monotonic_ns()
            earlier = sorted(
                (there.since_ns, name) for name, there in live.items()
                if there.since_ns is not None and there.since_ns < since_ns
            )  # fmt: skip
            concerned = [names for _, name in earlier for names in live[name].wants]
            free = {name for name in frozenset[str]().union(*self._names, *concerned) if self._leases.take(name)}
            kept = frozenset[str]().union(*(there.keeps for there in live.values()))
            claimed = self._claimed({name: live[name] for _, name in earlier}, free, kept)
            index = next((each for each in self._preferred() if self._may_have(each, free - claimed, claimed)), None)
            left = () if index is None else self._took(index, turn, dead)
            self._stand(self._next_standing(since_ns, served=index is not None))
            if index is not None and any(there.since_ns is not None for there in live.values()):
                self._bell.ring()
        finally:
            ours = frozenset[str]() if index is None else self._names[index]
            for name in [*(free - ours), _WINDOW]:
                self._leases.put_back(name)
        return None if index is None else Taken(index, left)

    def _claimed(self, earlier: dict[str, Standing], free: Set[str], kept: Set[str]) -> set[str]:
        """What those have a claim on who came before us."""
        claimed: set[str] = set()
        now_s, called_s = time.monotonic(), dict[str, float]()
        for name, there in earlier.items():
            reach = [place for place in there.wants if not place & kept]
            theirs = next((place for place in reach if place <= free - claimed), None)
            if theirs is None:
                claimed = claimed.union(*reach)
                continue
            called_s[name] = self._called_s.get(name, now_s)
            if now_s - called_s[name] < _CALLED_S:
                claimed |= theirs
        self._called_s = called_s
        return claimed

    def _may_have(self, index: int, free: Set[str], claimed: Set[str]) -> bool:
        joins = {name for name in self._names[index] if self._uses[name]} if self.places[index].shares else set()
        return index not in self._held and self._names[index] <= free | (joins - claimed)

    def _preferred(self) -> list[int]:
        """Numbers of places: first those that are preferred, and of these which has been free for longest."""
        return sorted(
            range(len(self.places)), key=lambda each: (each not in self._prefers, self._given_back.get(each, 0), each)
        )

    def _took(self, index: int, turn: Turn, dead: Sequence[Dead]) -> tuple[Dead, ...]:
        self._held[index] = turn
        self._uses.update(self.places[index].names)
        left = [each for each in dead if each.uses is None or each.uses & self._names[index]]
        for each in dead:
            if each.uses == frozenset():
                self._entries.remove(each.name)
        return tuple(left)

    def _next_standing(self, since_ns: int, *, served: bool) -> Standing:
        """Where we stand after a look: who was served, and waits for more, goes to the end of the line."""
        more = len(self._turns) > 1 and len(self._held) < self.most
        return Standing(
            since_ns=since_ns if not served else time.monotonic_ns() if more else None,
            wants=tuple(self._names),
            uses=frozenset[str]().union(*(self._names[index] for index in self._held)),
            keeps=self._kept(),
        )

    def _kept(self) -> frozenset[str]:
        return frozenset[str]().union(*(self._names[index] for index, turn in self._held.items() if turn.keeps))

    def _stand(self, standing: Standing) -> None:
        if standing != self._standing:
            self._entries.write(standing)
            self._standing = standing

    def _at_window(self) -> bool:
        """Whether nobody else looks now; it is waited for a little."""
        for _ in range(_WINDOW_TRIES):
            if self._leases.take(_WINDOW):
                return True
            time.sleep(_WINDOW_PAUSE_S)
        return False

    def _told(self) -> str:
        place = self.places[0]
        cores = sorted({core for each in self.places for core in each.cores})
        parts = [f"{len(place.cores)} of the cores {', '.join(map(str, cores))}"] if cores else []
        parts += [f"one of {len(self.places)} GPUs"] if place.gpu is not None else []
        return " and ".join(parts)
