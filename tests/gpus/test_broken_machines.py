"""What `doctor` says of machines whose GPUs cannot be used, word by word: each line has a mend that can be typed.

The driver is NVIDIA's binding on a library of ours, the CUDA call is the program that containers get, on another one.
"""

import os
import subprocess
import sys
from dataclasses import dataclass, replace
from pathlib import Path

import pytest

from aira_bench.docker_engine import EngineInfo
from aira_bench.doctor.devices import cuda_checks, device_checks, fit_checks, toolkit_check
from aira_bench.doctor.diagnosis import Diagnosis
from aira_bench.errors import PrerequisiteError
from aira_bench.gpus import look_at_gpus, visible
from aira_bench.hardware import Hardware
from aira_bench.images.flavour import load_flavour
from aira_bench.runs.leases import Leases
from aira_bench.sandbox.hardening import source
from aira_bench.sandbox.sandbox import Limits
from aira_bench.testing import Call, Done, InMemorySandbox
from fake_gpus import driver_says, gpu_line, h100, library_folder, uuid
from sandbox.test_memory_probe import device_program

IMAGES = ("agent:1", "evaluator:1")
SHM_MIB = os.statvfs("/dev/shm").f_frsize * os.statvfs("/dev/shm").f_blocks >> 20
INSTALL = (
    "sudo apt-get install -y nvidia-container-toolkit && sudo nvidia-ctk runtime configure --runtime=docker && "
    "sudo systemctl restart docker"
)
DMESG = "sudo dmesg | grep -iE 'nvrm|xid'"


@dataclass(frozen=True)
class Machine:
    """One that a test makes up."""

    driver: tuple[str, ...] | None = (gpu_line(0), gpu_line(1))
    """What its driver says; None for none installed."""
    cards: int = 2
    """On PCI."""
    environ: tuple[tuple[str, str], ...] = ()
    cdi: tuple[int, ...] = (0, 1)
    runtimes: tuple[str, ...] = ("runc",)
    cuda: str | None = ""
    """What `cuda.c` is told; None where the toolkit gave no library to the container."""
    refusal: PrerequisiteError | None = None
    """What comes of asking the engine for a device."""
    shm_mib: int = SHM_MIB
    pci_drivers: tuple[str, ...] = ("nvidia", "nvidia")
    """What the kernel calls the driver of each card; empty for none."""
    names: tuple[str, ...] = ()
    """Of other entries in the engine's list of CDI."""
    hangs: bool = False
    """Whether the call in a container comes back."""
    clears: str = "all"
    """How much of its memory the driver clears between processes (`device_memory.c`)."""


def said(machine: Machine, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, profile: str = "paper") -> list[str]:
    """The doctor's lines about a machine's devices: state, check, what was seen, and the mend."""
    system = tmp_path / "system"
    for number in range(machine.cards):
        card = system / f"sys/bus/pci/devices/0000:{number + 1:02x}:00.0"
        card.mkdir(parents=True)
        (card / "vendor").write_text("0x10de\n")
        (card / "class").write_text("0x030200\n")
        if driver := machine.pci_drivers[number]:
            (card / "driver").symlink_to(f"/sys/bus/pci/drivers/{driver}")
    (system / "proc/4242").mkdir(parents=True)
    (system / "proc/4242/comm").write_text("python\n")
    (system / "proc/4343").mkdir()
    (system / "proc/4343/comm").write_text("nvidia-cuda-mps\n")
    if machine.driver is None:
        (tmp_path / "libnvidia-ml.so.1").write_bytes(b"not a library")  # hides one that this machine may have
        monkeypatch.setenv("LD_LIBRARY_PATH", str(tmp_path))
    else:
        driver_says(monkeypatch, tmp_path, *machine.driver)
    monkeypatch.setenv("PATH", "/usr/bin:/bin")
    seen = visible(look_at_gpus(system), dict(machine.environ))
    hardware = Hardware("a processor", 64, 1024, seen.devices, seen)
    devices = frozenset([*(f"nvidia.com/gpu={uuid(index)}" for index in machine.cdi), *machine.names])
    info = EngineInfo("28.3.0", 2, "/var/lib/docker", 64, 1024, machine.runtimes, devices)
    found = list(device_checks(hardware, profile))
    if hardware.gpus:
        found.append(toolkit_check(info, hardware, profile))
        found += fit_checks(hardware, load_flavour("cuda"), profile)
        monkeypatch.setenv("AIRA_LEASES", str(tmp_path / "leases"))
        found += cuda_checks(sandbox(machine, tmp_path), IMAGES, hardware, Limits(shm_mib=machine.shm_mib))
    return [in_words(each) for each in found]


