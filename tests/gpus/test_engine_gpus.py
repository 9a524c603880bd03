"""An orchestrator in a container without a GPU finds those that its engine gives: with a played engine and driver."""

import subprocess
import sys
from collections.abc import Iterator
from dataclasses import replace
from pathlib import Path
from typing import Any

import pytest

from aira_bench.gpus import Gpus, look_at_gpus
from aira_bench.hardware import Hardware, this_machine
from aira_bench.runs.devices import UNWATCHED, WATCH_THEM, used_hardware
from aira_bench.sandbox.engine_gpus import GIVE_THEM, engine_gpus
from aira_bench.sandbox.hardening import OWNER_LABEL, RUN_LABEL
from fake_gpus import driver_says, gpu_line, uuid
from sandbox.played_engine import PlayedEngine

OWN = "ab" * 32
NONE = Gpus("none", why="no NVIDIA driver (no libnvidia-ml.so.1) and no NVIDIA device on PCI", mend="lspci")
MOUNTS = """\
800 799 0:52 / / rw,relatime master:201 - overlay overlay rw,lowerdir=/var/lib/docker/overlay2/l/A
812 800 254:0 /var/lib/docker/containers/{own}/resolv.conf /etc/resolv.conf rw,relatime - ext4 /dev/vda rw
813 800 254:0 /var/lib/docker/containers/{own}/hostname /etc/hostname rw,relatime - ext4 /dev/vda rw
"""


@pytest.fixture
def engine(monkeypatch: pytest.MonkeyPatch) -> Iterator[PlayedEngine]:
    """An engine that has the orchestrator's container, and gives devices as its host has them."""
    played = PlayedEngine()
    played.images[OWN] = "sha256:orchestrator"
    monkeypatch.setenv("DOCKER_HOST", played.address)
    yield played
    played.close()


@pytest.fixture
def system(tmp_path: Path) -> Path:
    """Where the orchestrator's container shows that it is one."""
    (tmp_path / "proc/self").mkdir(parents=True)
    (tmp_path / "proc/self/mountinfo").write_text(MOUNTS.format(own=OWN))
    return tmp_path


def asks_the_driver(body: dict[str, Any]) -> tuple[int, bytes, bytes]:
    """The container's program, with the driver that the test has laid down for whoever gets devices."""
    done = subprocess.run(body["Entrypoint"], capture_output=True, check=False, timeout=60)
    return done.returncode, done.stdout, done.stderr


