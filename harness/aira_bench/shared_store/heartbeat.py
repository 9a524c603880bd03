"""Who lives, without comparing the clocks of two machines: a counter that its owner raises, and others who watch it.

An observer measures by its own monotonic clock for how long it has seen no change. One that slept, or was stopped for
an hour, has seen nothing in that hour: no gap between two looks counts for more than a part of the time after which
somebody counts as dead, so it takes several looks that agree to find that.

A heartbeat decides when somebody may try to take over, and nothing else. That a late owner does no harm is the work of
numbers that each write carries (`succession`).

Not covered: when to beat and to look; whoever calls has a loop for that.
"""

from dataclasses import dataclass, field

from aira_bench.shared_store.store import SharedStore
from aira_bench.world import SystemWorld, World

LOOKS = 4
"""So many looks without a change, at least, make somebody dead."""


class Heartbeat:
    """The counter of one owner. Raise it several times in the time after which others take the owner for dead."""

    def __init__(self, store: SharedStore, name: str, owner: str) -> None:
        """`owner` is unlike any other's, so that a new owner's first beat is a change."""
        self._store = store
        self._name = name
        self._owner = owner
        self._beats = 0

    def beat(self) -> None:
        """Raise the counter.

        Raises:
            MachineError: the storage failed. One beat that is missed does no harm.
        """
        self._beats += 1
        self._store.put(self._name, f"{self._owner} {self._beats}\n".encode())


@dataclass
class _Seen:
    about: bytes
    beat: bytes | None
    looked_at_s: float
    silent_s: float = field(default=0.0)


class Watch:
    """What one observer has seen of any number of heartbeats. Not for several threads at once."""

    def __init__(self, store: SharedStore, dead_after_s: float, *, world: World | None = None) -> None:
        """`dead_after_s`: well over the time for which readers may be shown an old counter, 60 s on a usual NFS."""
        self._store = store
        self._dead_after_s = dead_after_s
        self._world = world or SystemWorld()
        self._seen: dict[str, _Seen] = {}

    def dead(self, name: str, about: bytes = b"") -> bool:
        """Look at a heartbeat, and tell whether it has been silent for too long.

        Args:
            name: of the heartbeat, best one of its own for each attempt. One that is not there is silent.
            about: whose it should be, such as the claim of a lease: another one than at the last look starts anew.

        Raises:
            MachineError: the storage failed; nothing is known, and nothing was counted.
        """
        beat, now_s = self._store.get(name), self._world.monotonic_s()
        seen = self._seen.get(name)
        if seen is None or seen.about != about or _raised(seen.beat, beat):
            self._seen[name] = _Seen(about, beat, now_s)
            return False
        seen.silent_s += min(now_s - seen.looked_at_s, self._dead_after_s / LOOKS)
        seen.looked_at_s = now_s
        return seen.silent_s >= self._dead_after_s

    def silent_s(self, name: str) -> float:
        """For how long a heartbeat had been silent at the last look; 0 where there was none."""
        seen = self._seen.get(name)
        return 0.0 if seen is None else seen.silent_s

    def forget(self, name: str) -> None:
        """Stop watching a heartbeat; the next look at it is a first one."""
        self._seen.pop(name, None)


def _raised(before: bytes | None, after: bytes | None) -> bool:
    """Whether a counter shows life: a higher count, or another owner. A lower one is an old request delivered late."""
    if before is None or after is None:
        return after is not None
    (owner, count), (new_owner, new_count) = _parts(before), _parts(after)
    return owner != new_owner or new_count > count


def _parts(beat: bytes) -> tuple[bytes, int]:
    owner, _, count = beat.strip().rpartition(b" ")
    return owner, int(count) if count.isdigit() else 0
