"""Asks the NVIDIA driver's library for all devices and writes them to stdout as JSON: a process of its own.

NVML is the driver's own interface, the one that `nvidia-smi` uses: `libnvidia-ml.so.1`, through NVIDIA's binding
`pynvml`. A broken driver hangs in it or crashes whoever calls it, so nobody does in the process of a run; `look` reads
this.

Not covered: choosing among devices, and what they do while a run goes on.
"""

import contextlib
import json
import re
import sys
from dataclasses import asdict
from pathlib import Path
from typing import Any

from aira_bench.gpus.gpu import Gpu, GpuProcess, Gpus

_NVIDIA = "0x10de"
_DISPLAY_CLASSES = ("0x0300", "0x0302")
"""PCI classes of NVIDIA's GPUs: VGA controllers, and 3D controllers without a display."""
_OWN_DRIVERS = ("nvidia", "nvgpu", "")
"""What the kernel calls the driver of a card that NVML can list; empty where nothing drives it yet."""
_CONTAINER = re.compile(r"[0-9a-f]{64}")
_DMESG = "sudo dmesg | grep -iE 'nvrm|xid'"


def read_gpus(system: Path = Path("/")) -> Gpus:
    """Return what the driver says of this machine's devices.

    Args:
        system: where `sys` and `proc` are found.
    """
    import pynvml

    cards = _pci_cards(system)
    try:
        pynvml.nvmlInit()
    except pynvml.NVMLError as error:
        return _without_devices(error, cards, system)
    try:
        return _read(cards, system)
    except pynvml.NVMLError as error:
        return Gpus("broken", (), f"the NVIDIA driver begins, and then says: {_words(error)}", _DMESG)
    finally:
        with contextlib.suppress(pynvml.NVMLError):  # what was read is true, however the driver ends
            pynvml.nvmlShutdown()


def _read(cards: "dict[str, str]", system: Path) -> Gpus:
    import pynvml

    driver, cuda = str(pynvml.nvmlSystemGetDriverVersion()), or_none(pynvml.nvmlSystemGetCudaDriverVersion)
    devices: list[Gpu] = []
    lost: list[str] = []
    index = refused = 0
    for number in range(pynvml.nvmlDeviceGetCount()):
        try:
            handle = pynvml.nvmlDeviceGetHandleByIndex(number)
            devices += _devices(handle, index, system)
        except pynvml.NVMLError as error:
            if error.value == pynvml.NVML_ERROR_NO_PERMISSION:
                refused += 1
                continue  # another job's, under a scheduler; CUDA leaves its number out, too
            lost.append(f"GPU {index}: {_words(error)}")
        index += 1
    version = f"{cuda // 1000}.{cuda % 1000 // 10}" if cuda else ""
    if devices:
        every = tuple(gpu.uuid for gpu in devices)
        others = tuple(f"{card}, which {of} drives" for card, of in cards.items() if of not in _OWN_DRIVERS)
        return Gpus("seen", tuple(devices), driver=driver, cuda=version, lost=tuple(lost), others=others, every=every)
    if lost:
        return Gpus(
            "broken", (), f"the driver ({driver}) reaches none of its devices: {'; '.join(lost)}", _DMESG, driver
        )
    if refused:
        why = f"the driver ({driver}) lets this user use none of {refused} GPUs, as where a job was given none"
        ask = "ask the scheduler for one (such as srun --gres=gpu:1); ls -l /dev/nvidia*"
        return Gpus("hidden", (), why, ask, driver)
    if cards:
        why = f"the driver ({driver}) lists no device, and PCI lists {_listed(cards)}"
        return Gpus("broken", (), why, _release(cards) or _DMESG, driver)
    return Gpus("none", (), f"the driver ({driver}) lists no device", "lspci | grep -i nvidia", driver)


def _devices(handle: object, index: int, system: Path) -> list[Gpu]:
    """A GPU; or, where MIG divides it, its instances, which are all that can be computed on."""
    import pynvml

    mode = or_none(lambda: pynvml.nvmlDeviceGetMigMode(handle))
    fault, mend = _fault(handle)
    if not mode or mode[0] != pynvml.NVML_DEVICE_MIG_ENABLE:
        return [_gpu(handle, handle, index, system, fault, mend)]
    instances: list[Gpu] = []
    for number in range(pynvml.nvmlDeviceGetMaxMigDeviceCount(handle)):
        try:
            part = pynvml.nvmlDeviceGetMigDeviceHandleByIndex(handle, number)
        except pynvml.NVMLError as error:
            if error.value == pynvml.NVML_ERROR_NOT_FOUND:
                continue  # a number that no instance has
            raise
        instances.append(_gpu(part, handle, index, system, fault, mend, mig=True, instance=len(instances)))
    if not instances:
        empty = "MIG is on and no instance was made"
        create = f"sudo nvidia-smi mig -i {index} -cgi 0 -C; or sudo nvidia-smi -i {index} -mig 0"
        return [_gpu(handle, handle, index, system, empty, create)]
    return instances


