"""How much of a container's time others took from it, so that no deadline of its code depends on its neighbours.

On the cores that a container is pinned to, time that was neither idle nor the container's own was taken by others:
other processes, another guest of the machine. The container lost it where it wanted to run meanwhile, so
what counts is bounded by its threads that can run, too. Both are seen from outside, once a second:

    lost = min(taken, wanted - own) / threads that can run, at most one a core

which is the wall time by which the work ended later than it would have alone. Code that sleeps loses nothing to
others, code that fills its cores with threads loses as much as code that has one for each core, and threads that take
from each other lose nothing: what is its own is the whole container's; nor does a thread that gave way to others by a
priority of its own choice. So nothing that code does makes its clock stand
still; it can only want to run, and then it has run as long as it would have alone when its time is over.

A judge and the predict containers it asks take turns on the same cores. They are one group here: a model that computes
takes no time from its judge.

Not covered: engines on other machines and control groups hidden from this process, where nothing is lost and clocks
are the wall's; disks, memory bandwidth and caches that others use; GPUs (`aira_bench.gpus.watch`); a core's clock
frequency.
"""

import contextlib
import threading
import time
from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path

from aira_bench.sandbox.core_time import CoreHistory, CoreRecorder
from aira_bench.sandbox.sandbox import Starved
from aira_contract.core_time import idle_s

_PROC = Path("/proc")
_CGROUPS = Path("/sys/fs/cgroup")
_LEAST_S = 0.4
"""Of an interval: the kernel tells idle time in hundredths of a second."""
_STATE, _NICE, _POLICY = 0, 16, 38
"""Behind the name of a thread in its `stat` file."""
_RUNNING, _ORDINARY = b"R", 0
MOST_TIMES, MOST_PLUS_S = 30.0, 60.0
"""Wall seconds for each second of a limit, and on top: a container that was left a thirtieth of its cores for all of
its time. Twenty busy loops on two cores leave one that shares them with a judge about a twentieth."""


class ContainerUse:
    """What one container used of its cores, and whether it wants them, from the host's view of its control group."""

    def __init__(self, pid: int) -> None:
        """`pid` is the container's first process as the engine's machine numbers it."""
        self._usage: Path | None
        self._threads: Path | None
        self._usage, self._threads = _files(pid) or (None, None)
        self._last_s = 0.0

    @property
    def is_seen(self) -> bool:
        """Whether its control group can be read from here."""
        return self._usage is not None

    @property
    def is_gone(self) -> bool:
        """Whether its control group was removed, as the engine does with a dead container's."""
        return self._usage is not None and not self._usage.exists()

    def used_s(self) -> float:
        """Core seconds used so far; the last reading when it is gone."""
        if self._usage is not None:
            with contextlib.suppress(OSError, ValueError):
                self._last_s = max(self._last_s, _usage_s(self._usage))
        return self._last_s

    def wanting(self, most: int) -> int:
        """How many of its threads run or could, now, up to `most`; those that gave way of their own accord are none."""
        found = 0
        if self._threads is not None:
            for thread in _lines(self._threads):
                found += _wants(thread)
                if found == most:
                    break
        return found


@dataclass(frozen=True)
class _Reading:
    at_s: float
    idle_s: float
    own_s: float


class CoreShare:
    """What the containers of one group lost to others on their cores. Safe between threads."""

    def __init__(self, cores: tuple[int, ...] | None, clock: Callable[[], float] = time.monotonic) -> None:
        """`cores`: which the group is pinned to; None if to none, and then nothing is known to be lost."""
        self._cores, self._clock = cores or (), clock
        self._lock = threading.Lock()
        self._members: list[ContainerUse] = []
        self._last: _Reading | None = None
        self._lost_s = self._taken_s = self._gone_s = 0.0

    def join(self, member: ContainerUse) -> None:
        """Let a container be one of the group."""
        with self._lock:
            self._gone_s += sum(each.used_s() for each in self._members if each.is_gone)
            self._members = [*(each for each in self._members if not each.is_gone), member]
            self._last = None  # what it used before was in no reading

    def sample(self) -> None:
        """Look at the cores, and book what was lost since the last look."""
        with self._lock:
            last = self._last
            if last is not None and self._clock() - last.at_s < _LEAST_S:
                return
            now = self._read()
            self._last = now
            if now is None or last is None:
                return
            passed_s, own_s = now.at_s - last.at_s, now.own_s - last.own_s
            taken_s = len(self._cores) * passed_s - (now.idle_s - last.idle_s) - own_s
            self._taken_s += min(max(taken_s / len(self._cores), 0.0), passed_s)
            wanting = self._wanting()
            self._lost_s += lost_s(passed_s, taken_s=taken_s, own_s=own_s, wanting=wanting)

    def reading(self) -> tuple[float, float, float] | None:
        """When the last look was, and what had been lost and taken by then; None where nothing can be seen."""
        with self._lock:
            return None if self._last is None else (self._last.at_s, self._lost_s, self._taken_s)

    @property
    def lost_s(self) -> float:
        """Wall seconds that the group lost to others since it began."""
        with self._lock:
            return self._lost_s

    @property
    def taken_s(self) -> float:
        """Seconds that others used of one of the group's cores, on average, whether or not it wanted them."""
        with self._lock:
            return self._taken_s

    def _read(self) -> _Reading | None:
        at_s = self._clock()
        idle = idle_s(self._cores) if self._cores and all(member.is_seen for member in self._members) else None
        if idle is None:
            return None
        return _Reading(at_s, idle, self._gone_s + sum(member.used_s() for member in self._members))

    def _wanting(self) -> int:
        found = 0
        for member in self._members:
            found += member.wanting(len(self._cores) - found)
            if found >= len(self._cores):
                break
        return found


