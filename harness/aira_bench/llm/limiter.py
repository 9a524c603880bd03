"""One gate for all calls of a run to a provider: how many may be under way, and when everybody has to wait.

The number of places follows additive increase, multiplicative decrease: each round of successes adds one place, a
rate limit halves them, at most once per cool-down, since calls that were under way together are refused together.
A `Retry-After` closes the gate for all seeds, not only for the one that heard it.
"""

import threading
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass

from aira_bench.waiting import TICK_S, Waits
from aira_bench.world import SystemWorld, World


@dataclass(frozen=True)
class LimiterSettings:
    """With how many calls the gate starts, and how it moves after answers and refusals."""

    start: int = 8
    most: int = 64
    decrease: float = 0.5
    cooldown_s: float = 10.0

    def __post_init__(self) -> None:
        if not 1 <= self.start <= self.most or not 0 < self.decrease < 1 or self.cooldown_s < 0:
            raise ValueError(f"impossible limiter settings: {self}")


class GateTimeout(Exception):
    """No place at the gate came free before the call's deadline."""


class AdaptiveLimiter:
    """The gate of one run to one provider. Share one between all threads of the run."""

    def __init__(self, settings: LimiterSettings | None = None, *, world: World | None = None) -> None:
        self._settings = settings or LimiterSettings()
        self._world = world or SystemWorld()
        self._changed = threading.Condition()
        self._limit = float(self._settings.start)
        self._in_flight = 0
        self._open_at_s = float("-inf")
        self._calm_at_s = float("-inf")

    @property
    def limit(self) -> int:
        """The number of calls that may be under way at once, now."""
        with self._changed:
            return int(self._limit)

    @property
    def in_flight(self) -> int:
        """The number of calls that are under way now."""
        with self._changed:
            return self._in_flight

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
        self._enter(deadline_at_s, waits or Waits())
        try:
            yield
        finally:
            with self._changed:
                self._in_flight -= 1
                self._changed.notify_all()

    def succeeded(self) -> None:
        """Record a call that was answered: `limit` of them add one place."""
        with self._changed:
            self._limit = min(float(self._settings.most), self._limit + 1.0 / self._limit)
            self._changed.notify_all()

    def rate_limited(self, retry_after_s: float | None) -> None:
        """Record a refusal: fewer places, and a pause for all when the provider asked for one."""
        with self._changed:
            now_s = self._world.monotonic_s()
            if now_s >= self._calm_at_s:
                self._limit = max(1.0, self._limit * self._settings.decrease)
                self._calm_at_s = now_s + self._settings.cooldown_s
            if retry_after_s is not None:
                self._open_at_s = max(self._open_at_s, now_s + retry_after_s)

    @property
    def closed_s(self) -> float:
        """For how long the provider has asked everybody to stay away, from now."""
        with self._changed:
            return max(self._open_at_s - self._world.monotonic_s(), 0.0)

    def _enter(self, deadline_at_s: float, waits: Waits) -> None:
        if self._taken(0.0):
            return
        with waits.waiting("provider", "waiting behind the provider's rate limit"):
            while not self._taken(min(deadline_at_s - self._world.monotonic_s(), TICK_S)):
                waits.check_stop()
                now_s = self._world.monotonic_s()
                if now_s >= deadline_at_s or now_s + self.closed_s > deadline_at_s:
                    raise GateTimeout  # at once, where the gate opens too late

    def _taken(self, within_s: float) -> bool:
        """Take a place, waiting at most so long for one; False where there is none."""
        with self._changed:
            if not self._is_open and within_s > 0:
                pause_s = self._open_at_s - self._world.monotonic_s()
                self._changed.wait(min(within_s, pause_s) if pause_s > 0 else within_s)
            if not self._is_open:
                return False
            self._in_flight += 1
            return True

    @property
    def _is_open(self) -> bool:
        return self._world.monotonic_s() >= self._open_at_s and self._in_flight < int(self._limit)