def in_words(each: Diagnosis) -> str:
    return f"{each.state}: {each.check}: {each.seen}" + (f" -> {each.mend}" if each.mend else "")


def sandbox(machine: Machine, tmp_path: Path) -> InMemorySandbox:
    """Containers in which the program runs with the CUDA library that they would have been given."""

    class Refusing(InMemorySandbox):
        def prepare(self, spec):  # type: ignore[no-untyped-def]  # noqa: ANN001, ANN202
            if machine.refusal is not None:
                raise machine.refusal
            return super().prepare(spec)

    def call(call: Call) -> Done:
        assert call.command == ("python3", "-c", source("cuda_call"))
        assert call.spec.limits.gpu_uuid is not None
        if machine.hangs:
            return Done(ended="timeout")
        environ = {} if machine.cuda is None else {"FAKE_CUDA": machine.cuda, "LD_LIBRARY_PATH": str(library_folder())}
        done = subprocess.run(
            [sys.executable, "-c", source("cuda_call")], env=environ, capture_output=True, check=False, timeout=60
        )
        return Done(stdout=done.stdout, stderr=done.stderr, exit_code=done.returncode)

    probe = device_program(tmp_path, {"look": {"FAKE_CUDA_CLEARS": machine.clears}})
    return Refusing({"agent": call, "judge": call, "probe": probe})


