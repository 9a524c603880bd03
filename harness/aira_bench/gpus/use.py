"""How a device worked while a container had it: clocks, power, temperature, and what slowed it down.

Not covered: asking (`meter`, `watch`), and whose time others on the device took, which no driver tells.
"""

import math
import statistics
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field

from aira_bench.gpus.gpu import GpuProcess

IDLE = 0x1
REASONS: Mapping[int, str] = {
    0x2: "clocks set by its owner",
    0x4: "power cap",
    0x8: "hardware slowdown",
    0x10: "sync boost",
    0x20: "heat",
    0x40: "heat (hardware)",
    0x80: "power brake",
    0x100: "display",
}
"""Why a device runs below its highest clock, by NVML's bits (`nvmlClocksEventReason...`)."""
SLOWED = ("hardware slowdown", "heat", "heat (hardware)", "power brake")
"""What no device does that is cooled and fed as its maker says."""
POWER_CAP = "power cap"
_FLAGGED_SHARE = 0.05
"""Of the readings at work, from which on a reason is worth a flag: one reading in twenty."""


@dataclass(frozen=True)
class GpuReading:
    """What the driver said of one device at one moment; None where it does not say."""

    sm_clock_mhz: int | None = None
    most_sm_clock_mhz: int | None = None
    power_w: float | None = None
    power_limit_w: float | None = None
    own_power_limit_w: float | None = None
    """That the device came with."""
    temperature_c: int | None = None
    reasons: int | None = None
    """Bits of `REASONS` and `IDLE`."""
    used_mib: int | None = None
    errors: int | None = None
    """Of memory that could not be corrected, since the driver was loaded."""
    processes: tuple[GpuProcess, ...] = ()
    fault: str = ""
    """Why it cannot be used any more; everything else is unknown then."""


@dataclass(frozen=True)
class GpuUse:
    """One container's time on its device, in a node's record. None where the driver does not say."""

    readings: int
    """Taken once a second and at the end."""
    sm_clock_mhz: int | None = None
    """Median of the readings in which it was at work; of all, where it never was."""
    most_sm_clock_mhz: int | None = None
    """That it can have."""
    power_w: float | None = None
    """Median of the same readings. Of a MIG instance clock, power and heat are the whole GPU's."""
    power_limit_w: float | None = None
    temperature_c: int | None = None
    """The most."""
    used_mib: int | None = None
    """The most memory in use on it, whoever's."""
    slowed_by: Mapping[str, float] = field(default_factory=dict, hash=False)
    """Why it ran below its highest clock (`REASONS`), as a share of the readings at work."""
    throttled: tuple[str, ...] = ()
    """Those of the reasons that make it slower than a sound device of its kind: heat, faults of its supply, or a power
    limit below its own."""


def summary(readings: Sequence[GpuReading]) -> GpuUse | None:
    """Return what readings come to; None if there is none."""
    readings = [reading for reading in readings if not reading.fault]
    if not readings:
        return None
    last = next((each for each in reversed(readings) if each != GpuReading()), readings[-1])  # that said anything
    at_work = [each for each in readings if not (each.reasons or 0) & IDLE] or list(readings)
    told = [each.reasons for each in at_work if each.reasons is not None]
    slowed_by = {name: sum(bool(bits & bit) for bits in told) / max(len(told), 1) for bit, name in REASONS.items()}
    lowered = any((each.power_limit_w or math.inf) < (each.own_power_limit_w or 0.0) for each in at_work)
    flagged = (*SLOWED, POWER_CAP) if lowered else SLOWED
    power_w = _median([each.power_w for each in at_work])
    clock_mhz = _median([each.sm_clock_mhz for each in at_work])
    return GpuUse(
        readings=len(readings),
        sm_clock_mhz=None if clock_mhz is None else round(clock_mhz),
        most_sm_clock_mhz=last.most_sm_clock_mhz,
        power_w=None if power_w is None else round(power_w, 1),
        power_limit_w=last.power_limit_w,
        temperature_c=max((each.temperature_c for each in readings if each.temperature_c is not None), default=None),
        used_mib=max((each.used_mib for each in readings if each.used_mib is not None), default=None),
        slowed_by={name: round(share, 3) for name, share in slowed_by.items() if share},
        throttled=tuple(name for name in flagged if slowed_by.get(name, 0.0) >= _FLAGGED_SHARE),
    )


def fault_in(readings: Sequence[GpuReading]) -> str:
    """Return what befell the device meanwhile; empty if nothing did."""
    for reading in readings:
        if reading.fault:
            return reading.fault
    errors = [reading.errors for reading in readings if reading.errors is not None]
    if errors and errors[-1] > errors[0]:
        return f"{errors[-1] - errors[0]} memory errors that ECC could not correct"
    return ""


def strangers_in(readings: Sequence[GpuReading], container: str) -> tuple[GpuProcess, ...]:
    """Return the processes of others that computed on the device in two readings one after the other.

    One reading may still show what has just ended. A process that this user's /proc does not know is left out: it ran
    before, or in another namespace of processes, and its number may be anybody's here.

    Args:
        readings: in their order.
        container: id of the one whose device it is.
    """
    found: dict[int, GpuProcess] = {}
    before: set[int] = set()
    for reading in readings:
        others = {each.pid: each for each in reading.processes if each.container != container and each.name}
        found |= {pid: process for pid, process in others.items() if pid in before}
        before = set(others)
    return tuple(found.values())


def _median(values: Sequence[float | int | None]) -> float | None:
    known = [value for value in values if value is not None]
    return statistics.median(known) if known else None
