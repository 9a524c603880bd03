"""Whether runs can use this machine's GPUs: the driver, each device, the container toolkit, and a call from inside.

The call is made in containers as runs make them, with their seccomp profile, masks and limits; it needs no framework,
so it works with the images of every flavour. A device is asked under its lease, so no run has it meanwhile: for a
context, and whether it hands on what a former container left in its memory.

Not covered: whether a device computes right and as fast as it should (`make gpu-check`).
"""

import json
import secrets
import shutil
import signal
import tempfile
from collections.abc import Iterator, Mapping
from dataclasses import replace
from pathlib import Path

from aira_bench.docker_engine import EngineInfo
from aira_bench.doctor.diagnosis import Diagnosis, State
from aira_bench.errors import AiraError
from aira_bench.gpus import Gpu
from aira_bench.hardware import Hardware
from aira_bench.images.fit import misfits
from aira_bench.images.flavour import Flavour
from aira_bench.output import last_line
from aira_bench.runs.devices import UNWATCHED, WATCH_THEM
from aira_bench.runs.slots import free_gpu
from aira_bench.sandbox.hardening import CDI_KIND, source
from aira_bench.sandbox.memory_probe import probe_memory
from aira_bench.sandbox.sandbox import ContainerSpec, Limits, Role, Sandbox, StepOutcome
from aira_contract.settings import ON_GPUS

TOOLKIT, MEMORY = "NVIDIA container toolkit", "GPU memory between containers"
_CUDA = "CUDA in a container"
_INSTALL = "sudo apt-get install -y nvidia-container-toolkit"
_CONFIGURE = {"Docker": "sudo nvidia-ctk runtime configure --runtime=docker && sudo systemctl restart docker"}
_LIST_DEVICES = "sudo nvidia-ctk cdi generate --device-name-strategy=uuid --output=/etc/cdi/nvidia.yaml"
_HOOKS = ("nvidia-container-runtime-hook", "nvidia-container-toolkit")
"""What Docker itself starts for `--gpus`, by its newer and its older name."""
_CALL_TIMEOUT_S = 120.0
"""The first context on a machine whose driver nothing keeps awake takes ten seconds."""
_SHARING_SERVER = "nvidia-cuda-mps"
"""Lets processes of several users compute at once, and stays when they are gone."""
_DMESG = "sudo dmesg | grep -iE 'nvrm|xid'"

_OUTSIDE = "outside of containers the driver lists it, so the toolkit is what to look at: "
_MENDS = {
    "SYSTEM_NOT_READY": "the GPUs are joined by NVLink switches that nothing has set up: sudo systemctl start "
    "nvidia-fabricmanager",
    "OUT_OF_MEMORY": "nvidia-smi; somebody took its memory just now",
    "SYSTEM_DRIVER_MISMATCH": "sudo reboot",
    "DEVICE_UNAVAILABLE": "sudo nvidia-smi -c DEFAULT",
    "ERROR_UNKNOWN": "its files in /dev may be missing: sudo modprobe nvidia_uvm && sudo nvidia-modprobe -u -c=0; "
    f"{_DMESG}",
    "OPERATING_SYSTEM": "the kernel refused a call: sudo dmesg | grep -iE 'audit|denied'; the "
    "engine's security options",
    "COMPAT_NOT_SUPPORTED": "the image brings a driver's libraries of its own: aira-bench images build",
}
"""By what CUDA calls an error."""


def device_checks(machine: Hardware, profile: str) -> Iterator[Diagnosis]:
    """Return what the driver says: whether there are devices, and for each that cannot be used now why."""
    seen, bad = machine.seen, _bad(profile)
    if seen.state != "seen":
        words = {"none": "no GPU", "broken": "not working", "hidden": "hidden"}[seen.state]
        cpu = "" if profile in ON_GPUS else " (profile cpu needs none)"
        yield Diagnosis("GPU driver", bad, f"{words}: {seen.why}{cpu}", seen.mend)
        return
    yield Diagnosis("GPU driver", "ok", f"{seen.driver}, for CUDA up to {seen.cuda or 'a version it does not say'}")
    if seen.through_engine:
        yield Diagnosis("GPU watch", "warning", UNWATCHED, f"{WATCH_THEM} ...")
    for other in seen.others:
        yield Diagnosis("GPU", "warning", f"PCI lists {other}, so no run can use it", "lspci -nnk -d 10de:")
    for lost in seen.lost:
        yield Diagnosis("GPU", "warning", f"{lost}: the driver counts it and cannot reach it", _DMESG)
    usable = [gpu for gpu in machine.gpus if not gpu.fault and not gpu.busy()]
    for gpu in machine.gpus:
        yield _of_device(gpu, "warning" if usable else bad)
    if len({gpu.name for gpu in usable}) > 1:
        yield Diagnosis(
            "GPU models",
            "warning",
            "GPUs of several models, and a run uses one",
            "aira-bench run --gpus with their numbers",
        )


