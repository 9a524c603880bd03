"""What workers share: units on a disk, the storage they agree through, a provider that bills, and how hard life is."""

import random
from collections import Counter
from dataclasses import dataclass, field
from pathlib import Path

from aira_bench.leasing.terms import Terms
from aira_bench.ledger.amount import Amount, Caps
from aira_bench.shared_store.in_memory import Faults, Objects
from simulated_cluster.clock import PlayedTime

RUN = Path("/run")
STEPS = 2
STEP_S = (600.0, 1800.0)
TERMS = Terms(dead_after_s=3600.0)
FAULTS = Faults(lost_before=0.002, lost_after=0.004, repeated=0.01, stale=0.2, stale_for_s=60.0, delay_s=(0.001, 0.05))
WAITED_FOR = 0.05
"""Of all requests, how many give way to other workers; the others are answered at once."""
MOST_USD, BOUND_TOKENS = 0.5, 20_000
PATIENCE_S = 7_200.0


@dataclass(frozen=True)
class Hardships:
    """What befalls workers, as probabilities."""

    dies: float = 0.001
    """Where it waits for anything."""
    sleeps: float = 0.05
    """Between two things that a worker does."""
    kept_waiting: int = 16
    """One of so many workers stays to the end."""


@dataclass
class Copy:
    """One copy of a unit: finished steps, by number and by the attempt that took them, and what its calls cost."""

    steps: list[tuple[int, int]] = field(default_factory=list)
    records: dict[str, Amount] = field(default_factory=dict)


@dataclass
class Unit:
    """What is on disk of a unit, and what its workers were told."""

    copies: dict[int, Copy] = field(default_factory=lambda: {1: Copy()})
    told_safe: set[tuple[int, int]] = field(default_factory=set)


class OpenUnits:
    """Numbers of units that nobody has heard to be over. Each question takes the same time however many there are."""

    def __init__(self, units: int) -> None:
        self._numbers = list(range(units))
        self._places = {number: number for number in range(units)}

    def __len__(self) -> int:
        return len(self._numbers)

    def __contains__(self, number: int) -> bool:
        return number in self._places

    def drawn(self, rng: random.Random) -> int:
        """Return any of them."""
        return rng.choice(self._numbers)

    def close(self, number: int) -> None:
        """Somebody heard that a unit is over."""
        place = self._places.pop(number, None)
        last = self._numbers[-1] if self._numbers else None
        if place is None or last is None:
            return
        self._numbers[place] = last
        self._numbers.pop()
        if last != number:
            self._places[last] = place


@dataclass
class Cluster:
    """All that workers share, and what is counted of them."""

    seed: int
    units: list[Unit]
    cap: Caps
    hardships: Hardships
    open_units: OpenUnits
    time: PlayedTime = field(default_factory=PlayedTime)
    objects: Objects = field(default_factory=Objects)
    billed: Amount = field(default_factory=Amount)
    counts: Counter[str] = field(default_factory=Counter)

    def bill(self, amount: Amount) -> None:
        """The provider answers a call."""
        self.billed += amount
        self.counts["calls"] += 1
        self.counts["over the cap"] += not self.cap.hold(self.billed)
