"""One gate for all calls to a provider: how many may be under way, and when everybody has to wait.

How the number of places moves, and who shares them, is the gate's (`gate`, `host_gate`). A `Retry-After` closes it for
all, not only for the one that heard it; each machine opens again at a moment of its own a little later, so that those
that were told the same moment do not come back as one.
"""

import random
from collections.abc import Callable, Iterator
from contextlib import contextmanager

from aira_bench.llm.gate import Gate, LimiterSettings, ThreadGate
from aira_bench.waiting import TICK_S, Waits
from aira_bench.world import SystemWorld, World

_SPREAD = 0.1
"""Of the time a provider asked for: machines that were told the same moment come back spread over so much more."""


class GateTimeout(Exception):
    """No place at the gate came free before the call's deadline."""


class AdaptiveLimiter:
    """A gate in use. Share one between all threads of the run; `share` makes it one with other processes'."""

    def __init__(self, settings: LimiterSettings | None = None, *, world: World | None = None) -> None:
        """A gate of this process alone."""
        self._settings = settings or LimiterSettings()
        self._world = world or SystemWorld()
        self._gate: Gate = ThreadGate(self._settings)
        self._rng: random.Random | None = None

    def share(self, gate: Gate, settings: LimiterSettings, rng: random.Random) -> None:
        """Use a gate that others use too. Calls under way leave the gate that they entered.

        Args:
            gate: theirs and ours.
            settings: of that gate.
            rng: draws how much later than asked it opens again; no result depends on it.
        """
        self._gate, self._settings, self._rng = gate, settings, rng

    @property
    def limit(self) -> int:
        """The number of calls that may be under way at once, now."""
        return int(self._gate.change(lambda state: state).limit)

    @property
    def in_flight(self) -> int:
        """The number of calls that are under way now."""
        return self._gate.in_flight()

    @contextmanager
    def place(self, deadline_at_s: float, waits: Waits | None = None) -> Iterator[None]:
        """Wait for a place and hold it for the length of one attempt.

        Args:
            deadline_at_s: a moment on the world's monotonic clock.
            waits: of the piece of work that waits here; its stop ends the wait, which counts as one for the provider.

        Raises:
            GateTimeout: that moment came first, or the provider closed the gate for longer.
            Stopped: the run was stopped before.
        """
        leave = self._entered(deadline_at_s, waits or Waits())
        try:
            yield
        finally:
            leave()

    def succeeded(self) -> None:
        """Record a call that was answered."""
        self._gate.change(lambda state: state.after_answer(self._settings))

    def rate_limited(self, retry_after_s: float | None) -> None:
        """Record a refusal for too many calls, with the pause that the provider asked for."""
        closed_s, now_s = retry_after_s, self._world.monotonic_s()
        if closed_s is not None and self._rng is not None:
            closed_s *= 1.0 + self._rng.uniform(0.0, _SPREAD)
        self._gate.change(lambda state: state.after_refusal(self._settings, now_s, closed_s))

    @property
    def closed_s(self) -> float:
        """For how long the provider has asked everybody to stay away, from now."""
        return max(self._gate.change(lambda state: state).open_at_s - self._world.monotonic_s(), 0.0)

    def _entered(self, deadline_at_s: float, waits: Waits) -> Callable[[], None]:
        gate = self._gate
        if (leave := gate.enter(self._world.monotonic_s())) is not None:
            return leave
        with waits.waiting("provider", "waiting behind the provider's rate limit"), gate.queue():
            while True:
                within_s = min(deadline_at_s - self._world.monotonic_s(), TICK_S)
                if within_s > 0:
                    gate.wait(min(within_s, self.closed_s or within_s))
                if (leave := gate.enter(self._world.monotonic_s(), queued=True)) is not None:
                    return leave
                waits.check_stop()
                now_s = self._world.monotonic_s()
                if now_s >= deadline_at_s or now_s + self.closed_s > deadline_at_s:
                    raise GateTimeout  # at once, where the gate opens too late
