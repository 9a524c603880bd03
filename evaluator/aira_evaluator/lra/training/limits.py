"""What an evaluation may use of time and memory, and how much it has used.

Time is that for which the evaluation had its cores, as the deadline outside counts it: what its neighbours took is not
its submission's to answer for.

Not covered: enforcing either; the container's walls and the deadline outside do that.
"""

import os
import time
from collections.abc import Callable
from dataclasses import dataclass

from aira_contract.core_time import idle_s
from aira_evaluator.lra.contract.refusal import RefusedError

_PROCESS_BYTES = 768 << 20
"""What the judge needs besides the arrays of a program."""
_SLACK = 1.25
"""Factor by which a projected time may exceed the limit before the training is refused."""


@dataclass(frozen=True)
class JudgeLimits:
    """What one evaluation may use of time and memory; None is unlimited."""

    timeout_s: float | None = None
    memory_mib: int | None = None

    @property
    def array_bytes(self) -> float:
        """Bytes that the arrays of one compiled program may take; infinite without a limit."""
        if self.memory_mib is None:
            return float("inf")
        return max(0, (self.memory_mib << 20) - _PROCESS_BYTES)

    def require_memory(self, needed: float, purpose: str) -> None:
        """Refuse what cannot fit, rather than be killed.

        Raises:
            RefusedError: `needed` bytes are more than there are.
        """
        if needed > self.array_bytes:
            raise RefusedError(
                f"the module needs {needed / 2**20:,.0f} MiB {purpose}, there are {self.array_bytes / 2**20:,.0f} MiB"
            )


class NeighbourClock:
    """Tells for how long others used the cores of this process, added up over the cores and divided by their number.

    An evaluation trains on all of its cores, so that is by how much its neighbours delay it. Only a process that is
    alone in its container with its children may ask: what any other process there used counts as others'.
    """

    def __init__(self) -> None:
        """Begin to count now."""
        self._cores = tuple(sorted(os.sched_getaffinity(0)))
        self._began = self._read()

    def taken_s(self) -> float:
        """Return wall seconds that others took so far, 0 where the machine does not tell."""
        now = self._read()
        if now is None or self._began is None:
            return 0.0
        passed_s, idle, own_s = (b - a for a, b in zip(self._began, now, strict=True))
        return max(passed_s - (idle + own_s) / len(self._cores), 0.0)

    def _read(self) -> tuple[float, float, float] | None:
        idle, times = idle_s(self._cores), os.times()
        return None if idle is None else (time.monotonic(), idle, sum(times[:4]))


class EvaluationClock:
    """Time used, by what it was used for."""

    def __init__(self, limits: JudgeLimits, started_s: float, taken_s: Callable[[], float] = lambda: 0.0) -> None:
        """Begin at `started_s` by `time.monotonic`; `taken_s` says what others took since."""
        self._limits, self._taken_s = limits, taken_s
        self._started_s = self._last_s = started_s
        self.used_s: dict[str, float] = {}

    def lap(self, name: str) -> float:
        """Book the time since the last lap; return it in seconds."""
        now_s = max(time.monotonic() - self._taken_s(), self._last_s)
        passed_s, self._last_s = now_s - self._last_s, now_s
        self.used_s[name] = self.used_s.get(name, 0.0) + passed_s
        return passed_s

    def allows(self, needed_s: float) -> bool:
        """Whether `needed_s` more seconds are within the limit."""
        return self._limits.timeout_s is None or self._last_s - self._started_s + needed_s <= self._limits.timeout_s

    def require(self, needed_s: float) -> None:
        """Stop early where the time will not do.

        Raises:
            RefusedError: `needed_s` more seconds are far beyond the limit.
        """
        total_s = self._last_s - self._started_s + needed_s
        if self._limits.timeout_s is not None and total_s > _SLACK * self._limits.timeout_s:
            raise RefusedError(
                f"training and scoring would take about {total_s:.0f} s, allowed are {self._limits.timeout_s:.0f} s"
            )
