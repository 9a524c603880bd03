"""What the driver says becomes devices, or the reason why there are none: NVIDIA's binding against a library of ours."""

import os
import time
from pathlib import Path

import pytest

from aira_bench.gpus import Gpus, look_at_gpus
from aira_bench.gpus.look import understood
from aira_bench.hardware import Hardware, this_machine, usable_cores
from aira_bench.runs.provenance import describe_hardware
from fake_gpus import H100, driver_says, gpu_line, h100, library_folder, uuid

SMALL = "mig MIG-0a 20096 19800 NVIDIA H100 80GB HBM3 MIG 2g.20gb"
LARGE = "mig MIG-0b 40448 40000 NVIDIA H100 80GB HBM3 MIG 3g.40gb"


def machine(tmp_path: Path, *, cards: int = 0, module: str = "") -> Path:
    """A `/` whose PCI bus has so many NVIDIA GPUs, an audio function of the first, and another vendor's card."""
    system = tmp_path / "system"
    bus = system / "sys/bus/pci/devices"
    others = {"0000:00:02.0": ("0x8086", "0x030000"), "0000:01:00.1": ("0x10de", "0x040300")}
    found = {f"0000:{number + 1:02x}:00.0": ("0x10de", "0x030200") for number in range(cards)}
    for address, (vendor, kind) in {**others, **found}.items():
        (bus / address).mkdir(parents=True)
        (bus / address / "vendor").write_text(f"{vendor}\n")
        (bus / address / "class").write_text(f"{kind}\n")
    if module:
        (system / "proc/driver/nvidia").mkdir(parents=True)
        (system / "proc/driver/nvidia/version").write_text(
            f"NVRM version: NVIDIA UNIX x86_64 Kernel Module  {module}\n"
        )
    return system


