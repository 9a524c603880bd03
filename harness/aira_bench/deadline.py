"""When a piece of work must be done, and whose limit that is.

Work inside a step is bounded several times over: by its own cap, by the evaluation it is part of, by the hours of its
seed. The first of these ends it, and whose that was decides what it means: code that used up its own time failed, code
that was cut short because the run's time was over did not. A number of seconds cannot tell; a `Deadline` can.

Not covered: ending the work. Whoever runs it kills it from outside (`aira_bench.sandbox`).
"""

import threading
import time
from collections.abc import Callable
from dataclasses import dataclass, field, replace
from typing import Literal

Owner = Literal["hours", "step", "evaluation", "tracing", "script", "call", "remainder"]
"""`hours` are a seed's; `call` is what one question to a model may take; `step`, `evaluation`, `tracing` and `script`
are caps that their own work answers for; `remainder` is what earlier parts of the same work have left, for which
nothing that still runs answers."""


class WorkClock:
    """Seconds that pass, less those that others took from the work. Safe between threads."""

    def __init__(self, passed_s: Callable[[], float] = time.monotonic) -> None:
        """Go on from where `passed_s`, seconds that never go back, stands."""
        self._passed_s = passed_s
        self._lost_s = 0.0
        self._lock = threading.Lock()

    def __call__(self) -> float:
        """Return the seconds of work so far, from an arbitrary start."""
        with self._lock:
            return self._passed_s() - self._lost_s

    def lose(self, seconds: float) -> None:
        """Do not count so many of the seconds that have passed: others had the machine for them."""
        with self._lock:
            self._lost_s += seconds

    @property
    def lost_s(self) -> float:
        """Seconds that others took so far."""
        with self._lock:
            return self._lost_s


@dataclass(frozen=True)
class Deadline:
    """A moment on a clock of work, and whose limit it is. All that are made of one share its clock."""

    owner: Owner
    limit_s: float
    """Seconds from `began_s` to the deadline. Not above 0 where there is no time at all."""
    began_s: float
    """On `clock`."""
    clock: WorkClock = field(default_factory=WorkClock, repr=False, compare=False)

    @classmethod
    def after(cls, limit_s: float, owner: Owner, clock: Callable[[], float] = time.monotonic) -> "Deadline":
        """Return the deadline `limit_s` seconds from now, on a `WorkClock` or on a new one over `clock`."""
        of_work = clock if isinstance(clock, WorkClock) else WorkClock(clock)
        return cls(owner, limit_s, of_work(), of_work)

    @property
    def used_s(self) -> float:
        """Seconds since it was set."""
        return self.clock() - self.began_s

    @property
    def left_s(self) -> float:
        """Seconds until it; below 0 once it has passed."""
        return self.limit_s - self.used_s

    @property
    def has_passed(self) -> bool:
        """Whether no time is left."""
        return self.left_s <= 0

    def lose(self, seconds: float) -> None:
        """Put off this deadline, and all that share its clock, by what others took from the work."""
        self.clock.lose(seconds)

    def within(self, limit_s: float, owner: Owner) -> "Deadline":
        """Return the sooner of this deadline and one `limit_s` seconds from now.

        Of two that end together it is the new one: work that had all of its own time answers for what it did with it.
        """
        left_s = self.left_s
        return replace(
            self,
            owner=owner if limit_s <= left_s else self.owner,
            limit_s=min(limit_s, left_s),
            began_s=self.clock(),
        )

    def first_part(self, limit_s: float, owner: Owner) -> "Deadline":
        """Return the sooner of this deadline and one `limit_s` seconds after this one began; of equals the new one."""
        return replace(self, owner=owner, limit_s=limit_s) if limit_s <= self.limit_s else self

    def stretched(self, times: float) -> "Deadline":
        """Return the deadline of work that gets its limit several times over."""
        return replace(self, limit_s=self.limit_s * times)

    def remainder(self, least_s: float = 0.0) -> "Deadline":
        """Return what is left of it now, but not less than `least_s`, for a part of the work that does not answer for
        it.
        """
        return Deadline.after(max(self.left_s, least_s), "remainder", self.clock)
