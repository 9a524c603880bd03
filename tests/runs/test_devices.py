"""Profile `paper` without a GPU stops with one line, before anything is built, downloaded or asked."""

from dataclasses import replace
from pathlib import Path

import pytest

from aira_bench.errors import PrerequisiteError
from aira_bench.gpus import GpuProcess, Gpus
from aira_bench.hardware import Hardware
from aira_bench.images.declared import Declared
from aira_bench.images.ensure import ImageSet
from aira_bench.keys import KeyFolder
from aira_bench.record.folder import RunFolder
from aira_bench.record.run_record import read_run
from aira_bench.runs.devices import on_devices, on_devices_of
from aira_bench.runs.host import Host
from aira_bench.runs.launch import resume, start
from aira_bench.runs.resolve import resolve
from aira_bench.testing import Done
from fake_gpus import H100, h100, uuid
from played_host import ProbedSandbox, played_host, played_sandbox, request

SEEN = {
    "none": Gpus("none", why="no NVIDIA driver and no NVIDIA device on PCI", mend="lspci | grep -i nvidia"),
    "broken": Gpus("broken", why="its kernel module is not loaded", mend="sudo modprobe nvidia"),
    "hidden": Gpus("hidden", why="CUDA_VISIBLE_DEVICES= hides all GPUs", mend="unset CUDA_VISIBLE_DEVICES"),
}
EIGHT = Gpus("seen", tuple(map(h100, range(8))), driver="580.95.05")


def machine(root: Path, seen: Gpus, sandbox: ProbedSandbox | None = None) -> tuple[Host, list[str]]:
    """A played machine with those devices, and the flavours of images that were asked for."""
    asked: list[str] = []

    def build(flavour: str, declared: Declared) -> ImageSet:
        asked.append(flavour)
        return ImageSet(f"{flavour}-agent:1", f"{flavour}-evaluator:1")

    host = played_host(root, sandbox or played_sandbox(agent=lambda call: Done(exit_code=1)))
    return replace(host, hardware=Hardware("a processor", 64, 1024, seen.devices, seen), build_images=build), asked


def begun(host: Host, notes: list[str] | None = None, **wishes: object) -> Path:
    asked = request(**{"profile": "paper", "steps": 1, **wishes})
    run = resolve(asked, host.paths, host.world, host.hardware)
    return start(host, run, (notes if notes is not None else []).append, lambda progress: None).path


@pytest.mark.parametrize("state", SEEN)
def test_profile_paper_without_a_gpu_stops_with_one_line_and_touches_nothing(state: str, tmp_path: Path) -> None:
    """It took the cpu images without a word, and began thirteen downloads."""
    sandbox = played_sandbox()
    host, asked = machine(tmp_path, SEEN[state], sandbox)
    with pytest.raises(PrerequisiteError) as told:
        begun(host)
    assert SEEN[state].why in told.value.message
    assert told.value.hint is not None
    assert told.value.hint.startswith(f"{SEEN[state].mend}; or --profile cpu; or --allow-cpu")
    assert "\n" not in str(told.value)
    assert (asked, sandbox.swept, list(host.paths.runs.glob("*")) if host.paths.runs.exists() else []) == ([], [], [])


@pytest.mark.parametrize(
    ("capability", "driver", "said"),
    [((7, 0), "580.95", "has compute capability 7.0"), ((9, 0), "535.104", "the driver: 535.104, expected 580 or newer")],
)  # fmt: skip
def test_what_the_images_cannot_run_on_stops_a_run_before_any_step_is_blamed(
    capability: tuple[int, int], driver: str, said: str, tmp_path: Path
) -> None:
    devices = tuple(replace(gpu, compute_capability=capability) for gpu in EIGHT.devices)
    sandbox = played_sandbox()
    host, asked = machine(tmp_path, replace(EIGHT, devices=devices, driver=driver), sandbox)
    with pytest.raises(PrerequisiteError, match="The images cuda cannot run here: ") as told:
        begun(host)
    assert said in told.value.message
    assert (asked, list(host.paths.runs.glob("*")) if host.paths.runs.exists() else []) == ([], [])


