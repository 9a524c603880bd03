"""The one way to wait for what is nobody's fault: a slot, a lease, the engine, a provider's back-off, a busy machine.

Such a wait is not charged to the hours of its seed, listens to the run's stop, is said to whoever watches, and is
recorded apart in the timings of its step. A seed's `Deadline` of hours runs on the `Waits` of its step, a clock that
stands still while something is waited for, and takes back what others took from work that ran (`lose`).

    waits.pause(30.0, "provider", "429 from the server, try 3; next in 30 s")
    slot = waits.obtain(take_within, "slot", "waiting for a slot")
    with waits.waiting("engine", "the engine is away"):
        ...

Not covered: how long to wait, and what to do when it was in vain.
"""

import contextlib
import threading
import time
from collections.abc import Callable, Iterator
from typing import Literal, TypeVar

from aira_bench.deadline import WorkClock

WaitReason = Literal["slot", "cores", "engine", "provider", "load"]
"""`slot`: all of the run's own are taken; `cores`: cores or GPUs are leased to other runs; `engine`: the container
engine is away; `provider`: a model's server asked for a pause or is away; `load`: others take the machine's cores."""
TICK_S = 0.2
"""Longest time between looks at the stop while something is waited for that cannot be woken."""
Found = TypeVar("Found")


class Stopped(Exception):
    """The user stopped the run; what is finished is on disk."""


class Waits(WorkClock):
    """What one step of a seed waits for, and the clock of its hours. Safe between threads.

    Waits that overlap, also in other threads, count once: for the one that began first.
    """

    def __init__(
        self,
        stop: threading.Event | None = None,
        tell: Callable[[WaitReason, str], None] = lambda reason, text: None,
        clock: Callable[[], float] = time.monotonic,
    ) -> None:
        """A clock that goes on from where `clock` stands.

        Args:
            stop: the run's; None for work that nobody stops.
            tell: told what is waited for, in a word and in words, when a wait begins.
            clock: seconds that never go back.
        """
        super().__init__(clock)
        self._stop = threading.Event() if stop is None else stop
        self._tell = tell
        self._open: list[WaitReason] = []
        self._seconds: dict[WaitReason, float] = {}
        self._seen_s = clock()

    @property
    def seconds(self) -> dict[str, float]:
        """Seconds waited so far, by what for; they add up to the time in which anything was waited for, and to what
        others took from work that ran, which is `load`.
        """
        with self._lock:
            self._account()
            return {str(reason): seconds for reason, seconds in self._seconds.items()}

    def __call__(self) -> float:
        """Return seconds on a clock that stands still while something is waited for."""
        with self._lock:
            self._account()
            return self._seen_s - sum(self._seconds.values())

    def lose(self, seconds: float) -> None:
        """Count so many of the seconds that have passed as waiting: others had the machine for them."""
        with self._lock:
            self._account()
            self._lost_s += seconds
            if seconds > 0:
                self._seconds["load"] = self._seconds.get("load", 0.0) + seconds

    def check_stop(self) -> None:
        """Raises Stopped if the user has stopped the run."""
        if self._stop.is_set():
            raise Stopped

    @contextlib.contextmanager
    def waiting(self, reason: WaitReason, said: str = "") -> Iterator[None]:
        """Count what happens inside as waiting. It ends by itself: whatever blocks in it listens to the stop.

        Raises:
            Stopped: the run was stopped before.
        """
        self.check_stop()
        with self._lock:
            self._account()
            self._open.append(reason)
        try:
            if said:
                self._tell(reason, said)
            yield
        finally:
            with self._lock:
                self._account()
                self._open.remove(reason)

    def pause(self, seconds: float, reason: WaitReason, said: str = "") -> None:
        """Wait for that long.

        Raises:
            Stopped: the run was stopped, before or meanwhile.
        """
        with self.waiting(reason, said):
            self._stop.wait(max(seconds, 0.0))
            self.check_stop()

    def obtain(self, attempt: Callable[[float], Found | None], reason: WaitReason, said: str = "") -> Found:
        """Try until something is got; what is had at once was not waited for.

        Args:
            attempt: returns it, or None where it is not to be had within the seconds that it is given.
            reason: what is waited for.
            said: told once, if it must be waited for.

        Raises:
            Stopped: the run was stopped before it was got.
        """
        self.check_stop()
        found = attempt(0.0)
        if found is not None:
            return found
        with self.waiting(reason, said):
            while (found := attempt(TICK_S)) is None:
                self.check_stop()
            return found

    def _account(self) -> None:
        """Book the time since the last look, under the lock."""
        now_s = self._passed_s()
        if self._open:
            first = self._open[0]
            self._seconds[first] = self._seconds.get(first, 0.0) + now_s - self._seen_s
        self._seen_s = now_s
