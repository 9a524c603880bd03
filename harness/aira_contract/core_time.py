"""How long cores were idle, which tells what others took from work that is pinned to them.

Read by the host of containers that run code of others, and by judges of their own container. Time that the cores were
not idle and that the work did not use itself, others used: other processes, another guest of the same machine.
Interrupts count as idle time: code can bring them about with timers, and kernels that account for them apart from the
code that runs would show them as somebody else's. Idle time is read, and not busy time, because kernels without ticks
on idle cores keep it exactly, while busy time is guessed at each tick, so that code which wakes with the ticks can make
it many times what it used.

Not covered: containers with stand-ins for the kernel's files, which cannot read it.
"""

from collections.abc import Collection
from pathlib import Path

_STAT = Path("/proc/stat")
_TICKS_PER_S = 100
"""USER_HZ: the unit of /proc/stat for every architecture that Linux containers run on."""
_NOBODYS = (4, 5, 6, 7)
"""Columns of a core's line: idle, waiting for disks, interrupts, and what interrupts put off."""


def idle_s(cores: Collection[int], stat: Path = _STAT) -> float | None:
    """Return for how many seconds `cores` ran nobody's code since the machine started, added up; None where hidden."""
    wanted = {f"cpu{core}" for core in cores}
    try:
        rows = [line.split() for line in stat.read_text(encoding="ascii").splitlines() if line.startswith("cpu")]
        found = [sum(int(row[column]) for column in _NOBODYS) for row in rows if row[0] in wanted]
    except (OSError, ValueError, IndexError):
        return None
    return sum(found) / _TICKS_PER_S if len(found) == len(wanted) and any(found) else None