def test_the_user_may_take_the_processor_and_the_run_goes_on_with_it(tmp_path: Path) -> None:
    host, asked = machine(tmp_path, SEEN["none"])
    notes: list[str] = []
    folder = begun(host, notes, allow_cpu=True)
    assert asked == ["cpu"]
    assert any("no GPU is used" in note for note in notes)
    record = read_run(RunFolder(folder), KeyFolder(host.paths.keys).ring())
    assert (record.manifest.hardware["gpus"], record.manifest.hardware_class) == ([], "a processor")
    later, _ = machine(tmp_path, EIGHT)
    assert on_devices_of(later, record.manifest, notes.append).hardware.label == "a processor"


def test_busy_devices_are_no_reason_to_take_the_processor(tmp_path: Path) -> None:
    taken = replace(h100(0), processes=(GpuProcess(7, "python", 70_000),))
    host, asked = machine(tmp_path, Gpus("seen", (taken,)))
    with pytest.raises(PrerequisiteError, match=r"cannot be used: python \(pid 7, 70000 MiB\) computes on it"):
        begun(host, allow_cpu=True)
    assert asked == []


def test_the_manifest_says_which_devices_and_which_driver(tmp_path: Path) -> None:
    taken = replace(h100(0), processes=(GpuProcess(7, "python", 70_000),))
    host, asked = machine(tmp_path, replace(EIGHT, devices=(taken, *EIGHT.devices[1:])))
    notes: list[str] = []
    folder = begun(host, notes, gpus=3, seeds=(0, 1))
    manifest = read_run(RunFolder(folder), KeyFolder(host.paths.keys).ring()).manifest
    assert asked == ["cuda"]
    assert [gpu["uuid"] for gpu in manifest.hardware["gpus"]] == [uuid(index) for index in range(1, 8)]
    assert (manifest.hardware["gpu_driver"], manifest.hardware_class) == ("580.95.05", H100)
    assert "python" not in str(manifest.hardware), "who else uses the machine is nobody's business"
    assert any(note.startswith("GPU 0 ") and "is left out: python" in note for note in notes)


def test_a_run_that_began_on_a_gpu_does_not_go_on_without_it(tmp_path: Path) -> None:
    host, _ = machine(tmp_path, EIGHT)
    record = read_run(RunFolder(begun(host)), KeyFolder(host.paths.keys).ring())
    later, asked = machine(tmp_path, SEEN["broken"])
    with pytest.raises(PrerequisiteError, match="its driver does not work: its kernel module is not loaded"):
        resume(later, record, lambda text: None, lambda progress: None)
    assert asked == []


def test_the_cpu_profile_is_of_the_processor_whatever_devices_there_are(tmp_path: Path) -> None:
    """A board would else put scores of one processor into two sections, by the card that idles beside it."""
    for seen in (EIGHT, SEEN["broken"], Gpus("seen", (h100(0, fault="broken"),))):
        host, _ = machine(tmp_path, seen)
        used = on_devices(host, "cpu", None, lambda text: None, allow_cpu=False).hardware
        assert (used.gpus, used.label) == ((), "a processor")


def test_a_lost_device_is_told_and_the_others_are_used(tmp_path: Path) -> None:
    host, _ = machine(tmp_path, replace(EIGHT, devices=EIGHT.devices[:7], lost=("GPU 7: GPU is lost",)))
    notes: list[str] = []
    assert len(on_devices(host, "paper", None, notes.append, allow_cpu=False).hardware.gpus) == 7
    assert notes == ["GPU 7: GPU is lost: the driver counts it and cannot reach it"]


@pytest.mark.parametrize(
    ("wish", "seeds", "steps_at_a_time"),
    [(None, 10, 8), (("0", "3"), 10, 2), (None, 3, 3), (2, 10, 8), (("all",), 10, 8)],
)
def test_as_many_steps_at_a_time_as_there_are_devices_for_them(
    wish: int | tuple[str, ...] | None, seeds: int, steps_at_a_time: int, tmp_path: Path
) -> None:
    host, _ = machine(tmp_path, EIGHT)
    asked = request(profile="paper", gpus=wish, seeds=tuple(range(seeds)))
    assert resolve(asked, host.paths, host.world, host.hardware).plan.concurrency == steps_at_a_time