def fit_checks(machine: Hardware, flavour: Flavour, profile: str) -> Iterator[Diagnosis]:
    """Say which of driver and devices the images of a flavour cannot run with."""
    found = list(misfits(machine, flavour))
    sound = {gpu.place for gpu in machine.gpus} - {each.what for each in found}
    for each in found:
        what = "GPU driver" if each.what == "driver" else f"GPU {each.what}"
        bad = "warning" if each.what != "driver" and sound else _bad(profile)
        yield Diagnosis(f"{what} for images {flavour.name}", bad, each.seen, each.mend)


def toolkit_check(info: EngineInfo, machine: Hardware, profile: str) -> Diagnosis:
    """Return whether the engine can give a container a device: by CDI, by NVIDIA's runtime, or by its hook."""
    listed = [gpu for gpu in machine.gpus if f"{CDI_KIND}={gpu.uuid}" in info.cdi_devices]
    if listed and len(listed) == len(machine.gpus):
        which = "the GPU" if len(listed) == 1 else f"all {len(listed)} GPUs"
        return Diagnosis(TOOLKIT, "ok", f"the engine lists {which} by CDI")
    hook = next((name for name in _HOOKS if shutil.which(name)), None)
    if "nvidia" in info.runtimes or hook:
        by = "the engine has NVIDIA's runtime" if "nvidia" in info.runtimes else f"{hook} is on PATH"
        if not listed:
            return Diagnosis(TOOLKIT, "ok", f"{by}; by CDI the engine lists no GPU by its UUID")
        missing = ", ".join(gpu.place for gpu in machine.gpus if gpu not in listed)
        return Diagnosis(TOOLKIT, "warning", f"{by}; the list of CDI lacks GPU {missing}", _LIST_DEVICES)
    by_number = sorted(name for name in info.cdi_devices if name.startswith(f"{CDI_KIND}=") and not listed)
    if by_number:
        return Diagnosis(
            TOOLKIT, _bad(profile), f"the engine's list of CDI names no GPU of this machine by its UUID, but "
            f"{', '.join(by_number[:3])}: it was made by numbers, or for other cards", _LIST_DEVICES,
        )  # fmt: skip
    if listed:
        missing = ", ".join(gpu.place for gpu in machine.gpus if gpu not in listed)
        return Diagnosis(TOOLKIT, _bad(profile), f"the engine's list of CDI lacks GPU {missing}", _LIST_DEVICES)
    return Diagnosis(
        TOOLKIT,
        _bad(profile),
        "the engine lists no GPU by CDI, and has neither NVIDIA's runtime nor its hook",
        f"{_INSTALL} && {_CONFIGURE.get(info.name, _LIST_DEVICES)}",
    )


def cuda_checks(sandbox: Sandbox, images: tuple[str, str], machine: Hardware, limits: Limits) -> Iterator[Diagnosis]:
    """Make a CUDA call on a free device in a container of agents' code and in one of a judge, and probe its memory.

    Args:
        sandbox: makes the containers.
        images: of agents and of evaluators.
        machine: with the devices that may be used.
        limits: of a step, as a task of the profile asks for them.
    """
    free = {gpu.uuid: gpu for gpu in machine.gpus if not gpu.fault and not gpu.busy()}
    if not free:
        yield Diagnosis(_CUDA, "warning", "not tried: no GPU is free", "aira-bench doctor, in a while")
        return
    try:
        yield from _on_a_free_one(sandbox, images, free, limits)
    except AiraError as error:
        yield Diagnosis(_CUDA, "failed", f"not tried: {error.message}", error.hint or "aira-bench doctor, in a while")


def _on_a_free_one(
    sandbox: Sandbox, images: tuple[str, str], free: Mapping[str, Gpu], limits: Limits
) -> Iterator[Diagnosis]:
    """Ask one of the devices under its lease.

    Raises:
        PrerequisiteError: leases cannot be had.
        SandboxError: what a killed run left on the device could not be removed.
    """
    with free_gpu(sandbox, list(free)) as uuid:
        if uuid is None:
            yield Diagnosis(
                _CUDA, "warning", "not tried: runs have every GPU just now", "aira-bench doctor, in a while"
            )
            return
        roles: tuple[tuple[Role, str], ...] = (("agent", images[0]), ("judge", images[1]))
        called = [_cuda_check(sandbox, role, image, free[uuid], limits) for role, image in roles]
        yield from called
        if all(each.state == "ok" for each in called):
            yield _memory_check(sandbox, images[0], free[uuid])