class CoreAllowance:
    """What is left of a limit in seconds that a container had its cores; begins when it is made.

    The wall's clock has a say too, so that the end is sure whatever the cores do: after `wall_limit_s` of a limit.
    """

    def __init__(self, limit_s: float, share: CoreShare, clock: Callable[[], float] = time.monotonic) -> None:
        """Take the first look at the cores."""
        self._limit_s, self._share, self._clock = limit_s, share, clock
        share.sample()
        self._began_s, self._lost_before_s, self._taken_before_s = clock(), share.lost_s, share.taken_s
        self._starves = False
        self._history = CoreRecorder()
        self._note()

    def left_s(self) -> float:
        """Return the seconds left, of its own cores or of the wall; not above 0 when the time is over."""
        self._share.sample()
        self._note()
        passed_s = self._clock() - self._began_s
        own_s, wall_s = self._limit_s + self.lost_s - passed_s, wall_limit_s(self._limit_s) - passed_s
        self._starves = wall_s < own_s
        return min(own_s, wall_s)

    @property
    def lost_s(self) -> float:
        """Wall seconds that others took since it began."""
        return self._share.lost_s - self._lost_before_s

    @property
    def taken_s(self) -> float:
        """Wall seconds of a core that others used since it began, on average, whether or not they were wanted."""
        return self._share.taken_s - self._taken_before_s

    def history(self) -> CoreHistory:
        """Return what others took along its time so far."""
        return self._history.history()

    def _note(self) -> None:
        if (reading := self._share.reading()) is not None:
            self._history.take(*reading)

    def require_had(self) -> None:
        """Raise Starved if its time is over by the wall's clock alone: it had less than its limit."""
        passed_s = self._clock() - self._began_s
        if self._starves:
            raise Starved(
                f"Others kept the cores of a container: it had them for {passed_s - self.lost_s:.0f} s of "
                f"{passed_s:.0f} s, and {self._limit_s:.0f} s are its time."
            )


def wall_limit_s(limit_s: float) -> float:
    """Return the wall seconds after which a container is ended, whatever it had of its cores."""
    return MOST_TIMES * limit_s + MOST_PLUS_S


def lost_s(passed_s: float, *, taken_s: float, own_s: float, wanting: int) -> float:
    """Return by how much later work ended because others used its cores.

    Args:
        passed_s: wall seconds.
        taken_s: core seconds that others used of the work's cores.
        own_s: core seconds that it used itself.
        wanting: threads of its that ran or could have, at most one a core.
    """
    if wanting == 0:
        return 0.0
    waited_s = wanting * passed_s - own_s
    return min(max(min(taken_s, waited_s), 0.0) / wanting, passed_s)


def _files(pid: int) -> tuple[Path, Path] | None:
    """Where the control group of a process says what it used, and which threads it has."""
    lines = _lines(_PROC / str(pid) / "cgroup")
    for line in lines:
        _, controllers, path = line.split(":", 2)
        if "cpuacct" in controllers.split(","):
            return _existing(_CGROUPS / controllers / path.lstrip("/"), "cpuacct.usage", "tasks") or _existing(
                _CGROUPS / "cpuacct" / path.lstrip("/"), "cpuacct.usage", "tasks"
            )
    for line in lines:
        if line.startswith("0::"):
            return _existing(_CGROUPS / line[3:].lstrip("/"), "cpu.stat", "cgroup.threads")
    return None


def _existing(folder: Path, *names: str) -> tuple[Path, Path] | None:
    usage, threads = (folder / name for name in names)
    return (usage, threads) if usage.exists() and threads.exists() else None


def _usage_s(path: Path) -> float:
    text = path.read_text(encoding="ascii")
    if path.name == "cpuacct.usage":
        return int(text) / 1e9
    return int(dict(line.split() for line in text.splitlines())["usage_usec"]) / 1e6


def _lines(path: Path) -> list[str]:
    try:
        return path.read_text(encoding="ascii").splitlines()
    except OSError:
        return []


def _wants(thread: str) -> bool:
    """Whether a thread runs or could, as much as any other would. It may be called anything: what counts stands behind
    the last bracket.
    """
    try:
        fields = (_PROC / thread / "stat").read_bytes().rpartition(b")")[2].split()
        return fields[_STATE] == _RUNNING and int(fields[_NICE]) <= 0 and int(fields[_POLICY]) == _ORDINARY
    except (OSError, IndexError, ValueError):
        return False
