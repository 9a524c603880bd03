"""How containers get a GPU, or none, at a daemon that speaks Docker's wire format and has no device."""

import contextlib
import tempfile
from collections.abc import Iterator
from pathlib import Path
from typing import get_args

import pytest
from played_engine import PlayedEngine
from small_steps import SMALL

from aira_bench.docker_engine import DockerEngine
from aira_bench.errors import PrerequisiteError, SandboxError
from aira_bench.sandbox.docker_sandbox import DockerSandbox
from aira_bench.sandbox.sandbox import ContainerSpec, Limits, Role
from aira_bench.sandbox.trusted import TrustedContainer

LABEL = "aira-bench-test.cuda-like"
UUID = "GPU-00000000-1111-2222-3333-444444444444"
SPEC = ContainerSpec("image:1", "judge", "r", Limits(gpu_uuid=UUID))


@pytest.fixture
def daemon(monkeypatch: pytest.MonkeyPatch) -> Iterator[PlayedEngine]:
    played = PlayedEngine()
    monkeypatch.setenv("DOCKER_HOST", played.address)
    yield played
    played.close()


def prepare(spec: ContainerSpec) -> None:
    engine = DockerEngine.connect(timeout_s=5)
    try:
        with DockerSandbox(engine, own_trees=False) as sandbox:
            sandbox.prepare(spec)
    finally:
        engine.close()


def refuse(daemon: PlayedEngine, words: str) -> None:
    daemon.fails = lambda asked, times: (500, {"message": words}) if asked == "POST /containers/create" else None


def asked_for(daemon: PlayedEngine) -> tuple[list[object], str]:
    """What the step's container asked for, and its variable for the toolkit's hook."""
    variables = dict(line.split("=", 1) for line in daemon.bodies[0]["Env"])
    return daemon.bodies[0]["HostConfig"].get("DeviceRequests", []), variables["NVIDIA_VISIBLE_DEVICES"]


def test_an_engine_that_lists_the_device_is_asked_by_cdi(daemon: PlayedEngine) -> None:
    daemon.info["DiscoveredDevices"] = [
        {"Source": "cdi", "ID": "nvidia.com/gpu=0"}, {"Source": "cdi", "ID": f"nvidia.com/gpu={UUID}"}
    ]  # fmt: skip
    with pytest.raises(SandboxError):  # it has no streams to attach to
        prepare(SPEC)
    assert asked_for(daemon) == ([{"Driver": "cdi", "DeviceIDs": [f"nvidia.com/gpu={UUID}"]}], UUID)


@pytest.mark.parametrize("found", [None, [], [{"Source": "cdi", "ID": "nvidia.com/gpu=0"}]])
def test_an_engine_that_lists_no_such_device_is_asked_for_the_hook(daemon: PlayedEngine, found: object) -> None:
    daemon.info["DiscoveredDevices"] = found
    with pytest.raises(SandboxError):
        prepare(SPEC)
    assert asked_for(daemon) == ([{"DeviceIDs": [UUID], "Capabilities": [["gpu", "compute", "utility"]]}], UUID)


def test_a_container_without_a_device_says_so_to_an_engine_whose_own_runtime_gives_them_out(
    daemon: PlayedEngine,
) -> None:
    daemon.info["Runtimes"]["nvidia"] = {}
    with pytest.raises(SandboxError):
        prepare(ContainerSpec("image:1", "judge", "r"))
    assert asked_for(daemon) == ([], "void")


def test_containers_of_our_own_programs_get_none_either(daemon: PlayedEngine) -> None:
    engine = DockerEngine.connect(timeout_s=5)
    with contextlib.suppress(SandboxError):  # what the played engine makes of the rest does not matter
        TrustedContainer(engine, "image:1", "caches").close()
    engine.close()
    assert asked_for(daemon) == ([], "void")


@pytest.mark.parametrize(
    "words",
    [
        'could not select device driver "" with capabilities: [[gpu compute utility]]',
        "CDI device injection failed: unresolvable CDI devices nvidia.com/gpu=GPU-1",
        "OCI runtime create failed: nvidia-container-cli: device error: GPU-1: unknown device",
        "nvidia-container-cli: initialization error: load library failed: libnvidia-ml.so.1: cannot open shared object",
    ],
)
def test_a_machine_without_the_toolkit_is_told_what_it_lacks(daemon: PlayedEngine, words: str) -> None:
    refuse(daemon, words)
    with pytest.raises(PrerequisiteError, match=f"cannot give a container the GPU {UUID}") as caught:
        prepare(SPEC)
    assert "NVIDIA container toolkit" in str(caught.value.hint)


def test_another_failure_of_a_container_with_a_device_stays_the_engine_s(daemon: PlayedEngine) -> None:
    refuse(daemon, "no space left on device")
    with pytest.raises(SandboxError, match="no space left"):
        prepare(SPEC)


@pytest.mark.docker
def test_an_image_that_asks_for_all_devices_gets_none(image: str, run_id: str) -> None:
    """What the toolkit's hook reads is the container's own description, before anything runs in it."""
    engine = DockerEngine.connect()
    tag = f"aira-bench-test:{run_id}"
    with tempfile.TemporaryDirectory() as folder:
        (Path(folder) / "Dockerfile").write_text("ARG BASE\nFROM ${BASE} AS cuda\nENV NVIDIA_VISIBLE_DEVICES=all\n")
        engine.build(Path(folder), "Dockerfile", "cuda", tag, {LABEL: run_id}, {"BASE": image}, lambda line: None)
    try:
        with DockerSandbox(engine) as sandbox:
            for role in get_args(Role):
                container = sandbox.prepare(ContainerSpec(tag, role, run_id, SMALL))
                found = [line for line in container.inspect()["Config"]["Env"] if line.startswith("NVIDIA_VISIBLE")]
                container.close()
                assert found == ["NVIDIA_VISIBLE_DEVICES=void"], role
            sandbox.sweep(run_id)
    finally:
        engine.remove_image(tag)
        engine.close()