def test_devices_of_the_host_are_found_by_a_container_of_the_same_image(
    engine: PlayedEngine, system: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    driver_says(monkeypatch, system, gpu_line(0), gpu_line(1, free_mib=4_000))
    engine.ends = asks_the_driver
    found = engine_gpus(NONE, system)
    assert [gpu.uuid for gpu in found.devices] == [uuid(0), uuid(1)]
    assert (found.state, found.driver, found.through_engine) == ("seen", "580.95.05", True)
    assert found.devices[1].busy()
    (body,) = engine.bodies
    assert body["Image"] == "sha256:orchestrator"
    assert body["Entrypoint"] == [sys.executable, "-P", "-m", "aira_bench.gpus.nvml", "/"]
    host = body["HostConfig"]
    assert host["DeviceRequests"] == [{"Count": -1, "Capabilities": [["gpu", "utility"]]}]
    assert (host["PidMode"], host["NetworkMode"], host["CapDrop"]) == ("host", "none", ["ALL"])
    assert {RUN_LABEL, OWNER_LABEL} <= set(body["Labels"]), "a crash leaves nothing that is not swept"
    assert not engine.containers, "it is removed"


def test_where_the_engine_lists_all_devices_by_cdi_it_is_asked_so(engine: PlayedEngine, system: Path) -> None:
    engine.info["DiscoveredDevices"] = [{"Source": "cdi", "ID": "nvidia.com/gpu=all"}]
    engine.ends = lambda body: (139, b"", b"")
    found = engine_gpus(NONE, system)
    assert engine.bodies[0]["HostConfig"]["DeviceRequests"] == [{"Driver": "cdi", "DeviceIDs": ["nvidia.com/gpu=all"]}]
    assert (found.state, found.why) == ("broken", "the NVIDIA driver's library ended its process with signal 11")


@pytest.mark.parametrize(
    ("ends", "why"),
    [
        ((1, b"", b"Traceback\nNVMLError_Unknown: Unknown Error\n"), "was not understood: NVMLError_Unknown: Unknown Error"),
        ((1, b"", b""), "was not understood: nothing was said"),
    ],
)  # fmt: skip
def test_a_driver_that_is_broken_on_the_host_is_broken(
    engine: PlayedEngine, system: Path, ends: tuple[int, bytes, bytes], why: str
) -> None:
    engine.ends = lambda body: ends
    found = engine_gpus(NONE, system)
    assert found.state == "broken"
    assert why in found.why
    assert not engine.containers


def test_an_engine_that_gives_none_is_told_with_what_it_says(engine: PlayedEngine, system: Path) -> None:
    refusal = 'could not select device driver "" with capabilities: [[gpu utility]]'
    engine.fails = lambda request, times: (500, {"message": refusal}) if request.endswith("/start") else None
    found = engine_gpus(NONE, system)
    assert found.state == "none"
    assert found.why.startswith(f"{NONE.why} in this container, and its engine gives its image none: ")
    assert refusal in found.why
    assert found.mend == GIVE_THEM
    assert not engine.containers


def test_an_engine_that_does_not_know_this_container_is_asked_for_nothing(engine: PlayedEngine, system: Path) -> None:
    """One of another machine, or one that runs in a container beside this process."""
    engine.images.clear()
    assert engine_gpus(NONE, system) is NONE
    assert not engine.bodies


@pytest.mark.parametrize("mounts", ["", "garbage\n\n1 2 3\n", MOUNTS.replace("/containers/{own}", "/volumes/x")])
def test_outside_of_containers_no_engine_is_asked(engine: PlayedEngine, system: Path, mounts: str) -> None:
    (system / "proc/self/mountinfo").write_text(mounts)
    assert engine_gpus(NONE, system) is NONE
    (system / "proc/self/mountinfo").unlink()
    assert engine_gpus(NONE, system) is NONE
    assert engine.requests == []


def test_what_is_seen_or_hidden_on_purpose_stays(engine: PlayedEngine, system: Path) -> None:
    for seen in (Gpus("seen"), Gpus("hidden")):
        assert engine_gpus(seen, system) is seen
    assert engine.requests == []


def test_where_no_engine_answers_that_is_for_who_needs_one_to_say(
    system: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("DOCKER_HOST", "tcp://127.0.0.1:1")
    assert engine_gpus(NONE, system) is NONE


def test_the_variable_of_cuda_hides_them_like_any(
    engine: PlayedEngine, system: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    driver_says(monkeypatch, system, gpu_line(0), gpu_line(1))
    engine.ends = asks_the_driver
    host = engine_gpus(NONE, system)
    monkeypatch.setenv("LD_LIBRARY_PATH", "/nowhere")
    monkeypatch.setenv("CUDA_VISIBLE_DEVICES", "1")
    machine = this_machine(otherwise=lambda seen: seen if seen.state == "seen" else host)
    assert [gpu.uuid for gpu in machine.gpus] == [uuid(1)]
    assert machine.seen.every == (uuid(0), uuid(1))


def test_a_run_says_that_nobody_watches_such_devices(
    engine: PlayedEngine, system: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    driver_says(monkeypatch, system, gpu_line(0))
    seen, notes = look_at_gpus(), list[str]()
    for each, told in ((seen, []), (replace(seen, through_engine=True), [f"{UNWATCHED}; {WATCH_THEM} gives it one"])):
        hardware = Hardware("test", 16, 1024, each.devices, each)
        used_hardware(hardware, "paper", None, notes.append, allow_cpu=False)
        assert notes == told
