"""Whether a container's first process still lives, seen by this machine's kernel and not told by the engine.

A container ends with its first process: the kernel kills whatever else runs there before that process is gone. So it
is gone only if the code has ended, whatever an engine says that lost its runtime, or has not heard of the end.

Not covered: engines on other machines, and processes that this one may not see. Those are never found gone.
"""

from pathlib import Path

_PROC = Path("/proc")
_START_TIME = 19
"""Of the fields of `/proc/PID/stat` behind the name (proc(5): the 22nd of all), in ticks since the machine began."""


class InitProcess:
    """The first process of one container."""

    def __init__(self, pid: int, container: str) -> None:
        """Note when it began, while it lives.

        Args:
            pid: as the engine's machine numbers it.
            container: the engine's identifier, which the process's control groups must name: else the number belongs
                to another process, of this machine and not of the engine's.
        """
        self._pid = pid
        self._began = _began(pid) if _is_of(pid, container) else None

    @property
    def is_seen(self) -> bool:
        """Whether this machine's processes are the engine's, and so are their numbers."""
        return self._began is not None

    @property
    def is_gone(self) -> bool:
        """Whether it was seen to live, and now is no more, not even as one that waits for its parent.

        One that only waits is not gone: its first thread alone may have ended, which code can bring about.
        """
        if self._began is None:
            return False
        try:
            return _began(self._pid) != self._began
        except OSError:
            return False  # it cannot be looked for just now


def _is_of(pid: int, container: str) -> bool:
    try:
        return container in (_PROC / str(pid) / "cgroup").read_text()
    except OSError:
        return False


def _began(pid: int) -> int | None:
    """When a process began; None if there is none of this number.

    Raises:
        OSError: that cannot be read.
    """
    try:
        stat = (_PROC / str(pid) / "stat").read_text()
    except (FileNotFoundError, ProcessLookupError):
        return None
    return int(stat.rpartition(")")[2].split()[_START_TIME])