def _gpu(
    handle: object,
    whole: object,
    index: int,
    system: Path,
    fault: str,
    mend: str,
    *,
    mig: bool = False,
    instance: int = 0,
) -> Gpu:
    import pynvml

    memory = or_none(lambda: pynvml.nvmlDeviceGetMemoryInfo(handle))
    major, minor = pynvml.nvmlDeviceGetCudaComputeCapability(whole)
    limit_w = (or_none(lambda: pynvml.nvmlDeviceGetEnforcedPowerLimit(whole)) or 0) / 1000
    own_w = (or_none(lambda: pynvml.nvmlDeviceGetPowerManagementDefaultLimit(whole)) or 0) / 1000
    limit_w = limit_w or own_w  # one that the driver does not say is no other than its own
    return Gpu(
        index=index,
        uuid=str(pynvml.nvmlDeviceGetUUID(handle)),
        name=str(pynvml.nvmlDeviceGetName(handle)),
        memory_mib=int(memory.total) >> 20 if memory else 0,
        free_mib=int(memory.free) >> 20 if memory else 0,
        compute_capability=(int(major), int(minor)),
        mig=mig,
        instance=instance,
        processes=processes_on(handle, system),
        fault=fault,
        mend=mend,
        remark=f"its power limit is {limit_w:.0f} W, and {own_w:.0f} W as it came" if limit_w < own_w else "",
        remark_mend=f"sudo nvidia-smi -i {index} -pl {own_w:.0f}" if limit_w < own_w else "",
    )


def _fault(handle: object) -> tuple[str, str]:
    """Why nothing should run on a GPU, and what to do about it; empty texts for a sound one."""
    import pynvml

    mode = or_none(lambda: pynvml.nvmlDeviceGetComputeMode(handle))
    if mode == pynvml.NVML_COMPUTEMODE_PROHIBITED:
        return "its compute mode is Prohibited", "sudo nvidia-smi -c DEFAULT"
    if mode in (pynvml.NVML_COMPUTEMODE_EXCLUSIVE_PROCESS, pynvml.NVML_COMPUTEMODE_EXCLUSIVE_THREAD):
        exclusive = "its compute mode lets one process at a time compute, and a solution may have several"
        return exclusive, "sudo nvidia-smi -c DEFAULT"
    rows = or_none(lambda: pynvml.nvmlDeviceGetRemappedRows(handle))
    if rows and rows[3]:
        return "rows of its memory could not be remapped: it is to be replaced", "nvidia-smi -q -d ROW_REMAPPER"
    ecc = or_none(lambda: pynvml.nvmlDeviceGetEccMode(handle))
    uncorrected, volatile = pynvml.NVML_MEMORY_ERROR_TYPE_UNCORRECTED, pynvml.NVML_VOLATILE_ECC
    if ecc and ecc[0] == pynvml.NVML_FEATURE_ENABLED:
        errors = or_none(lambda: pynvml.nvmlDeviceGetTotalEccErrors(handle, uncorrected, volatile))
        if errors:
            return f"{errors} memory errors that ECC could not correct since it was last reset", "sudo nvidia-smi -r"
    if rows and rows[2]:
        return "rows of its memory wait to be remapped", "sudo nvidia-smi -r"
    return "", ""


def processes_on(handle: object, system: Path) -> tuple[GpuProcess, ...]:
    """Return what computes on a device, with names and containers as far as this user's /proc shows them."""
    import pynvml

    found = or_none(lambda: pynvml.nvmlDeviceGetComputeRunningProcesses(handle)) or []
    windows = {each.pid for each in or_none(lambda: pynvml.nvmlDeviceGetGraphicsRunningProcesses(handle)) or []}
    return tuple(_process(each, system / "proc", draws=each.pid in windows) for each in found)


