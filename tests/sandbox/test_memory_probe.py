"""The probe of a GPU's memory finds what a driver that does not clear leaves there: its program against a driver of ours."""

import functools
import json
import os
import shutil
import subprocess
import sys
import tempfile
from collections.abc import Callable, Mapping
from pathlib import Path

import pytest

from aira_bench.errors import PrerequisiteError
from aira_bench.runs import host
from aira_bench.runs.device_probe import probe_free_device
from aira_bench.runs.leases import Leases
from aira_bench.runs.line import Line
from aira_bench.runs.places import Place
from aira_bench.sandbox.memory_probe import probe_memory
from aira_bench.sandbox.probe_checks import ProbeCheck
from aira_bench.sandbox.walls import require_walls
from aira_bench.testing import Call, Done, InMemorySandbox
from aira_bench.waiting import Waits

DEVICE_BYTES = 400 << 20
BEGUN, CLEARED = "CUDA in a container", "GPU memory of a former container"


@functools.cache
def driver() -> Path:
    """The folder of a libcuda.so.1."""
    if (compiler := shutil.which("cc")) is None:
        pytest.skip("no C compiler (cc) to build a driver's library with")
    folder = Path(tempfile.mkdtemp(prefix="fake-cuda-"))
    source = Path(__file__).parent / "device_memory.c"
    subprocess.run(
        [compiler, "-O2", "-shared", "-fPIC", "-o", str(folder / "libcuda.so.1"), str(source)], check=True, timeout=60
    )
    return folder


def device(tmp_path: Path, each: Mapping[str, Mapping[str, str]], *, has_driver: bool = True) -> InMemorySandbox:
    """A sandbox whose containers have a device."""
    return InMemorySandbox({"probe": device_program(tmp_path, each, has_driver=has_driver)})


def device_program(
    tmp_path: Path, each: Mapping[str, Mapping[str, str]], *, has_driver: bool = True
) -> Callable[[Call], Done]:
    """What the probe's containers do that have a device; `each` is what its driver is told when memory is written, and
    when it is looked at.
    """
    device = tmp_path / "device"
    with device.open("wb") as file:
        file.truncate(DEVICE_BYTES)

    def run(call: Call) -> Done:
        folder = tmp_path / call.command[2]
        folder.mkdir()
        for name, content in call.files.items():
            (folder / name).write_bytes(content)
        told = {"FAKE_CUDA": str(device), "FAKE_CUDA_CLEARS": "all", **each.get(call.command[2], {})}
        libraries = {"LD_LIBRARY_PATH": str(driver())} if has_driver else {}
        done = subprocess.run(
            [sys.executable, *call.command[1:]], cwd=folder, env={"PATH": os.environ["PATH"], **told, **libraries},
            capture_output=True, timeout=60, check=False,
        )  # fmt: skip
        left = {path.name: path.read_bytes() for path in folder.glob("device.json")}
        return Done(left, stderr=done.stderr, exit_code=done.returncode)

    return run


def probed(tmp_path: Path, each: Mapping[str, Mapping[str, str]], *, has_driver: bool = True) -> dict[str, ProbeCheck]:
    """The probe's checks by name."""
    sandbox = device(tmp_path, each, has_driver=has_driver)
    checks = probe_memory(sandbox, "image:1", "GPU-1")
    assert not sandbox.containers
    return {check.name: check for check in checks}


def test_memory_that_the_driver_clears_passes(tmp_path: Path) -> None:
    checks = probed(tmp_path, {})
    assert {name: check.ok for name, check in checks.items()} == {BEGUN: True, CLEARED: True}
    assert checks[CLEARED].seen == "336 of 400 MiB read"


@pytest.mark.parametrize("clears", ["none", "half", "most"])
def test_memory_that_is_handed_on_as_it_was_left_is_caught_whole_or_in_part(tmp_path: Path, clears: str) -> None:
    check = probed(tmp_path, {"look": {"FAKE_CUDA_CLEARS": clears}})[CLEARED]
    assert not check.ok
    assert check.seen.startswith("its pattern in "), check.seen


