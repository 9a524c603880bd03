"""The shared store in memory, with the faults that storage between machines has: for tests and simulations.

Every fault comes from an explicit generator. Answers are lost before or after the operation took effect, requests are
delivered a second time later, listings and replaced objects are shown as they were a while ago, and each request may
take a while. What `create` promises holds throughout: that is what the rest relies on.

Not covered: storage that breaks its promises.
"""

import itertools
import random
import sys
import threading
from collections.abc import Callable
from dataclasses import dataclass, field

from aira_bench.errors import MachineError
from aira_bench.shared_store.store import check_object

_KEPT = 3
"""Versions of an object that can still be shown after it was replaced."""


class LostAnswer(MachineError):
    """A request or the answer to it was lost."""

    def __init__(self, name: str) -> None:
        super().__init__(f"The machine failed: {name}: no answer of the storage. What is recorded is safe.")


@dataclass(frozen=True)
class Faults:
    """How often each fault occurs, as probabilities of one request, and how long requests take."""

    lost_before: float = 0.0
    lost_after: float = 0.0
    repeated: float = 0.0
    stale: float = 0.0
    stale_for_s: float = float("inf")
    """How long after it was made an object may be missing, or shown as it was before."""
    delay_s: tuple[float, float] = (0.0, 0.0)


@dataclass(frozen=True)
class _Version:
    number: int
    data: bytes | None
    """None where the object was removed."""
    made_at_s: float = float("-inf")


_ABSENT = _Version(0, None)


@dataclass
class Objects:
    """What all clients share: the latest versions of each object, and puts that will be delivered again."""

    versions: dict[str, list[_Version]] = field(default_factory=dict)
    under_way: list[tuple[str, bytes]] = field(default_factory=list)
    lock: threading.RLock = field(default_factory=threading.RLock)

    def of(self, name: str) -> list[_Version]:
        """An object's last versions, oldest first; never empty."""
        return self.versions.get(name, [_ABSENT])

    def add(self, name: str, data: bytes | None, now_s: float = float("-inf")) -> _Version:
        """Give an object a new version; of the old ones a few can still be shown."""
        before = self.of(name)
        made = _Version(before[-1].number + 1, data, now_s)
        self.versions[name] = [*before[-_KEPT:], made]
        return made


class MemoryStore:
    """One client's view of objects in memory. Give all clients the same `objects`, each a generator of its own."""

    def __init__(
        self,
        objects: Objects | None = None,
        *,
        faults: Faults | None = None,
        rng: random.Random | None = None,
        pause: Callable[[float], None] = lambda seconds: None,
        clock: Callable[[], float] = lambda: float("-inf"),
    ) -> None:
        """A new client.

        Args:
            objects: what is there.
            faults: that this client meets.
            rng: draws them.
            pause: called with the seconds of each delay, before and after what a request does.
            clock: seconds, the same for all clients, by which objects grow old.
        """
        self.objects = objects or Objects()
        self._faults = faults or Faults()
        self._rng = rng or random.Random(0)
        self._pause = pause
        self._clock = clock
        self._told: dict[str, int] = {}
        """The version of each object that this client was shown last: it sees none that is older."""

    def create(self, name: str, data: bytes) -> bytes:
        """Make an object unless it is there, and return what it holds now and for ever."""
        check_object(name, data)
        self._asked(name)
        with self.objects.lock:
            held = self.objects.of(name)[-1]
            if held.data is None:
                held = self.objects.add(name, data, self._clock())
        self._answered(name)
        self._told[sys.intern(name)] = held.number
        return data if held.data is None else held.data

    def get(self, name: str) -> bytes | None:
        """Return an object's bytes, perhaps as they were a while ago."""
        check_object(name)
        self._asked(name)
        with self.objects.lock:
            versions = self.objects.of(name)
        shown = versions[-1]
        if self._drawn(self._faults.stale):
            shown = self._rng.choice(self._may_be_shown(name, versions))
        self._answered(name)
        self._told[sys.intern(name)] = shown.number
        return shown.data

    def put(self, name: str, data: bytes) -> None:
        """Make or replace an object. A request that is delivered again later puts an old one back."""
        check_object(name, data)
        self._asked(name)
        with self.objects.lock:
            self.objects.add(name, data, self._clock())
            if self._drawn(self._faults.repeated):
                self.objects.under_way.append((name, data))
        self._answered(name)

    def names(self, folder: str) -> list[str]:
        """Return the last parts of names directly in a folder; each new one may be missing."""
        self._asked(folder)
        start = "" if folder in ("", ".") else f"{folder}/"
        with self.objects.lock:
            held = [name for name, versions in self.objects.versions.items() if versions[-1].data is not None]
        found = sorted({name.removeprefix(start).partition("/")[0] for name in held if name.startswith(start)})
        self._answered(folder)
        return [name for name in found if not self._drawn(self._faults.stale)]

    def remove(self, name: str) -> None:
        """Remove an object if it is there."""
        check_object(name)
        self._asked(name)
        with self.objects.lock:
            if self.objects.of(name)[-1].data is not None:
                self.objects.add(name, None, self._clock())
        self._answered(name)

    def _may_be_shown(self, name: str, versions: list[_Version]) -> list[_Version]:
        """The last version, and those that it replaced a short while ago, if this client has seen nothing newer."""
        told, since_s = self._told.get(name, 0), self._clock() - self._faults.stale_for_s
        pairs = itertools.pairwise(versions)
        old = [before for before, after in pairs if before.number >= told and not after.made_at_s < since_s]
        return [*old, versions[-1]]

    def _asked(self, name: str) -> None:
        self._wait()
        with self.objects.lock:
            if self.objects.under_way and self._drawn(0.5):
                again, data = self.objects.under_way.pop(self._rng.randrange(len(self.objects.under_way)))
                self.objects.add(again, data, self._clock())
        if self._drawn(self._faults.lost_before):
            raise LostAnswer(name)

    def _answered(self, name: str) -> None:
        self._wait()
        if self._drawn(self._faults.lost_after):
            raise LostAnswer(name)

    def _wait(self) -> None:
        if self._faults.delay_s[1] > 0:
            self._pause(self._rng.uniform(*self._faults.delay_s))

    def _drawn(self, probability: float) -> bool:
        return probability > 0 and self._rng.random() < probability
