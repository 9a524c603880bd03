"""What an evaluation may use of time and memory, and how much it has used.

Not covered: enforcing either; the container's walls and the deadline outside do that.
"""

import time
from dataclasses import dataclass

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


class EvaluationClock:
    """Time used, by what it was used for."""

    def __init__(self, limits: JudgeLimits, started_s: float) -> None:
        self._limits = limits
        self._started_s = self._last_s = started_s
        self.used_s: dict[str, float] = {}

    def lap(self, name: str) -> float:
        """Book the time since the last lap; return it in seconds."""
        now_s = time.monotonic()
        passed_s, self._last_s = now_s - self._last_s, now_s
        self.used_s[name] = self.used_s.get(name, 0.0) + passed_s
        return passed_s

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