FIRST = f"NVIDIA H100 80GB HBM3, {uuid(0)}"
SECOND = f"NVIDIA H100 80GB HBM3, {uuid(1)}"
DRIVER = "ok: GPU driver: 580.95.05, for CUDA up to 13.0"
FINE = [
    f"ok: GPU {index}: {name}, compute capability 9.0, 81004 of 81559 MiB free"
    for index, name in enumerate((FIRST, SECOND))
]
LISTED = "ok: NVIDIA container toolkit: the engine lists all 2 GPUs by CDI"
CALLED = [
    f"ok: CUDA in a container ({role}): NVIDIA H100 80GB HBM3, a context and memory on it; /dev/shm of {SHM_MIB} MiB"
    for role in ("agent", "judge")
]
CLEARED = "ok: GPU memory between containers: nothing of a former container on GPU {}, 336 of 400 MiB read"
MACHINES: dict[str, tuple[Machine, list[str]]] = {
    "sound": (Machine(), [DRIVER, *FINE, LISTED, *CALLED, CLEARED.format(0)]),
    "no device": (
        Machine(None, cards=0),
        ["failed: GPU driver: no GPU: no NVIDIA driver (no libnvidia-ml.so.1) and no NVIDIA device on PCI -> lspci | grep -i nvidia"],
    ),
    "no driver": (
        Machine(None),
        ["failed: GPU driver: not working: PCI lists 0000:01:00.0, 0000:02:00.0, and no NVIDIA driver is installed -> install "
         "the NVIDIA driver, such as sudo apt-get install nvidia-driver-580-server"],
    ),
    "module not loaded": (
        Machine(("init 9",)),
        ["failed: GPU driver: not working: the NVIDIA driver is installed and its kernel module is not loaded -> sudo modprobe "
         "nvidia; if that fails, sudo dkms status"],
    ),
    "two versions": (
        Machine(("init 18",)),
        ["failed: GPU driver: not working: the driver's library and its kernel module are of two versions, as after an update "
         "-> sudo reboot"],
    ),
    "all hidden": (
        Machine(environ=(("CUDA_VISIBLE_DEVICES", ""),)),
        ["failed: GPU driver: hidden: CUDA_VISIBLE_DEVICES= hides all GPUs -> unset CUDA_VISIBLE_DEVICES"],
    ),
    "a lost device": (
        Machine((gpu_line(0), gpu_line(1, code=15)), cdi=(0,)),
        [DRIVER, f"warning: GPU: GPU 1: GPU is lost: the driver counts it and cannot reach it -> {DMESG}", FINE[0],
         "ok: NVIDIA container toolkit: the engine lists the GPU by CDI", *CALLED, CLEARED.format(0)],
    ),
    "memory errors": (
        Machine((gpu_line(0, ecc=3), gpu_line(1))),
        [DRIVER, f"warning: GPU 0: {FIRST}: 3 memory errors that ECC could not correct since it was last reset -> sudo "
         "nvidia-smi -r", FINE[1], LISTED, *CALLED, CLEARED.format(1)],
    ),
    "all busy": (
        Machine((gpu_line(0, free_mib=11_004), "process 4242 70000", gpu_line(1, free_mib=500))),
        [DRIVER,
         f"failed: GPU 0: {FIRST}, busy: python (pid 4242, 70000 MiB) computes on it -> wait until it is free, or end what "
         "computes there: nvidia-smi -i 0",
         f"failed: GPU 1: {SECOND}, busy: 500 of 81559 MiB are free, and no process of it can be seen from here -> wait until "
         "it is free, or end what computes there: nvidia-smi -i 1",
         LISTED, "warning: CUDA in a container: not tried: no GPU is free -> aira-bench doctor, in a while"],
    ),
    "MIG without instances": (
        Machine((gpu_line(0, mig=1),), cdi=(0,)),
        [DRIVER, f"failed: GPU 0: {FIRST}: MIG is on and no instance was made -> sudo nvidia-smi mig -i 0 -cgi 0 -C; or sudo "
         "nvidia-smi -i 0 -mig 0", "ok: NVIDIA container toolkit: the engine lists the GPU by CDI",
         "warning: CUDA in a container: not tried: no GPU is free -> aira-bench doctor, in a while"],
    ),
    "no toolkit": (
        Machine(cdi=(), refusal=PrerequisiteError("Docker has no driver for GPUs.", hint="install the toolkit")),
        [DRIVER, *FINE,
         "failed: NVIDIA container toolkit: the engine lists no GPU by CDI, and has neither NVIDIA's runtime nor its hook -> "
         f"{INSTALL}",
         *(f"failed: CUDA in a container ({role}): Docker has no driver for GPUs. -> install the toolkit" for role in ("agent", "judge"))],
    ),
    "an old list of CDI": (
        Machine(cdi=(0,)),
        [DRIVER, *FINE, "failed: NVIDIA container toolkit: the engine's list of CDI lacks GPU 1 -> sudo nvidia-ctk cdi generate "
         "--device-name-strategy=uuid --output=/etc/cdi/nvidia.yaml", *CALLED, CLEARED.format(0)],
    ),
    "no library in the container": (
        Machine(cuda=None, cdi=(), runtimes=("nvidia", "runc")),
        [DRIVER, *FINE,
         "ok: NVIDIA container toolkit: the engine has NVIDIA's runtime; by CDI the engine lists no GPU by its UUID",
         *(f"failed: CUDA in a container ({role}): loading libcuda.so.1 failed on GPU 0 ({FIRST}): libcuda.so.1: cannot open "
           "shared object file: No such file or directory -> outside of containers the driver lists it, so the toolkit is "
           "what to look at: sudo apt-get install -y nvidia-container-toolkit, then aira-bench doctor" for role in ("agent", "judge"))],
    ),
    "a fabric that is not up": (
        Machine(cuda="cuInit 802"),
        [DRIVER, *FINE, LISTED,
         *(f"failed: CUDA in a container ({role}): cuInit failed on GPU 0 ({FIRST}): CUDA_ERROR_SYSTEM_NOT_READY (802) -> the "
           "GPUs are joined by NVLink switches that nothing has set up: sudo systemctl start nvidia-fabricmanager"
           for role in ("agent", "judge"))],
    ),
    "every device in each container": (
        Machine(cuda="devices 2"),
        [DRIVER, *FINE, LISTED,
         *(f"failed: CUDA in a container ({role}): 2 devices, expected the one it was given (GPU 0 ({FIRST})) -> sudo nvidia-ctk "
           "cdi generate --device-name-strategy=uuid --output=/etc/cdi/nvidia.yaml" for role in ("agent", "judge"))],
    ),
    "a small /dev/shm": (
        Machine(shm_mib=SHM_MIB + 1),
        [DRIVER, *FINE, LISTED,
         *(f"failed: CUDA in a container ({role}): /dev/shm of {SHM_MIB} MiB, expected {SHM_MIB + 1} -> DataLoader "
           "workers pass batches through /dev/shm: see how the engine is told its size" for role in ("agent", "judge"))],
    ),
    "memory that is handed on": (
        Machine(clears="none"),
        [DRIVER, *FINE, LISTED, *CALLED,
         "failed: GPU memory between containers: GPU memory of a former container: its pattern in 168 pages of 2 MiB, 336 of "
         f"400 MiB read on GPU 0 ({FIRST}), expected nothing of it in 80% of the GPU's memory or more -> nvidia-smi; {DMESG}; "
         "update the driver; SECURITY.md"],
    ),
    "a driver that crashes in the container": (
        Machine(cuda="crash"),
        [DRIVER, *FINE, LISTED,
         *(f"failed: CUDA in a container ({role}): the call ended with exit status -11 (SIGSEGV) and printed nothing -> {DMESG}; "
           "nvidia-smi" for role in ("agent", "judge"))],
    ),
    "devices of an older age": (
        Machine((gpu_line(0, name="Tesla V100-SXM2-32GB", capability="7 0"),), cdi=(0,)),
        [DRIVER, f"ok: GPU 0: Tesla V100-SXM2-32GB, {uuid(0)}, compute capability 7.0, 81004 of 81559 MiB free",
         "ok: NVIDIA container toolkit: the engine lists the GPU by CDI",
         "failed: GPU 0 for images cuda: Tesla V100-SXM2-32GB has compute capability 7.0, expected 7.5 to 12.0 -> other devices "
         "with --gpus, or another machine", *CALLED, CLEARED.format(0)],
    ),
    "a driver older than the images": (
        Machine((gpu_line(0), gpu_line(1), "driver 535.104", "cuda 12020")),
        ["ok: GPU driver: 535.104, for CUDA up to 12.2", *FINE, LISTED,
         "failed: GPU driver for images cuda: 535.104, expected 580 or newer -> sudo apt-get install nvidia-driver-580-server, "
         "then restart", *CALLED, CLEARED.format(0)],
    ),
    "one process at a time": (
        Machine((gpu_line(0, mode=3), gpu_line(1))),
        [DRIVER, f"warning: GPU 0: {FIRST}: its compute mode lets one process at a time compute, and a solution may have several -> "
         "sudo nvidia-smi -c DEFAULT", FINE[1], LISTED, *CALLED, CLEARED.format(1)],
    ),
    "a server that shares a device": (
        Machine((gpu_line(0), "process 4343 30", gpu_line(1))),
        [DRIVER, f"warning: GPU 0: {FIRST}, busy: nvidia-cuda-mps (pid 4343, 30 MiB) computes on it -> echo quit | sudo "
         "nvidia-cuda-mps-control, when nobody needs it", FINE[1], LISTED, *CALLED, CLEARED.format(1)],
    ),
    "a job that was given none": (
        Machine((gpu_line(0, code=4), gpu_line(1, code=4))),
        ["failed: GPU driver: hidden: the driver (580.95.05) lets this user use none of 2 GPUs, as where a job was given none -> "
         "ask the scheduler for one (such as srun --gres=gpu:1); ls -l /dev/nvidia*"],
    ),
    "cards of virtual machines": (
        Machine((), pci_drivers=("vfio-pci", "vfio-pci")),
        ["failed: GPU driver: not working: the driver (580.95.05) lists no device, and PCI lists 0000:01:00.0 (vfio-pci drives it), "
         "0000:02:00.0 (vfio-pci drives it) -> they were given to virtual machines: lspci -nnk -d 10de:, and take them out of the "
         "settings of vfio-pci"],
    ),
    "one card of a virtual machine": (
        Machine((gpu_line(0),), cdi=(0,), pci_drivers=("nvidia", "vfio-pci")),
        [DRIVER, "warning: GPU: PCI lists 0000:02:00.0, which vfio-pci drives, so no run can use it -> lspci -nnk -d 10de:", FINE[0],
         "ok: NVIDIA container toolkit: the engine lists the GPU by CDI", *CALLED, CLEARED.format(0)],
    ),
    "another driver in the kernel": (
        Machine(("init 9",), pci_drivers=("nouveau", "nouveau")),
        ["failed: GPU driver: not working: the NVIDIA driver is installed and its kernel module is not loaded, and PCI lists "
         "0000:01:00.0 (nouveau drives it), 0000:02:00.0 (nouveau drives it) -> echo blacklist nouveau | sudo tee "
         "/etc/modprobe.d/no-nouveau.conf && sudo update-initramfs -u && sudo reboot"],
    ),
    "a driver that begins and cannot count": (
        Machine((gpu_line(0), "count 15")),
        [f"failed: GPU driver: not working: the NVIDIA driver begins, and then says: GPU is lost -> {DMESG}"],
    ),
    "a list of CDI by numbers": (
        Machine(cdi=(), names=("nvidia.com/gpu=0", "nvidia.com/gpu=1", "nvidia.com/gpu=all"),
                refusal=PrerequisiteError("Docker has no driver for GPUs.", hint="install the toolkit")),
        [DRIVER, *FINE,
         "failed: NVIDIA container toolkit: the engine's list of CDI names no GPU of this machine by its UUID, but nvidia.com/gpu=0, "
         "nvidia.com/gpu=1, nvidia.com/gpu=all: it was made by numbers, or for other cards -> sudo nvidia-ctk cdi generate "
         "--device-name-strategy=uuid --output=/etc/cdi/nvidia.yaml",
         *(f"failed: CUDA in a container ({role}): Docker has no driver for GPUs. -> install the toolkit" for role in ("agent", "judge"))],
    ),
    "no files for unified memory": (
        Machine(cuda="cuInit 999"),
        [DRIVER, *FINE, LISTED,
         *(f"failed: CUDA in a container ({role}): cuInit failed on GPU 0 ({FIRST}): CUDA_ERROR_UNKNOWN (999) -> its files in "
           f"/dev may be missing: sudo modprobe nvidia_uvm && sudo nvidia-modprobe -u -c=0; {DMESG}" for role in ("agent", "judge"))],
    ),
    "a kernel that refuses a call": (
        Machine(cuda="cuInit 304"),
        [DRIVER, *FINE, LISTED,
         *(f"failed: CUDA in a container ({role}): cuInit failed on GPU 0 ({FIRST}): CUDA_ERROR_OPERATING_SYSTEM (304) -> the kernel "
           "refused a call: sudo dmesg | grep -iE 'audit|denied'; the engine's security options"
           for role in ("agent", "judge"))],
    ),
    "a driver that hangs in the container": (
        Machine(hangs=True),
        [DRIVER, *FINE, LISTED,
         *(f"failed: CUDA in a container ({role}): the call did not come back in 120 s and printed nothing -> {DMESG}; nvidia-smi"
           for role in ("agent", "judge"))],
    ),
    "memory shared with the processor": (
        Machine((gpu_line(0, name="NVIDIA GB10", total_mib=0, free_mib=0, capability="12 1"),), cdi=(0,)),
        [DRIVER, f"ok: GPU 0: NVIDIA GB10, {uuid(0)}, compute capability 12.1, memory shared with the processor",
         "ok: NVIDIA container toolkit: the engine lists the GPU by CDI", *CALLED, CLEARED.format(0)],
    ),
    "a lowered power limit": (
        Machine((gpu_line(0), "works 1980 1980 70000 300000 700000 40 0", gpu_line(1))),
        [DRIVER, f"warning: GPU 0: {FIRST}: its power limit is 300 W, and 700 W as it came -> sudo nvidia-smi -i 0 -pl 700", FINE[1],
         LISTED, *CALLED, CLEARED.format(0)],
    ),
    "several models": (
        Machine((gpu_line(0), gpu_line(1, name="NVIDIA L40S", capability="8 9"))),
        [DRIVER, FINE[0], f"ok: GPU 1: NVIDIA L40S, {uuid(1)}, compute capability 8.9, 81004 of 81559 MiB free",
         "warning: GPU models: GPUs of several models, and a run uses one -> aira-bench run --gpus with their numbers",
         LISTED, *CALLED, CLEARED.format(0)],
    ),
}  # fmt: skip


