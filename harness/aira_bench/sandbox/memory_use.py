"""What a step's container holds in memory, read from its control group while it lives: at most, and in the kernel.

The kernel's share is page tables, above all. They grow with what processes map, not with what they own: twenty
processes that map one file again and again fill gigabytes, and the kernel needs seconds a gigabyte to take that apart
once they are killed. No limit of its own counts them any more (control groups v1 ignore theirs since Linux 6.1, v2 has
none), so the host watches the share and the step is killed above `Limits.kernel_mib`.

The control group is gone when the container is, so a figure is the last reading: a lower bound, at most one sampling
interval old. Not covered: engines on other machines and control groups hidden from this process; there both are None,
and kernel memory is bounded by the memory limit alone, which counts it too. On v1 the kernel's share holds what it
remembers of files it met, on v2 that is taken off.

On v2 an engine calls a container killed for memory also when the whole machine had none left. The group above the
container's outlives it, and counts there how often a limit below it was met (`oom` of `memory.events`, counted up the
tree at once): if no limit was, the container died of its machine. On v1 engines are told of limits only.
"""

from dataclasses import dataclass
from pathlib import Path

_PROC = Path("/proc")
_CGROUPS = Path("/sys/fs/cgroup")
_MIB = 2**20


@dataclass(frozen=True)
class _Files:
    peak: Path
    kernel: Path
    limits_met: Path | None
    """Of the group above, on v2."""
    kills: Path
    """Counts processes of the container that the kernel killed for want of memory."""
    limit: Path | None = None
    """The container's, on v1, where nothing counts how often it was met."""


class MemoryUse:
    """Reads how much memory one container uses, from the host's view of its control group."""

    def __init__(self, pid: int) -> None:
        """`pid` is the container's first process as the engine's machine numbers it."""
        self._files = _files(pid)
        self.peak_mib: float | None = None
        """The high-water mark, workspace and page cache included."""
        self.kernel_mib: float | None = None
        """What the kernel holds for the container now."""
        self.was_killed = False
        """Whether the kernel was seen to have killed a process of it that had met its limit, as the group tells that is
        removed soon after the container's death. Not every engine says so itself.
        """
        self._limits_met = self._count_limits_met()

    def may_have_met_its_limit(self) -> bool:
        """Whether a limit of memory was met since the start, by this container or by one beside it."""
        met = self._count_limits_met()
        return met is None or self._limits_met is None or met > self._limits_met

    def _count_limits_met(self) -> int | None:
        if self._files is None or self._files.limits_met is None:
            return None
        try:
            return int(_numbers(self._files.limits_met.read_text())["oom"])
        except (OSError, ValueError, KeyError):
            return None

    def sample(self) -> None:
        """Read peak and kernel memory anew; where that cannot be read, the last values stay."""
        if self._files is None:
            return
        self.was_killed = self.was_killed or _counts_kills(self._files)
        try:
            self.peak_mib = int(self._files.peak.read_text()) / _MIB
            self.kernel_mib = _kernel_bytes(self._files.kernel) / _MIB
        except (OSError, ValueError):
            return


def _counts_kills(files: _Files) -> bool:
    try:
        met = files.limit is None or int(files.peak.read_text()) > int(files.limit.read_text()) - _MIB
        return met and int(_numbers(files.kills.read_text())["oom_kill"]) > 0
    except (OSError, ValueError, KeyError):
        return False


def _kernel_bytes(path: Path) -> int:
    """The number in a file that holds nothing else; of a list, `kernel` less what the kernel would give back."""
    text = path.read_text()
    if path.name != "memory.stat":
        return int(text)
    numbers = _numbers(text)
    return int(numbers.get("kernel", 0)) - int(numbers.get("slab_reclaimable", 0))


def _numbers(text: str) -> dict[str, str]:
    return dict(line.split() for line in text.splitlines())


def _files(pid: int) -> _Files | None:
    try:
        lines = (_PROC / str(pid) / "cgroup").read_text().splitlines()
    except OSError:
        return None
    for line in lines:
        _, controllers, path = line.split(":", 2)
        if "memory" in controllers.split(","):
            folder = _CGROUPS / "memory" / path.lstrip("/")
            return _existing(
                folder, "memory.max_usage_in_bytes", "memory.kmem.usage_in_bytes",
                kills="memory.oom_control", limit="memory.limit_in_bytes",
            )  # fmt: skip
    for line in lines:
        if line.startswith("0::"):
            folder = _CGROUPS / line[3:].lstrip("/")
            above = folder.parent / "memory.events"
            return _existing(folder, "memory.peak", "memory.stat", kills="memory.events", limits_met=above)
    return None


def _existing(
    folder: Path, peak: str, kernel: str, *, kills: str, limit: str = "", limits_met: Path | None = None
) -> _Files | None:
    if not (folder / peak).exists() or not (folder / kernel).exists():
        return None
    return _Files(folder / peak, folder / kernel, limits_met, folder / kills, folder / limit if limit else None)
