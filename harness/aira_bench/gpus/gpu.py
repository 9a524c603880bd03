"""What is known of an NVIDIA device, and of all devices of a machine at one moment.

A device is what a container can be given: a whole GPU, or, where MIG divides one, an instance of it.

Not covered: finding out (`look`).
"""

from collections.abc import Collection
from dataclasses import dataclass, replace
from typing import Literal

GpuState = Literal["none", "broken", "hidden", "seen"]
"""No device and no driver of one; a device or a driver that does not work; devices that this process was told not to
use; devices that it may use."""
FREE_SHARE = 0.9
"""Of its memory that a device must have free. A desktop takes a few hundredths; a process that this user cannot see,
such as one of another container, takes more."""


@dataclass(frozen=True)
class GpuProcess:
    """A process that computes on a device."""

    pid: int
    name: str
    """Of its program; empty where this user cannot see it."""
    memory_mib: int
    """What it holds on the device; 0 where the driver does not say."""
    container: str | None = None
    """Id of the container it runs in, if it runs in one."""
    draws: bool = False
    """Whether it has a window on the device, too, as a desktop's programs have."""
    ours: bool = False
    """Whether that is one of aira-bench, so that leases keep it apart."""

    def __str__(self) -> str:
        held = f", {self.memory_mib} MiB" if self.memory_mib else ""
        return f"{self.name or 'a process'} (pid {self.pid}{held})"


@dataclass(frozen=True)
class Gpu:
    """One device, as the driver described it a moment ago."""

    index: int
    """Its place among the GPUs that this process may use, in the order of their PCI addresses, from 0."""
    uuid: str
    """Its name everywhere: it stays the same on every machine and after every restart. `GPU-...` or `MIG-...`."""
    name: str
    memory_mib: int
    """0 where the driver does not say, as of a device that shares the processor's memory."""
    free_mib: int
    compute_capability: tuple[int, int]
    mig: bool = False
    """Whether it is an instance of a GPU that MIG divides."""
    instance: int = 0
    """Of a MIG instance, its place among those of its GPU, from 0."""
    processes: tuple[GpuProcess, ...] = ()
    """Those that compute on it, as far as this user sees them."""
    fault: str = ""
    """Why nothing should run on it, such as memory errors; empty for a sound one."""
    mend: str = ""
    """What to do about the fault."""

    remark: str = ""
    """Why it is slower than others of its kind; empty where nothing says so."""
    remark_mend: str = ""
    """What to do about the remark."""

    @property
    def place(self) -> str:
        """Its number as users type it: `3`, or `3:1` for a MIG instance."""
        return f"{self.index}:{self.instance}" if self.mig else str(self.index)

    def told(self) -> str:
        """Return number, name and UUID in words."""
        return f"GPU {self.place} ({self.name}, {self.uuid})"

    def busy(self) -> str:
        """Return why it is in use by somebody who knows nothing of leases, empty if it is not."""
        full = self.free_mib < FREE_SHARE * self.memory_mib
        others = [each for each in self.processes if not each.ours and (full or not each.draws)]
        if others:
            named = ", ".join(map(str, others[:3])) + (f" and {len(others) - 3} more" if len(others) > 3 else "")
            return f"{named} computes on it" if len(others) == 1 else f"{named} compute on it"
        if full and not self.processes:
            return f"{self.free_mib} of {self.memory_mib} MiB are free, and no process of it can be seen from here"
        return ""


@dataclass(frozen=True)
class Gpus:
    """What the driver says of all devices."""

    state: GpuState
    devices: tuple[Gpu, ...] = ()
    """Those that can be named, whether or not they can be used now."""
    why: str = ""
    """Where no device is seen: in words that end a sentence, what is there instead."""
    mend: str = ""
    """Where no device is seen: the next command to type, or what to do."""
    driver: str = ""
    """Version of the driver."""
    cuda: str = ""
    """Newest CUDA version that the driver serves, such as `13.0`."""
    lost: tuple[str, ...] = ()
    """Devices that the driver counts and cannot reach, each in words."""
    others: tuple[str, ...] = ()
    """GPUs on PCI that something else drives, each in words; the driver does not count them."""
    every: tuple[str, ...] = ()
    """UUIDs of all devices that can be named, also of those that this process was told not to use."""
    through_engine: bool = False
    """Whether the driver was asked in a container of the engine's, as this process has none: devices can be given to
    containers, and nobody can watch them from here."""

    def knowing(self, containers: Collection[str]) -> "Gpus":
        """Return the same, with the processes of these containers marked as ours."""
        devices = [
            replace(gpu, processes=tuple(replace(each, ours=each.container in containers) for each in gpu.processes))
            for gpu in self.devices
        ]
        return replace(self, devices=tuple(devices))
