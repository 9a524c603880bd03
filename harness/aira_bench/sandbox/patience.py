"""How long an engine that is away is waited for.

A daemon that is restarted is back in some seconds, one that a person must start in some minutes. The first pauses are
short, so that the usual restart costs little; after `MOST_S` the wait is in vain and whoever waits gives up.

Not covered: the waiting itself, which listens to the run's stop (`aira_bench.waiting`).
"""

from aira_bench.errors import EngineAway, SandboxError
from aira_bench.sandbox.sandbox import EndedFromOutside, Starved, StepLost

MOST_S = 600.0
"""For all pauses of one wait together."""
_FIRST_S, _LONGEST_S = 1.0, 30.0


class EnginePauses:
    """The pauses of one wait, each twice the one before."""

    def __init__(self) -> None:
        self._left_s, self._next_s = MOST_S, _FIRST_S
        self.waited_s = 0.0
        """All pauses given out so far."""

    def pause_s(self) -> float | None:
        """Return how long to wait before the engine is tried again, None if it has been long enough."""
        pause_s = min(self._next_s, self._left_s)
        if pause_s <= 0:
            return None
        self._left_s -= pause_s
        self._next_s = min(2 * self._next_s, _LONGEST_S)
        self.waited_s += pause_s
        return pause_s


def is_away(failure: BaseException) -> bool:
    """Whether the engine itself was gone when something failed, and not only one of its containers."""
    return isinstance(failure, EngineAway) or (isinstance(failure, StepLost) and failure.why == "away")


def away_words(failure: BaseException) -> str:
    """Return what is away, where `is_away`."""
    return failure.away if isinstance(failure, EngineAway) else EngineAway.away


def is_outside(failure: SandboxError) -> bool:
    """Whether a failure is known to be nobody's in the run: the engine went away, somebody meddled, or others
    had the cores.
    """
    if isinstance(failure, StepLost):
        return failure.why in ("away", "outside") or isinstance(failure, Starved)
    return is_away(failure) or isinstance(failure, EndedFromOutside)