@pytest.mark.parametrize("task", ["write", "look"])
def test_a_device_most_of_which_somebody_else_holds_is_no_answer(tmp_path: Path, task: str) -> None:
    check = probed(tmp_path, {task: {"FAKE_CUDA_TAKEN": str(DEVICE_BYTES // 2)}})[CLEARED]
    assert not check.ok


@pytest.mark.parametrize("call", ["cuInit", "cuDeviceGet", "cuMemAlloc_v2", "cuMemsetD32_v2"])
def test_a_driver_that_refuses_says_which_call(tmp_path: Path, call: str) -> None:
    (check,) = probed(tmp_path, {"write": {"FAKE_CUDA_FAILS": call}}).values()
    assert (check.name, check.ok) == (BEGUN, False)
    assert call.removesuffix("_v2") in check.seen
    assert "999" in check.seen


def test_a_driver_that_breaks_off_when_it_is_looked_is_no_pass(tmp_path: Path) -> None:
    checks = probed(tmp_path, {"look": {"FAKE_CUDA_FAILS": "cuMemAlloc_v2"}})
    assert (checks[CLEARED].ok, checks[CLEARED].seen) == (False, "cuMemAlloc: CUDA error 999")


def test_a_container_without_the_driver_says_so(tmp_path: Path) -> None:
    (check,) = probed(tmp_path, {}, has_driver=False).values()
    assert not check.ok
    assert check.seen.startswith("no driver in the container: libcuda.so.1")


def test_what_is_taken_is_counted_in_whole_pages(tmp_path: Path) -> None:
    probed(tmp_path, {})
    report = json.loads((tmp_path / "write" / "device.json").read_text())
    assert report == {"total_mib": 400, "taken_mib": 336, "pages": 168}


def test_a_run_probes_one_device_that_no_other_run_has(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("AIRA_LEASES", str(tmp_path / "leases"))
    other = Leases(tmp_path / "leases")
    assert other.take("gpu-GPU-0")
    notes: list[str] = []
    sandbox = device(tmp_path, {"look": {"FAKE_CUDA_CLEARS": "none"}})
    assert [check.ok for check in probe_free_device(sandbox, "image:1", ["GPU-0", "GPU-1"], notes.append)] == [
        True, False,
    ]  # fmt: skip
    assert notes == ["probing the memory of GPU-1"]
    assert other.take("gpu-GPU-1"), "it is given back"
    assert probe_free_device(sandbox, "image:1", ["GPU-0", "GPU-1"], notes.append) == []
    assert "was not probed" in notes[-1]
    other.release()


KILLED = """
import sys
from aira_bench.runs.line import Line
from aira_bench.runs.places import Place
from aira_bench.waiting import Waits
Line([Place(gpu="GPU-0")]).take(Waits())
print("has it", flush=True)
sys.stdin.read()
"""


def test_what_a_killed_run_left_on_the_device_is_removed_before_it_is_probed(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Its step may run on in the engine, and hold the memory that is to be looked at."""
    monkeypatch.setenv("AIRA_LEASES", str(tmp_path / "leases"))
    killed = subprocess.Popen([sys.executable, "-c", KILLED], stdin=subprocess.PIPE, stdout=subprocess.PIPE)
    assert killed.stdout is not None
    killed.stdout.readline()
    killed.kill()
    killed.communicate()
    sandbox, swept = device(tmp_path, {}), list[str]()

    def sweep(owner: str) -> int:
        assert not sandbox.calls, "before the probe"
        swept.append(owner)
        return 1

    monkeypatch.setattr(sandbox, "sweep_owner", sweep)
    checks = probe_free_device(sandbox, "image:1", ["GPU-0"], lambda note: None)
    assert [check.ok for check in checks] == [True, True]
    assert [f"/{killed.pid}/" in owner for owner in swept] == [True]
    assert list((tmp_path / "leases" / "line").iterdir()) == [], "and the dead one's place in the line is gone"


def test_a_probe_does_not_pass_a_run_that_waits_for_the_device(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("AIRA_LEASES", str(tmp_path / "leases"))
    holds, waits = Line([Place(gpu="GPU-0")]), Line([Place(gpu="GPU-0")])
    held = holds.take(Waits())
    turn = waits.enter()
    assert waits.attempt(turn, 0.0) is None
    holds.give_back(held.index)
    sandbox, notes = device(tmp_path, {}), list[str]()
    assert probe_free_device(sandbox, "image:1", ["GPU-0"], notes.append) == []
    assert "was not probed" in notes[-1]
    assert waits.attempt(turn, 0.0) is not None, "and it leaves the device to who waits"
    waits.leave(turn)
    waits.close()
    holds.close()


def test_a_run_does_not_begin_on_a_device_that_hands_memory_on(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("AIRA_LEASES", str(tmp_path / "leases"))
    monkeypatch.setattr(host, "probe_all", lambda sandbox, image: [])
    sandbox = device(tmp_path, {"look": {"FAKE_CUDA_CLEARS": "half"}})
    with pytest.raises(PrerequisiteError, match="GPU memory of a former container: seen its pattern in"):
        require_walls(host.walls_of(sandbox, "image:1", ["GPU-1"]))