def _memory_check(sandbox: Sandbox, image: str, gpu: Gpu) -> Diagnosis:
    """Whether a container finds on a device what a former one left."""
    try:
        checks = probe_memory(sandbox, image, gpu.uuid)
    except AiraError as error:
        return Diagnosis(MEMORY, "failed", error.message, error.hint or _DMESG)
    for check in checks:
        if not check.ok:
            seen = f"{check.name}: {check.seen} on {gpu.told()}, expected {check.expected}"
            return Diagnosis(MEMORY, "failed", seen, f"nvidia-smi; {_DMESG}; update the driver; SECURITY.md")
    return Diagnosis(MEMORY, "ok", f"nothing of a former container on GPU {gpu.place}, {checks[-1].seen}")


def _cuda_check(sandbox: Sandbox, role: Role, image: str, gpu: Gpu, limits: Limits) -> Diagnosis:
    name, run_id = f"{_CUDA} ({role})", f"probe-{secrets.token_hex(6)}"
    limits = replace(limits, gpu_uuid=gpu.uuid)
    try:
        container = sandbox.prepare(ContainerSpec(image, role, run_id, limits))
        try:
            with tempfile.TemporaryDirectory(prefix="aira-cuda-") as folder:
                outcome = container.run(
                    ["python3", "-c", source("cuda_call")], files={}, timeout_s=_CALL_TIMEOUT_S, artifacts=(),
                    destination=Path(folder),
                )  # fmt: skip
        finally:
            container.close()
            sandbox.sweep(run_id)
    except AiraError as error:
        return Diagnosis(name, "failed", error.message, error.hint or _INSTALL)
    try:
        told = json.loads(outcome.stdout.head)
    except ValueError:
        seen = f"the call {_ending(outcome)} and printed {last_line(outcome.stderr) or 'nothing'}"
        return Diagnosis(name, "failed", seen, f"{_DMESG}; nvidia-smi")
    return _of_call(name, told, gpu, limits)


def _ending(outcome: StepOutcome) -> str:
    """How a call ended that told nothing."""
    if outcome.ended == "timeout":
        return f"did not come back in {_CALL_TIMEOUT_S:.0f} s"
    status = outcome.exit_code
    if outcome.ended != "exited" or status is None:
        return f"ended by {outcome.ended.replace('_', ' ')}"
    number = -status if status < 0 else status - 128  # as Python tells of it, and as a shell does
    crash = f" ({signal.Signals(number).name})" if number in set(signal.Signals) else ""
    return f"ended with exit status {status}{crash}"


def _of_call(name: str, told: dict[str, object], gpu: Gpu, limits: Limits) -> Diagnosis:
    if "failed" in told:
        mend = next(
            (mend for error, mend in _MENDS.items() if error in str(told["error"])),
            f"{_OUTSIDE}{_INSTALL}, then aira-bench doctor",
        )
        return Diagnosis(name, "failed", f"{told['failed']} failed on {gpu.told()}: {told['error']}", mend)
    if told["devices"] != 1:
        seen = f"{told['devices']} devices, expected the one it was given ({gpu.told()})"
        return Diagnosis(name, "failed", seen, _LIST_DEVICES)
    if told["shm_mib"] != limits.shm_mib:
        seen = f"/dev/shm of {told['shm_mib']} MiB, expected {limits.shm_mib}"
        return Diagnosis(
            name,
            "failed",
            seen,
            "DataLoader workers pass batches through /dev/shm: see how the engine is told its size",
        )
    return Diagnosis(name, "ok", f"{told['name']}, a context and memory on it; /dev/shm of {limits.shm_mib} MiB")


def _of_device(gpu: Gpu, bad: State) -> Diagnosis:
    if gpu.fault:
        return Diagnosis(f"GPU {gpu.place}", bad, f"{gpu.name}, {gpu.uuid}: {gpu.fault}", gpu.mend)
    if why := gpu.busy():
        mend = f"wait until it is free, or end what computes there: nvidia-smi -i {gpu.index}"
        if _SHARING_SERVER in why:
            mend = f"echo quit | sudo {_SHARING_SERVER}-control, when nobody needs it"
        return Diagnosis(f"GPU {gpu.place}", bad, f"{gpu.name}, {gpu.uuid}, busy: {why}", mend)
    if gpu.remark:
        return Diagnosis(f"GPU {gpu.place}", "warning", f"{gpu.name}, {gpu.uuid}: {gpu.remark}", gpu.remark_mend)
    major, minor = gpu.compute_capability
    free = f"{gpu.free_mib} of {gpu.memory_mib} MiB free" if gpu.memory_mib else "memory shared with the processor"
    return Diagnosis(f"GPU {gpu.place}", "ok", f"{gpu.name}, {gpu.uuid}, compute capability {major}.{minor}, {free}")


def _bad(profile: str) -> State:
    """How bad it is for a profile that there is no device to use."""
    return "failed" if profile in ON_GPUS else "warning"
