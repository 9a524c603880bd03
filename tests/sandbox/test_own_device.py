"""What a container's device did meanwhile decides whether its end says anything: real containers, a driver of ours.

No device is at hand, so the engine is asked for none: the request is that of a container without one.
"""

import subprocess
import sys
from collections.abc import Callable, Iterator
from dataclasses import replace
from pathlib import Path
from typing import Any

import pytest
from small_steps import SMALL

from aira_bench.docker_engine import DockerEngine
from aira_bench.sandbox import hardening
from aira_bench.sandbox.docker_sandbox import DockerSandbox
from aira_bench.sandbox.hardening import ContainerPlace
from aira_bench.sandbox.sandbox import ContainerSpec, DeviceTaken, StepOutcome
from aira_bench.sandbox.step_containers import DockerStep
from fake_gpus import driver_says, gpu_line, uuid

pytestmark = pytest.mark.docker
WORKS = "works 1410 1980 612000 700000 700000 88 20"


def without_request(spec: ContainerSpec, place: ContainerPlace) -> dict[str, Any]:
    return hardening.step_body(replace(spec, limits=replace(spec.limits, gpu_uuid=None)), place)


@pytest.fixture
def run(engine: DockerEngine, image: str, run_id: str, tmp_path: Path) -> Iterator[Callable[..., StepOutcome]]:
    spec = ContainerSpec(image, "agent", run_id, replace(SMALL, gpu_uuid=uuid(0)))
    with DockerSandbox(engine, step_body=without_request, own_trees=False) as sandbox:

        def run(code: str, begin: Callable[[DockerStep], None]) -> StepOutcome:
            container = sandbox.prepare(spec)
            try:
                begin(container)
                return container.run(
                    ["python3", "-c", code], files={}, timeout_s=60, artifacts=(), destination=tmp_path
                )
            finally:
                container.close()

        yield run


def first_process(container: DockerStep) -> int:
    return int(container.inspect()["State"]["Pid"])


def test_its_own_process_on_the_device_is_nobody_else_s(
    run: Callable[..., StepOutcome], monkeypatch: pytest.MonkeyPatch, tmp_path: Path
) -> None:
    def begin(container: DockerStep) -> None:
        driver_says(monkeypatch, tmp_path, gpu_line(0), WORKS, f"process {first_process(container)} 512")

    outcome = run("import time; time.sleep(2.5); raise SystemExit(3)", begin)
    assert (outcome.ended, outcome.exit_code) == ("exited", 3)
    assert outcome.gpu is not None
    assert (outcome.gpu.sm_clock_mhz, outcome.gpu.temperature_c, outcome.gpu.throttled) == (1410, 88, ("heat",))
    assert outcome.gpu.readings >= 2


def test_a_process_of_others_on_the_device_leaves_no_outcome(
    run: Callable[..., StepOutcome], monkeypatch: pytest.MonkeyPatch, tmp_path: Path
) -> None:
    other = subprocess.Popen([sys.executable, "-c", "import time; time.sleep(60)"])

    def begin(container: DockerStep) -> None:
        own = first_process(container)
        driver_says(monkeypatch, tmp_path, gpu_line(0), WORKS, f"process {own} 512", f"process {other.pid} 70000")

    try:
        with pytest.raises(DeviceTaken, match=rf"Others used the GPU .*\(pid {other.pid}, 70000 MiB\)") as caught:
            run("print('trained'); import time; time.sleep(2.5); raise SystemExit(1)", begin)
    finally:
        other.kill()
        other.wait()
    assert caught.value.output is not None
    assert caught.value.output[0].head == b"trained\n", "what it printed is kept"


def test_code_that_fails_because_the_driver_lost_the_device_is_not_to_blame(
    run: Callable[..., StepOutcome], monkeypatch: pytest.MonkeyPatch, tmp_path: Path
) -> None:
    def begin(container: DockerStep) -> None:
        driver_says(monkeypatch, tmp_path, gpu_line(0, code=15), WORKS)

    with pytest.raises(DeviceTaken, match=r"The GPU of a container failed while it ran .*GPU is lost"):
        run("raise RuntimeError('CUDA error: unspecified launch failure')", begin)
