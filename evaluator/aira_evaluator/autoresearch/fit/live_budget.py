"""Seconds of training that grow by what neighbours take of a training's cores, while it trains.

Where others use the same cores, a second of the wall's clock holds less training than alone. The host tells a script
how many times more seconds its last training would have needed; neighbours who come and go make that wrong. This
number follows them: it is the budget times

    r = min(run + waited, cores * passed) / run

since training began, where `run` is what the threads of this process ran and `waited` how long they could have run and
no core was theirs, both by the kernel's account of each thread. Alone r is 1: threads of one process that crowd each
other wait too, but together they run as long as the cores there are. A loop `while trained_s < TIME_BUDGET` so ends
when its seconds hold as much training as the budget means; one that reads it once has what the host told.

Nothing trusted stands on it. A script may end whenever it likes, before its deadline and as now; whether its training
had its cores for as long as is due is measured from outside (`aira_bench.evaluation.pace`).

Not covered: threads that have ended take their waiting with them; other processes of a script; devices.
"""

import os
import time
from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path

_TASKS = Path("/proc/self/task")
_TOLD_SHARE = 0.02
"""Of the budget: core seconds for which what was told counts beside what is seen, since the first few tell little."""
_NOTICED = 1.05
"""Below it the budget is what it is alone, to the digit."""


@dataclass(frozen=True)
class CoreUse:
    """What the threads of a process had of its cores up to a moment."""

    at_s: float
    run_s: float
    waited_s: float


def core_use(tasks: Path = _TASKS) -> CoreUse | None:
    """Return what this process had of its cores so far; None where the kernel does not tell."""
    waited_ns, told = 0, False
    try:
        for task in tasks.iterdir():
            try:
                fields = (task / "schedstat").read_bytes().split()
            except (FileNotFoundError, ProcessLookupError):  # it has ended meanwhile
                continue
            waited_ns, told = waited_ns + int(fields[1]), True
    except (OSError, ValueError, IndexError):
        return None
    return CoreUse(time.monotonic(), time.process_time(), waited_ns / 1e9) if told else None


def slowdown(first: CoreUse, now: CoreUse, cores: int, told: float, told_s: float) -> float:
    """Return how many times longer than alone a training takes, by what it had between two moments.

    Args:
        first: when it began.
        now: the present.
        cores: that its threads may use.
        told: the host's forecast.
        told_s: core seconds for which it counts.
    """
    run_s, waited_s = now.run_s - first.run_s, max(now.waited_s - first.waited_s, 0.0)
    wanted_s = max(min(run_s + waited_s, cores * (now.at_s - first.at_s)), run_s)
    seen = (wanted_s + told_s * told) / (run_s + told_s)
    return seen if seen >= _NOTICED else 1.0


class LiveBudget(float):
    """Seconds of training as a number: what was told, until training begins, and what they are worth from then on.

    In comparisons and in arithmetic it is its present worth, and results are plain numbers. Libraries written in C take
    it for what was told.
    """

    def __new__(cls, told_s: float, alone_s: float, look: Callable[[], CoreUse | None] = core_use) -> "LiveBudget":
        """Return the budget of a script.

        Args:
            told_s: seconds that the host told.
            alone_s: seconds on cores of its own.
            look: what the process had of its cores.
        """
        made = super().__new__(cls, told_s)
        made._told, made._alone_s, made._look = max(told_s / alone_s, 1.0), alone_s, look
        made._cores, made._first = len(os.sched_getaffinity(0)), None
        return made

    _told: float
    _alone_s: float
    _look: Callable[[], CoreUse | None]
    _cores: int
    _first: CoreUse | None

    def begin(self) -> None:
        """Let training begin; what was begun stays so."""
        if self._first is None:
            self._first = self._look()

    @property
    def now(self) -> float:
        """Its present worth, in seconds."""
        use = None if self._first is None else self._look()
        if self._first is None or use is None:
            return super().__float__()
        return self._alone_s * slowdown(self._first, use, self._cores, self._told, _TOLD_SHARE * self._alone_s)

    def __float__(self) -> float:
        return self.now

    def __repr__(self) -> str:
        return f"{self.now:g}"

    __str__ = __repr__

    def __format__(self, spec: str) -> str:
        return format(int(self) if spec.endswith("d") else self.now, spec) if spec else str(self)

    def __index__(self) -> int:
        """Scripts may count with it, as with the whole number that it is alone."""
        return int(self)

    def __reduce__(self) -> tuple[type[float], tuple[float]]:
        return float, (self.now,)

    def __hash__(self) -> int:
        return hash(self._alone_s)


def _follow(name: str) -> None:
    """Let an operation of `LiveBudget` be that of its present worth."""
    plain: Callable[..., object] = getattr(float, name)

    def operation(self: LiveBudget, *others: object) -> object:
        return plain(self.now, *(other.now if isinstance(other, LiveBudget) else other for other in others))

    operation.__name__ = name
    operation.__doc__ = plain.__doc__
    setattr(LiveBudget, name, operation)


for _name in (
    "lt", "le", "gt", "ge", "eq", "ne", "add", "radd", "sub", "rsub", "mul", "rmul", "truediv", "rtruediv",
    "floordiv", "rfloordiv", "mod", "rmod", "divmod", "rdivmod", "pow", "rpow", "neg", "pos", "abs", "int", "trunc",
    "round", "floor", "ceil", "bool",
):  # fmt: skip
    _follow(f"__{_name}__")
