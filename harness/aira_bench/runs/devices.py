"""The devices a run uses, decided once, before anything is built or downloaded.

Profile `paper` is made for GPUs. Where none can be used it stops with a line that tells a machine without one from a
broken driver and from devices that are hidden or busy, unless the user allows the processor, which takes weeks.

Not covered: when a slot has which of them (`leases`).
"""

from collections.abc import Callable
from dataclasses import replace

from aira_bench.errors import PrerequisiteError
from aira_bench.gpus import choose
from aira_bench.hardware import Hardware
from aira_bench.record.manifest import Manifest
from aira_bench.runs.host import Host
from aira_contract.settings import ON_GPUS

ALLOW_CPU = "--allow-cpu"
UNWATCHED = (
    "GPUs are those that the engine gives, and this container has no driver: nobody watches their clocks, their memory "
    "errors and who else computes there"
)
WATCH_THEM = "docker run --gpus all -e NVIDIA_DRIVER_CAPABILITIES=utility"
_ENDINGS = {
    "none": "this machine has none",
    "broken": "its driver does not work",
    "hidden": "none may be used",
}


def used_hardware(
    hardware: Hardware,
    profile: str,
    wish: int | tuple[str, ...] | None,
    note: Callable[[str], None],
    *,
    allow_cpu: bool,
) -> Hardware:
    """Return the hardware with the devices that a run uses and no others: none where its profile uses none.

    Args:
        hardware: the machine.
        profile: `paper` uses devices.
        wish: how many of them, or which; None for all that are free.
        note: told of devices that are left out, and of a processor that is used instead.
        allow_cpu: use the processor where there is no device. Devices that are busy are no reason to.

    Raises:
        PrerequisiteError: the profile is made for GPUs, and there is none, or none that can be used.
        UsageError: a device is named that is not here.
    """
    if profile not in ON_GPUS:
        return replace(hardware, gpus=())
    for lost in hardware.seen.lost:
        note(f"{lost}: the driver counts it and cannot reach it")
    if hardware.seen.through_engine and hardware.gpus:
        note(f"{UNWATCHED}; {WATCH_THEM} gives it one")
    if hardware.gpus:
        chosen = choose(hardware.gpus, wish)
        for sentence in chosen.left_out:
            note(sentence)
        for gpu in chosen.gpus:
            if gpu.remark:
                note(f"{gpu.told()}: {gpu.remark} ({gpu.remark_mend})")
        return replace(hardware, gpus=chosen.gpus)
    if not allow_cpu:
        raise no_device(hardware, profile)
    note(f"no GPU is used ({hardware.seen.why}); {ALLOW_CPU} allows it")
    return hardware


def on_devices(
    host: Host, profile: str, wish: int | tuple[str, ...] | None, note: Callable[[str], None], *, allow_cpu: bool
) -> Host:
    """Return the host with the hardware that a run uses (`used_hardware`).

    Raises:
        PrerequisiteError, UsageError: as `used_hardware`.
    """
    return replace(host, hardware=used_hardware(host.hardware, profile, wish, note, allow_cpu=allow_cpu))


def no_device(hardware: Hardware, profile: str) -> PrerequisiteError:
    """Return what to say of a machine without a device that can be used."""
    seen = hardware.seen
    return PrerequisiteError(
        f"Profile {profile} is made for GPUs, and {_ENDINGS[seen.state]}: {seen.why}.",
        hint=f"{seen.mend}; or --profile cpu; or {ALLOW_CPU}, with which a run takes weeks",
    )


def on_devices_of(host: Host, manifest: Manifest, note: Callable[[str], None]) -> Host:
    """Return the host as a run that has begun uses it: without a device if it began without one.

    Raises:
        PrerequisiteError: what it began with cannot be used now.
    """
    plan = manifest.plan
    if not manifest.hardware.get("gpus"):
        return replace(host, hardware=replace(host.hardware, gpus=()))
    return on_devices(host, plan.profile, plan.gpus, note, allow_cpu=False)
