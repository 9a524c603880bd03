"""What an untrusted container sees of the kernel's own files: /proc and /sys.

Most of them count what all containers of a machine do together, so that one can read there what another did: memory
in use, interrupts, inodes, locks, the load. Untrusted containers keep an allow-list of them. Libraries need three of
the others, /proc/meminfo, /proc/stat and /proc/cpuinfo, and get plain files in their place which never change: the
container's own limits, and the processors without what they are doing. Of /sys they keep the processors' layout.

Each container has files of its own in place of the kernel's: which pages of a shared one are mapped would be a message.

Not covered: files below /proc/PID, which no mask reaches. The GPU's driver reads much of /sys, so containers with a GPU
keep it but for the paths in `GPU_MASKS`.
"""

from collections.abc import Iterator
from functools import cache
from pathlib import Path
from typing import Any

PROC_DEFAULTS = (
    "/proc/asound", "/proc/acpi", "/proc/kcore", "/proc/keys", "/proc/latency_stats", "/proc/timer_list",
    "/proc/timer_stats", "/proc/sched_debug", "/proc/scsi", "/proc/interrupts", "/sys/firmware",
    "/sys/devices/virtual/powercap",
)  # fmt: skip
"""The engine masks these where it is told of no others."""
READ_ONLY = ("/proc/bus", "/proc/fs", "/proc/irq", "/proc/sys", "/proc/sysrq-trigger")
"""The engine makes these read-only where it is told of no others."""
PROC_KEPT = {
    "cpuinfo", "filesystems", "meminfo", "mounts", "net", "self", "stat", "sysvipc", "thread-self", "version", "driver",
}  # fmt: skip
"""Constant, replaced, or of the container's own namespaces. `driver` is the GPU's, and is masked without one."""
PROC_MASKED = (
    "buddyinfo", "cgroups", "cmdline", "config.gz", "diskstats", "interrupts", "kallsyms", "key-users", "loadavg",
    "locks", "modules", "pagetypeinfo", "partitions", "pressure", "schedstat", "slabinfo", "softirqs", "swaps", "sys",
    "uptime", "vmallocinfo", "vmstat", "zoneinfo",
)  # fmt: skip
"""At least these, and whatever else this machine's /proc has."""
GPU_MASKS = ("/sys/block", "/sys/fs", "/sys/kernel", "/sys/module", "/sys/power")
PROCESSORS = "/sys/devices/system/cpu"
PROCESSOR_COUNTERS = ("cpufreq", "cpuidle", "cpu*/cpuidle", "cpu*/thermal_throttle", "cpu*/acpi_cppc")
"""What of the processors' folder changes with what runs on them."""
REPLACED = ("/proc/cpuinfo", "/proc/meminfo", "/proc/stat")
TERMINALS = "/dev/pts"
"""The number of pseudo-terminals is one for the machine."""
_SYS = Path(PROCESSORS)


@cache
def masked_paths(*, gpu: bool) -> tuple[str, ...]:
    """Paths that are empty in an untrusted container, the engine's defaults among them."""
    names = {path.name for path in Path("/proc").iterdir() if not path.name.isdigit()} | set(PROC_MASKED)
    kept = PROC_KEPT | {"sys"} if gpu else PROC_KEPT - {"driver"}
    proc = {f"/proc/{name}" for name in names - kept}
    if gpu:
        proc |= {f"/proc/sys/{name}" for name in ("fs", "vm", "kernel/pty", "kernel/random")}
    counters = {str(path) for pattern in PROCESSOR_COUNTERS for path in _SYS.glob(pattern) if not path.is_symlink()}
    return tuple(sorted({*PROC_DEFAULTS, *proc, *counters, TERMINALS, *(GPU_MASKS if gpu else ())}))


def processors() -> dict[str, Any]:
    """Return the mount that keeps the processors' layout, over the empty file system in the place of /sys."""
    return {
        "Type": "bind",
        "Source": PROCESSORS,
        "Target": PROCESSORS,
        "ReadOnly": True,
        "BindOptions": {"Propagation": "rprivate"},
    }


def write_stand_ins(folder: Path, memory_mib: int) -> None:
    """Write one container's files in place of the kernel's into an empty folder.

    Args:
        folder: where to make them.
        memory_mib: the container's limit, which it is told as the machine's memory.
    """
    for name, text in (("meminfo", _meminfo(memory_mib)), ("stat", _stat()), ("cpuinfo", _cpuinfo())):
        path = folder / name
        path.write_text(text, encoding="utf-8")
        path.chmod(0o444)


def stand_ins(folder: Path) -> Iterator[tuple[Path, str]]:
    """Each file made by `write_stand_ins`, and what it stands in for."""
    for target in REPLACED:
        yield folder / Path(target).name, target


def _meminfo(memory_mib: int) -> str:
    total_kib = memory_mib << 10
    figures_kib = {
        "MemTotal": total_kib, "MemFree": total_kib, "MemAvailable": total_kib, "Buffers": 0, "Cached": 0,
        "SwapCached": 0, "Active": 0, "Inactive": 0, "SwapTotal": 0, "SwapFree": 0, "Dirty": 0, "Shmem": 0, "Slab": 0,
        "SReclaimable": 0, "SUnreclaim": 0, "CommitLimit": total_kib, "Committed_AS": 0,
    }  # fmt: skip
    return "".join(f"{name + ':':<16}{kib:>8} kB\n" for name, kib in figures_kib.items())


@cache
def _stat() -> str:
    cpus = [name for line in _cpuinfo().splitlines() if line.startswith("processor") for name in line.split(":")[1:]]
    rows = ["cpu  0 0 0 0 0 0 0 0 0 0", *(f"cpu{name.strip()} 0 0 0 0 0 0 0 0 0 0" for name in cpus)]
    return "\n".join([*rows, "intr 0", "ctxt 0", "btime 0", "processes 0", "procs_running 1", "procs_blocked 0", ""])


@cache
def _cpuinfo() -> str:
    """The processors as this process first saw them: their speed changes with what they do."""
    return Path("/proc/cpuinfo").read_text(encoding="utf-8")
