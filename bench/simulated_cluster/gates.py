"""Machines that share a provider's limit without a word: the shipped limiter, and events on a played clock."""

import heapq
import random
from collections import Counter
from collections.abc import Callable
from dataclasses import dataclass

from aira_bench.llm.gate import ThreadGate
from aira_bench.llm.host_gate import HOST_SETTINGS
from aira_bench.llm.limiter import AdaptiveLimiter
from aira_bench.testing import PlayedWorld

CALL_S = 20.0
"""Mean length of a call."""
RETRY_AFTER_S = 5.0
"""What the provider asks for where it says how long to wait, which is half of the time."""


@dataclass(frozen=True)
class Shares:
    """How machines share a provider's limit, in the second half of the time."""

    used: float
    """Of what the provider lets through."""
    refused: float
    """Of all calls."""
    fairness: float
    """Jain's index of answered calls a machine: 1 where all have as many, 1/n where one has all."""


def share(seed: int, machines: int, limit: int, hours: float) -> Shares:
    """Let machines that know nothing of each other call a provider that answers so many calls at a time.

    Args:
        seed: of lengths of calls, starts and jitters.
        machines: how many, each with more calls than it may make.
        limit: how many calls at a time the provider answers; it refuses more.
        hours: of played time.
    """
    provider = _Provider(seed, machines, limit, hours)
    while provider.goes_on():
        pass
    counts = [provider.answered[machine] for machine in range(machines)]
    fairness = sum(counts) ** 2 / (machines * sum(count * count for count in counts))
    used = provider.busy_s / (provider.half_s * limit)
    return Shares(used, provider.refused / (provider.refused + sum(counts)), fairness)


class _Provider:
    """One provider and the machines that call it; what is counted is of the second half of the time."""

    def __init__(self, seed: int, machines: int, limit: int, hours: float) -> None:
        self.half_s = hours * 1800
        self.answered, self.refused, self.busy_s = Counter[int](), 0, 0.0
        self._limit, self._under_way = limit, 0
        self._rng, self._clock = random.Random(f"gates {seed}"), PlayedWorld()
        self._gates = [ThreadGate(HOST_SETTINGS) for _ in range(machines)]
        self._limiters = [AdaptiveLimiter(world=self._clock) for _ in range(machines)]
        for machine, (gate, limiter) in enumerate(zip(self._gates, self._limiters, strict=True)):
            limiter.share(gate, HOST_SETTINGS, random.Random(f"gate {seed} {machine}"))
        self._events: list[tuple[float, int, int, Callable[[], None] | None]] = []
        self._number = 0
        self._now_s = 0.0
        for machine in range(machines):
            self._later(self._rng.uniform(0, 60), machine, None)

    def goes_on(self) -> bool:
        """Play one event; False where the time is over."""
        if not self._events or self._events[0][0] >= 2 * self.half_s:
            return False
        at_s, _, machine, leave = heapq.heappop(self._events)
        self.busy_s += self._under_way * max(at_s - max(self._now_s, self.half_s), 0.0)
        self._clock.now_s = self._now_s = at_s
        if leave is not None:
            leave()
            self._under_way -= 1
            self._limiters[machine].succeeded()
            self.answered[machine] += at_s > self.half_s
        self._call(machine, looks_again=leave is None)
        return True

    def _call(self, machine: int, *, looks_again: bool) -> None:
        """Have a machine make what calls its own gate lets through, until one is refused."""
        while (place := self._gates[machine].enter(self._now_s)) is not None:
            if self._under_way >= self._limit:
                place()
                self.refused += self._now_s > self.half_s
                self._limiters[machine].rate_limited(RETRY_AFTER_S if self._rng.random() < 0.5 else None)
                self._later(self._now_s + self._rng.uniform(0, 2 * RETRY_AFTER_S), machine, None)  # its back-off
                return
            self._under_way += 1
            self._later(self._now_s + self._rng.expovariate(1 / CALL_S), machine, place)
        if looks_again:
            self._later(self._now_s + self._rng.uniform(0.5, 1.5), machine, None)

    def _later(self, at_s: float, machine: int, leave: Callable[[], None] | None) -> None:
        self._number += 1
        heapq.heappush(self._events, (at_s, self._number, machine, leave))