@pytest.mark.parametrize("name", MACHINES)
def test_a_broken_machine_is_told_in_words_that_mend_it(
    name: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    machine, expected = MACHINES[name]
    assert said(machine, tmp_path, monkeypatch) == expected


def test_there_are_twelve_broken_machines_at_least() -> None:
    assert len(MACHINES) - 1 >= 12


def test_for_the_cpu_profile_none_of_that_is_a_failure(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    (line,) = said(Machine(None, cards=0), tmp_path, monkeypatch, "cpu")
    assert line.startswith("warning: GPU driver: no GPU: no NVIDIA driver")
    assert "(profile cpu needs none)" in line


def test_the_hook_is_enough_where_the_engine_knows_no_cdi(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    hook = tmp_path / "nvidia-container-runtime-hook"
    hook.write_text("#!/bin/sh\n")
    hook.chmod(0o755)
    hardware = Hardware("a processor", 64, 1024, (), look_at_gpus(tmp_path))
    info = EngineInfo("20.10.24", 1, "/var/lib/docker", 64, 1024, ("runc",), frozenset())
    monkeypatch.setenv("PATH", str(tmp_path))
    assert toolkit_check(info, hardware, "paper").seen.startswith("nvidia-container-runtime-hook is on PATH")
    monkeypatch.setenv("PATH", "/nowhere")
    assert toolkit_check(info, hardware, "paper").state == "failed"
    assert toolkit_check(replace(info, runtimes=("nvidia",)), hardware, "paper").state == "ok"


def test_a_device_that_a_run_has_is_not_asked(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """A call from the doctor would make its step one on a shared device, which is tried again."""
    monkeypatch.setenv("AIRA_LEASES", str(tmp_path / "leases"))
    leases = Leases(tmp_path / "leases")
    assert leases.take(f"gpu-{uuid(0)}")
    hardware = Hardware("a processor", 64, 1024, (h100(0), h100(1)))
    made = sandbox(Machine(), tmp_path)
    lines = [in_words(each) for each in cuda_checks(made, IMAGES, hardware, Limits(shm_mib=SHM_MIB))]
    assert lines == [*CALLED, CLEARED.format(1)]
    assert leases.take(f"gpu-{uuid(1)}"), "and it gives the device back"
    (line,) = cuda_checks(made, IMAGES, hardware, Limits())
    assert (line.state, line.seen) == ("warning", "not tried: runs have every GPU just now")
    leases.release()
    monkeypatch.setenv("AIRA_LEASES", "/proc/leases")
    (line,) = cuda_checks(made, IMAGES, hardware, Limits())
    assert (line.state, line.mend.partition(";")[0]) == ("failed", "ls -la /proc/leases")
    assert line.seen.startswith("not tried: Cores cannot be leased in /proc/leases: ")