def test_devices_are_named_as_the_driver_names_them(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    driver_says(monkeypatch, tmp_path, "driver 580.95.05", "cuda 13000", gpu_line(0), gpu_line(1, free_mib=81_003))
    seen = look_at_gpus()
    assert (seen.state, seen.driver, seen.cuda, seen.lost) == ("seen", "580.95.05", "13.0", ())
    assert seen.devices == (h100(0), h100(1, free_mib=81_003))
    assert seen.every == (uuid(0), uuid(1))
    assert not any(gpu.busy() or gpu.fault for gpu in seen.devices)
    hardware = this_machine()
    assert (hardware.gpus, hardware.label) == (seen.devices, H100)
    recorded = describe_hardware(hardware)
    assert recorded["gpu_driver"] == "580.95.05"
    assert recorded["gpus"][1] == {
        "place": "1", "uuid": uuid(1), "name": H100, "memory_mib": 81_559, "compute_capability": [9, 0], "mig": False,
    }  # fmt: skip


def test_a_device_somebody_computes_on_is_busy_and_says_who(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    system = machine(tmp_path, cards=2)
    inside = "a" * 64
    for pid, name, group in [
        (4242, "python", "0::/user.slice"),
        (77, "train", f"0::/docker/{'c' * 64}/system.slice/docker-{inside}.scope"),  # an engine in a container
    ]:
        (system / f"proc/{pid}").mkdir(parents=True)
        (system / f"proc/{pid}/comm").write_text(f"{name}\n")
        (system / f"proc/{pid}/cgroup").write_text(f"{group}\n")
    driver_says(
        monkeypatch, tmp_path, gpu_line(0, free_mib=41_000), "process 4242 40000",
        gpu_line(1, free_mib=80_000), "process 77 1000", gpu_line(2, free_mib=60_000), gpu_line(3, free_mib=74_000),
        gpu_line(4, free_mib=10_000), *(f"process {pid} 5" for pid in range(1, 6)),
    )  # fmt: skip
    stranger, contained, unseen, desktop, several = look_at_gpus(system).devices
    assert stranger.busy() == "python (pid 4242, 40000 MiB) computes on it"
    assert contained.busy() == "train (pid 77, 1000 MiB) computes on it"
    assert look_at_gpus(system).knowing({inside}).devices[1].busy() == "", "a lease keeps our own apart"
    assert unseen.busy() == "60000 of 81559 MiB are free, and no process of it can be seen from here"
    assert desktop.busy() == ""
    assert several.busy().endswith("and 2 more compute on it")


def test_a_desktop_leaves_its_device_free_until_a_program_takes_memory(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    window = ("process 9 300", "draws 9", "draws 8")
    driver_says(monkeypatch, tmp_path, gpu_line(0, free_mib=80_000), *window, gpu_line(1, free_mib=9_000), *window)
    desktop, rendering = look_at_gpus(machine(tmp_path)).devices
    assert desktop.busy() == ""
    assert rendering.busy() == "a process (pid 9, 300 MiB) computes on it"


def test_a_device_whose_memory_the_driver_does_not_count_can_be_used(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    driver_says(monkeypatch, tmp_path, gpu_line(0, total_mib=0, free_mib=0, name="NVIDIA GB10"))
    (gpu,) = look_at_gpus().devices
    assert (gpu.memory_mib, gpu.free_mib, gpu.busy(), gpu.fault) == (0, 0, "", "")


def test_mig_instances_stand_for_the_gpu_they_divide(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    driver_says(
        monkeypatch, tmp_path, gpu_line(0), gpu_line(1, mig=1), SMALL, LARGE, "process 9 100", gpu_line(2, mig=1)
    )
    whole, small, large, undivided = look_at_gpus().devices
    assert [gpu.place for gpu in (whole, small, large)] == ["0", "1:0", "1:1"]
    assert (small.uuid, small.memory_mib, small.free_mib, small.mig) == ("MIG-0a", 20_096, 19_800, True)
    assert (large.uuid, large.busy()) == ("MIG-0b", "a process (pid 9, 100 MiB) computes on it")
    assert undivided.fault == "MIG is on and no instance was made"
    assert "nvidia-smi mig -i 2" in undivided.mend


@pytest.mark.parametrize(
    ("line", "fault", "mend"),
    [
        (gpu_line(0, ecc=12), "12 memory errors that ECC could not correct since it was last reset", "nvidia-smi -r"),
        (gpu_line(0, remap=1), "rows of its memory wait to be remapped", "nvidia-smi -r"),
        (gpu_line(0, remap=2), "rows of its memory could not be remapped: it is to be replaced", "ROW_REMAPPER"),
        (gpu_line(0, mode=2), "its compute mode is Prohibited", "nvidia-smi -c DEFAULT"),
        (gpu_line(0, ecc=-1, mig=-1, name="NVIDIA GeForce RTX 4090"), "", ""),
    ],
)
def test_a_device_nothing_should_run_on_says_why(
    line: str, fault: str, mend: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    driver_says(monkeypatch, tmp_path, line)
    (gpu,) = look_at_gpus().devices
    assert gpu.fault == fault
    assert mend in gpu.mend


def test_a_lost_device_is_told_and_the_others_keep_their_numbers(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    driver_says(monkeypatch, tmp_path, gpu_line(0), gpu_line(1, code=15), gpu_line(2))
    seen = look_at_gpus()
    assert [gpu.place for gpu in seen.devices] == ["0", "2"]
    assert seen.lost == ("GPU 1: GPU is lost",)


def test_devices_of_another_job_are_left_out_and_not_counted(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """As CUDA counts under a scheduler that lets each job open its own devices alone."""
    driver_says(monkeypatch, tmp_path, gpu_line(0, code=4), gpu_line(1), gpu_line(2, code=4), gpu_line(3))
    seen = look_at_gpus()
    assert [(gpu.place, gpu.uuid) for gpu in seen.devices] == [("0", uuid(1)), ("1", uuid(3))]
    assert seen.lost == ()


@pytest.mark.parametrize(
    ("lines", "cards", "module", "state", "why", "mend"),
    [
        (["init 9"], 0, "", "none", "an NVIDIA driver is installed, and PCI lists no NVIDIA device", "lspci"),
        (["init 9"], 1, "", "broken", "its kernel module is not loaded", "sudo modprobe nvidia"),
        (["init 18"], 1, "570.86", "broken", "of two versions (the module is 570.86), as after an update", "sudo reboot"),
        (["init 4"], 1, "", "broken", "this user may not use the NVIDIA driver", "ls -l /dev/nvidiactl"),
        (["init 999"], 1, "", "broken", "the NVIDIA driver does not begin: Unknown Error", "dmesg"),
        (["crash"], 1, "", "broken", "ended its process with signal 11", "nvidia-smi"),
        (["driver 580.1"], 0, "", "none", "the driver (580.1) lists no device", "lspci"),
        (["driver 580.1"], 2, "", "broken", "lists no device, and PCI lists 0000:01:00.0, 0000:02:00.0", "dmesg"),
        ([gpu_line(0, code=15)], 1, "", "broken", "reaches none of its devices: GPU 0: GPU is lost", "dmesg"),
    ],
)  # fmt: skip
def test_no_device_and_a_broken_driver_are_told_apart(
    lines: list[str], cards: int, module: str, state: str, why: str, mend: str,
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch,
) -> None:  # fmt: skip
    driver_says(monkeypatch, tmp_path, *lines)
    seen = look_at_gpus(machine(tmp_path, cards=cards, module=module))
    assert (seen.state, seen.devices) == (state, ())
    assert why in seen.why
    assert mend in seen.mend


@pytest.mark.parametrize(("cards", "state"), [(0, "none"), (1, "broken")])
def test_without_the_drivers_library_pci_says_whether_one_is_missing(
    cards: int, state: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    broken = tmp_path / "libraries"
    broken.mkdir()
    (broken / "libnvidia-ml.so.1").write_bytes(b"not a library")  # hides one that this machine may have
    monkeypatch.setenv("LD_LIBRARY_PATH", str(broken))
    seen = look_at_gpus(machine(tmp_path, cards=cards))
    assert (seen.state, seen.devices) == (state, ())
    assert ("no NVIDIA driver is installed" in seen.why) == (state == "broken")


@pytest.mark.parametrize("line", ["shutdown 999", "chatty"])
def test_a_driver_that_ends_badly_or_talks_has_its_devices_all_the_same(
    line: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    driver_says(monkeypatch, tmp_path, line, gpu_line(0))
    assert look_at_gpus().devices == (h100(0),)


@pytest.mark.parametrize("said", ["", "no JSON", "[]", "{}", '{"state": "seen"}'])
def test_a_driver_whose_library_ends_the_process_early_is_broken(said: str) -> None:
    """As one that calls exit(0), of which the status says nothing."""
    seen = understood(0, said, "")
    assert (seen.state, seen.mend) == ("broken", "nvidia-smi")
    assert seen.why.startswith("what the NVIDIA driver says was not understood: ")


def test_a_driver_that_hangs_is_broken_and_is_not_waited_for(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    driver_says(monkeypatch, tmp_path, "hang")
    began_s = time.monotonic()
    seen = look_at_gpus(timeout_s=0.6)
    assert seen == Gpus("broken", (), "the NVIDIA driver did not answer in 0.6 s", "sudo reboot")
    assert time.monotonic() - began_s < 10


def test_a_file_of_the_working_folder_is_not_taken_for_the_binding(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    driver_says(monkeypatch, tmp_path, gpu_line(0))
    (tmp_path / "pynvml.py").write_text("raise SystemExit(3)\n")
    monkeypatch.chdir(tmp_path)
    assert look_at_gpus().devices == (h100(0),)


def test_keys_are_not_handed_to_the_driver(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    spy = tmp_path / "spy.so.c"
    spy.write_text(
        '#include <stdlib.h>\nint nvmlInitWithFlags(unsigned f) { (void)f; return getenv("GEMINI_API_KEY") ? 4 : 999; }\n'
    )
    library_folder()
    assert os.system(f"cc -shared -fPIC -o {tmp_path}/libnvidia-ml.so.1 {spy}") == 0
    monkeypatch.setenv("LD_LIBRARY_PATH", str(tmp_path))
    monkeypatch.setenv("GEMINI_API_KEY", "secret")
    assert look_at_gpus().why == "the NVIDIA driver does not begin: Unknown Error"


def test_a_machine_without_a_device_has_some_cores(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    driver_says(monkeypatch, tmp_path, "init 9")
    found = this_machine()
    assert (found.gpus, found.label) == ((), found.processor)
    assert found.cores == len(usable_cores()) >= 1
    assert found.memory_mib > 100
    assert Hardware("x", 1, 1, ()).label == "x"
