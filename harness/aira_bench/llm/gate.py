"""How many calls to a provider may be under way: a rule that answers and refusals move, and who counts the calls.

The number of places follows additive increase, multiplicative decrease: each round of answers adds one place, a refusal
for too many calls halves them, at most once per cool-down. All who follow it under one limit come to equal shares,
whether they know of each other or not (Chiu and Jain, 1989). Those that start many at once (`slow_start`) double their
places each round until they are refused for the first time.

Not covered: what a provider says of its limits beside a refusal.
"""

import threading
from collections.abc import Callable, Iterator
from contextlib import AbstractContextManager, contextmanager
from dataclasses import dataclass, replace
from typing import Protocol


@dataclass(frozen=True)
class LimiterSettings:
    """With how many calls the gate starts, and how it moves after answers and refusals."""

    start: int = 8
    most: int = 64
    decrease: float = 0.5
    cooldown_s: float = 10.0
    slow_start: bool = False

    def __post_init__(self) -> None:
        if not 1 <= self.start <= self.most or not 0 < self.decrease < 1 or self.cooldown_s < 0:
            raise ValueError(f"impossible limiter settings: {self}")


@dataclass(frozen=True)
class GateState:
    """Where the rule stands. Times are seconds of a monotonic clock that all who share the gate read."""

    limit: float
    open_at_s: float = 0.0
    calm_at_s: float = 0.0
    refused: bool = False
    """Whether anybody ever was."""

    def after_answer(self, settings: LimiterSettings) -> "GateState":
        """Return where it stands after a call was answered: `limit` of them add one place."""
        step = 1.0 if settings.slow_start and not self.refused else 1.0 / self.limit
        return replace(self, limit=min(float(settings.most), self.limit + step))

    def after_refusal(self, settings: LimiterSettings, now_s: float, closed_s: float | None) -> "GateState":
        """Return where it stands after a refusal: fewer places, and a pause for all when the provider asked for one."""
        state = replace(self, refused=True)
        if now_s >= self.calm_at_s:
            limit = max(1.0, self.limit * settings.decrease)
            state = replace(state, limit=limit, calm_at_s=now_s + settings.cooldown_s)
        if closed_s is not None:
            state = replace(state, open_at_s=max(self.open_at_s, now_s + closed_s))
        return state


class Gate(Protocol):
    """Keeps the state of the rule, and counts calls under way, for all that share it."""

    def change(self, change: Callable[[GateState], GateState]) -> GateState:
        """Replace the state by what `change` makes of it, and return that."""
        ...

    def enter(self, now_s: float, *, queued: bool = False) -> Callable[[], None] | None:
        """Take a place if the gate is open and one is free; return what gives it back. Who was not `queued` goes after
        those who wait.
        """
        ...

    def queue(self) -> AbstractContextManager[None]:
        """Be one of those who wait, while the block runs."""
        ...

    def wait(self, seconds: float) -> None:
        """Wait until a place may have come free, at most so long."""
        ...

    def in_flight(self) -> int:
        """Return the number of calls under way."""
        ...


class ThreadGate:
    """The gate of one process."""

    def __init__(self, settings: LimiterSettings) -> None:
        self._changed = threading.Condition()
        self._state = GateState(float(settings.start))
        self._in_flight = 0

    def change(self, change: Callable[[GateState], GateState]) -> GateState:
        """Replace the state, and wake those who wait."""
        with self._changed:
            before, self._state = self._state, change(self._state)
            if self._state != before:
                self._changed.notify_all()
            return self._state

    def enter(self, now_s: float, *, queued: bool = False) -> Callable[[], None] | None:
        """Take a place if the gate is open and one is free."""
        with self._changed:
            if now_s < self._state.open_at_s or self._in_flight >= int(self._state.limit):
                return None
            self._in_flight += 1
            return self._leave

    @contextmanager
    def queue(self) -> Iterator[None]:
        """Wait unseen: threads are woken in no order, so none is passed over for long."""
        yield

    def wait(self, seconds: float) -> None:
        """Wait for a place to come free, or the state to change."""
        with self._changed:
            if self._in_flight >= int(self._state.limit):
                self._changed.wait(seconds)
                return
        threading.Event().wait(seconds)  # a place is free, and the gate is closed

    def in_flight(self) -> int:
        """Return the number of calls under way."""
        with self._changed:
            return self._in_flight

    def _leave(self) -> None:
        with self._changed:
            self._in_flight -= 1
            self._changed.notify_all()