def _process(found: Any, proc: Path, *, draws: bool) -> GpuProcess:  # noqa: ANN401  (pynvml has no types)
    folder, memory_mib = proc / str(found.pid), int(found.usedGpuMemory or 0) >> 20
    containers = _CONTAINER.findall(_text(folder / "cgroup"))  # the innermost last, where one holds others
    name = _text(folder / "comm").strip()
    return GpuProcess(int(found.pid), name, memory_mib, containers[-1] if containers else None, draws)


def _without_devices(error: Any, cards: "dict[str, str]", system: Path) -> Gpus:  # noqa: ANN401  (pynvml has no types)
    """What it means that NVML cannot be begun: nothing NVIDIA here, or something that does not work."""
    import pynvml

    if error.value == pynvml.NVML_ERROR_LIBRARY_NOT_FOUND:
        if cards:
            return Gpus("broken", (), f"PCI lists {_listed(cards)}, and no NVIDIA driver is installed",
                        "install the NVIDIA driver, such as sudo apt-get install nvidia-driver-580-server")  # fmt: skip
        return Gpus(
            "none", (), "no NVIDIA driver (no libnvidia-ml.so.1) and no NVIDIA device on PCI", "lspci | grep -i nvidia"
        )
    if error.value == pynvml.NVML_ERROR_DRIVER_NOT_LOADED:
        if cards:
            others = f", and PCI lists {_listed(cards)}" if _release(cards) else ""
            return Gpus("broken", (), f"the NVIDIA driver is installed and its kernel module is not loaded{others}",
                        _release(cards) or "sudo modprobe nvidia; if that fails, sudo dkms status")  # fmt: skip
        return Gpus(
            "none", (), "an NVIDIA driver is installed, and PCI lists no NVIDIA device", "lspci | grep -i nvidia"
        )
    if error.value == pynvml.NVML_ERROR_LIB_RM_VERSION_MISMATCH:
        loaded = re.search(r"Kernel Module\D*([0-9.]+)", _text(system / "proc/driver/nvidia/version"))
        of = f" (the module is {loaded[1]})" if loaded else ""
        return Gpus("broken", (), f"the driver's library and its kernel module are of two versions{of}, as after an "
                    "update", "sudo reboot")  # fmt: skip
    if error.value == pynvml.NVML_ERROR_NO_PERMISSION:
        return Gpus("broken", (), "this user may not use the NVIDIA driver", "ls -l /dev/nvidiactl")
    return Gpus("broken", (), f"the NVIDIA driver does not begin: {_words(error)}", _DMESG)


def _pci_cards(system: Path) -> "dict[str, str]":
    """PCI addresses of NVIDIA GPUs, and the kernel's driver of each; empty where it has none."""
    found = {}
    for card in sorted((system / "sys/bus/pci/devices").glob("*")):
        if _text(card / "vendor").strip() == _NVIDIA and _text(card / "class").startswith(_DISPLAY_CLASSES):
            driver = card / "driver"
            found[card.name] = driver.readlink().name if driver.is_symlink() else ""
    return found


def _listed(cards: "dict[str, str]") -> str:
    return ", ".join(card + (f" ({of} drives it)" if of not in _OWN_DRIVERS else "") for card, of in cards.items())


def _release(cards: "dict[str, str]") -> str:
    """What to do about cards that something else drives than NVIDIA's driver; empty where none is."""
    drivers = set(cards.values())
    if any(driver.startswith("vfio") for driver in drivers):
        return "they were given to virtual machines: lspci -nnk -d 10de:, and take them out of the settings of vfio-pci"
    if "nouveau" in drivers:
        blacklist = "echo blacklist nouveau | sudo tee /etc/modprobe.d/no-nouveau.conf"
        return f"{blacklist} && sudo update-initramfs -u && sudo reboot"
    return ""


def or_none(ask: Any) -> Any:  # noqa: ANN401  (pynvml has no types)
    """What a question that not every device or driver understands is answered; None where it is not."""
    import pynvml

    try:
        return ask()
    except pynvml.NVMLError as error:
        if error.value in (pynvml.NVML_ERROR_GPU_IS_LOST, pynvml.NVML_ERROR_RESET_REQUIRED):
            raise
        return None


def _words(error: Exception) -> str:
    return str(error).strip() or type(error).__name__


def _text(path: Path) -> str:
    try:
        return path.read_text(encoding="utf-8", errors="replace")
    except OSError:
        return ""


if __name__ == "__main__":
    answer = json.dumps(asdict(read_gpus(Path(sys.argv[1]))))
    sys.stdout.write(f"\n{answer}\n")  # a line of its own, whatever the library wrote
