"""The largest memory a step's container held, read from its control group while it lives.

The control group is gone when the container is, so the figure is the last reading: a lower bound, at most one
sampling interval old. It counts what the kernel charges, page cache and workspace included.

Not covered: engines on other machines and control groups hidden from this process; there the figure is None.
"""

import contextlib
from pathlib import Path

_PROC = Path("/proc")
_CGROUPS = Path("/sys/fs/cgroup")


class PeakMemory:
    """Samples one container's high-water mark."""

    def __init__(self, pid: int) -> None:
        """`pid` is the container's first process as the engine's machine numbers it."""
        self._file = _peak_file(pid)
        self._peak_bytes: int | None = None

    def sample(self) -> None:
        """Read the mark, if it can be read."""
        if self._file is not None:
            with contextlib.suppress(OSError, ValueError):
                self._peak_bytes = int(self._file.read_text())

    @property
    def mib(self) -> float | None:
        """The last reading."""
        return None if self._peak_bytes is None else self._peak_bytes / 2**20


def _peak_file(pid: int) -> Path | None:
    try:
        lines = (_PROC / str(pid) / "cgroup").read_text().splitlines()
    except OSError:
        return None
    for line in lines:
        _, controllers, path = line.split(":", 2)
        if "memory" in controllers.split(","):
            return _existing(_CGROUPS / "memory" / path.lstrip("/") / "memory.max_usage_in_bytes")
    for line in lines:
        if line.startswith("0::"):
            return _existing(_CGROUPS / line[3:].lstrip("/") / "memory.peak")
    return None


def _existing(path: Path) -> Path | None:
    return path if path.exists() else None
