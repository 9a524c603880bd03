"""What others took of the time of a container, whole or in part.

A deadline counts all of a container's time. Whether a training had its share is a question about its training alone:
what comes before and after, importing and evaluating, runs with other numbers of threads and loses other parts to the
same neighbours.

Not covered: how lost time is measured (`core_share`).
"""

from bisect import bisect_right
from collections.abc import Sequence
from dataclasses import dataclass, field

_MOST_READINGS = 4096
"""Of one container; a day at one a second is thinned to one in half a minute."""


@dataclass(frozen=True)
class CoreTime:
    """Seconds of a container by the wall's clock, and what others took of them."""

    wall_s: float
    lost_s: float
    """By how much others delayed it; no deadline counts them."""
    taken_s: float
    """For how long others used a core of its, on average: also where its code did not want it."""


@dataclass(frozen=True)
class CoreHistory:
    """Readings in their order: when, what was lost, and what was taken by then. Empty where nothing could be read."""

    at_s: Sequence[float] = ()
    lost_s: Sequence[float] = ()
    taken_s: Sequence[float] = ()

    def between(self, began_s: float, ended_s: float) -> CoreTime | None:
        """Return what others took from one moment to another; None where there are no readings around both."""
        if not self.at_s or not self.at_s[0] <= began_s <= ended_s:
            return None
        lost_s, taken_s = (self._by(by, ended_s) - self._by(by, began_s) for by in (self.lost_s, self.taken_s))
        return CoreTime(ended_s - began_s, min(lost_s, ended_s - began_s), min(taken_s, ended_s - began_s))

    def _by(self, values: Sequence[float], at_s: float) -> float:
        """What a count came to, even between two readings and as at the last one after it."""
        after = bisect_right(self.at_s, at_s)
        if after == len(self.at_s):
            return values[-1]
        first_s, second_s = self.at_s[after - 1 : after + 1]
        part = (at_s - first_s) / (second_s - first_s)
        return values[after - 1] + part * (values[after] - values[after - 1])


@dataclass
class CoreRecorder:
    """Takes readings, and keeps them in bounded memory."""

    _kept: list[tuple[float, float, float]] = field(default_factory=list)

    def take(self, at_s: float, lost_s: float, taken_s: float) -> None:
        """Keep a reading, if it is later than the last one."""
        if self._kept and at_s <= self._kept[-1][0]:
            return
        if len(self._kept) == _MOST_READINGS:
            del self._kept[1::2]
        self._kept.append((at_s, lost_s, taken_s))

    def history(self) -> CoreHistory:
        """Return what was kept."""
        return CoreHistory(*zip(*self._kept, strict=True)) if self._kept else CoreHistory()
