"""Names the orchestrator process that made a container, so that leftovers are told from a live run's containers.

A process is known by its machine's boot, its pid namespace, its number and its start time, so that neither a reused
number nor an orchestrator in another container or on another machine is mistaken for a dead one.

Not covered: orchestrators on machines without /proc.
"""

import os
from pathlib import Path

_PROC = Path("/proc")


def boot_id() -> str:
    """Return what names this machine from its start to its end: containers with one boot share a kernel."""
    return _place().partition("/")[0]


def this_process() -> str:
    """Return the owner label of containers made by this process."""
    return f"{_place()}/{os.getpid()}/{_start_ticks(os.getpid())}"


def is_dead(owner: str) -> bool:
    """Whether the labelled process ran here and is certainly gone. What cannot be judged from here is not dead."""
    return _lives(owner) is False


def is_another(owner: str) -> bool:
    """Whether the label is of a process that runs here now, and is not this one."""
    return owner != this_process() and _lives(owner) is True


def _lives(owner: str) -> bool | None:
    """Whether the labelled process runs; None if that cannot be judged from here."""
    place, _, process = owner.rpartition("/")
    place, _, number = place.rpartition("/")
    if place != _place() or not number.isdigit():
        return None
    try:
        os.kill(int(number), 0)
    except ProcessLookupError:
        return False
    except PermissionError:
        pass  # another user's process, alive
    try:
        return str(_start_ticks(int(number))) == process
    except FileNotFoundError:  # hidden from us, or gone in this very moment: the next sweep will know
        return None


def _place() -> str:
    boot = (_PROC / "sys/kernel/random/boot_id").read_text().strip()
    namespace = (_PROC / "self/ns/pid").readlink()
    return f"{boot}/{namespace}"


def _start_ticks(pid: int) -> int:
    # The command name before the last parenthesis may hold spaces; the start time is field 22 of the line.
    return int((_PROC / str(pid) / "stat").read_text().rpartition(")")[2].split()[19])
