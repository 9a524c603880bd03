"""Real podman under the checks that Docker gets: `make test-podman`, as root or as an ordinary user.

Storage and configuration are the test's own; the image is Docker's base image, which has a Python.
"""

import os
import secrets
import shutil
import signal
import subprocess
import sys
import threading
import time
from collections.abc import Callable, Iterator
from pathlib import Path

import pytest

from aira_bench.docker_engine import DockerEngine, EngineInfo, connect_engine
from aira_bench.errors import PrerequisiteError, SandboxError
from aira_bench.sandbox import hardening
from aira_bench.sandbox.docker_sandbox import DockerSandbox, StepBody
from aira_bench.sandbox.probe import probe
from aira_bench.sandbox.sandbox import ContainerSpec, Limits, PreparedContainer, StepLost, StepOutcome
from aira_bench.sandbox.walls import lacking, missing_walls
from aira_bench.testing import ISOLATION_CHECKS, SANDBOX_CHECKS, Check, SandboxOnImage

ASKED = "AIRA_TEST_PODMAN"
pytestmark = [
    pytest.mark.skipif(not os.environ.get(ASKED), reason=f"real podman is for `make test-podman` ({ASKED}=1)"),
    pytest.mark.skipif(shutil.which("podman") is None, reason="there is no podman on this machine"),
]
SMALL = Limits(memory_mib=96, workspace_mib=16, tmp_mib=16, shm_mib=8, pids=48, open_files=256, output_mib=4)
CONTAINERS = """[engine]
tmp_dir = "{folder}/tmp"
lock_type = "file"
events_logger = "file"
cgroup_manager = "cgroupfs"
"""
STORAGE = """[storage]
driver = "overlay"
graphroot = "{folder}/root"
runroot = "{folder}/run"
"""


@pytest.fixture(scope="module")
def podman(tmp_path_factory: pytest.TempPathFactory) -> Iterator[DockerEngine]:
    """A podman with storage of its own."""
    folder = tmp_path_factory.mktemp("podman")
    runtime = 'runtime = "runc"\n' if shutil.which("runc") else ""
    (folder / "containers.conf").write_text(CONTAINERS.format(folder=folder) + runtime)
    (folder / "storage.conf").write_text(STORAGE.format(folder=folder))
    with pytest.MonkeyPatch.context() as patch:
        patch.setenv("CONTAINERS_CONF", str(folder / "containers.conf"))
        patch.setenv("CONTAINERS_STORAGE_CONF", str(folder / "storage.conf"))
        engine = connect_engine("podman")
        yield engine
        engine.close()
        _remove(folder)


def _remove(folder: Path) -> None:
    """Remove the storage alone: `podman system reset` would take locks and events from every podman of this user."""
    enter = ["podman", "unshare"] if os.geteuid() else []
    for command in (
        ["podman", "rm", "--all", "--force"], ["podman", "volume", "rm", "--all", "--force"],
        ["podman", "rmi", "--all", "--force"], [*enter, "umount", "--lazy", f"{folder}/root/overlay"],
        [*enter, "rm", "-rf", f"{folder}/root", f"{folder}/run", f"{folder}/tmp"],
    ):  # fmt: skip
        subprocess.run(command, capture_output=True, check=False, timeout=120)


@pytest.fixture(scope="module")
def image(podman: DockerEngine) -> str:
    """An image with python3: of a file (AIRA_TEST_PODMAN_IMAGE), or Docker's base image."""
    if archive := os.environ.get("AIRA_TEST_PODMAN_IMAGE"):
        with Path(archive).open("rb") as file:
            return podman.load(iter(lambda: file.read(1 << 20), b""))[0]
    docker = DockerEngine.connect()
    (tag, *_) = [each.tag for each in docker.list_images("aira-bench.flavour=cpu") if "base" in each.tag]
    (loaded,) = podman.load(docker.saved([tag]))
    docker.close()
    return loaded


@pytest.fixture(scope="module")
def sandbox(podman: DockerEngine) -> Iterator[DockerSandbox]:
    with DockerSandbox(podman) as sandbox:
        yield sandbox


@pytest.mark.parametrize("check", SANDBOX_CHECKS, ids=str)
def test_the_sandbox(check: Check[SandboxOnImage], sandbox: DockerSandbox, image: str) -> None:
    check(SandboxOnImage(sandbox, image))


def out_of_reach(engine: EngineInfo) -> set[str]:
    """Walls that this podman is known not to build."""
    known = {"memory", "processes", "cores"} if engine.rootless and engine.cgroup_version == 1 else set()
    assert all(lacking(wall, engine) for wall in known)
    return known


def test_the_walls(sandbox: DockerSandbox, podman: DockerEngine, image: str) -> None:
    """All of them, as root; else those that are missing are found, each by its name."""
    missing = {each.wall.name for each in missing_walls(probe(sandbox, image))}
    assert missing == out_of_reach(podman.info())
    if not missing:
        (check,) = ISOLATION_CHECKS
        check(SandboxOnImage(sandbox, image))


def container(sandbox: DockerSandbox, image: str) -> PreparedContainer:
    return sandbox.prepare(ContainerSpec(image, "agent", f"test-{secrets.token_hex(6)}", SMALL))


def outcome(sandbox: DockerSandbox, image: str, code: str, folder: Path, timeout_s: float = 30) -> StepOutcome:
    made = container(sandbox, image)
    try:
        return made.run(
            ["python3", "code.py"], files={"code.py": code.encode()}, timeout_s=timeout_s, artifacts=(),
            destination=folder,
        )  # fmt: skip
    finally:
        made.close()


def test_a_step_that_takes_all_memory_is_called_that(
    sandbox: DockerSandbox, podman: DockerEngine, image: str, tmp_path: Path
) -> None:
    """Podman itself calls no container killed for memory: its monitor writes that where podman does not look."""
    if "memory" in out_of_reach(podman.info()):
        pytest.skip("podman sets no limit of memory here, which the probe finds")
    found = outcome(sandbox, image, "held = [bytearray(4 << 20) for _ in range(1000)]", tmp_path)
    assert (found.ended, found.above) == ("out_of_memory", "96 MiB of memory")
    found = outcome(sandbox, image, "import os; os.kill(os.getpid(), 9)", tmp_path)
    assert (found.ended, found.exit_code, found.is_unexplained) == ("exited", 137, True)


def test_an_end_by_its_own_signal_is_nobody_elses(sandbox: DockerSandbox, image: str, tmp_path: Path) -> None:
    """As often as it is tried: podman cleans up once behind each, and a second time is how `podman stop` is known."""
    for number in (9, 15, 9, 15, 9):
        found = outcome(sandbox, image, f"import os; os.kill(os.getpid(), {number})", tmp_path)
        assert (found.ended, found.exit_code, found.is_unexplained) == ("exited", 128 + number, True)


HANDS: dict[str, list[str]] = {
    "kill": ["kill"],
    "pause": ["pause"],
    "stop": ["stop", "--time", "1"],
    "remove": ["rm", "--force"],
}


@pytest.mark.parametrize("hand", list(HANDS))
def test_a_hand_from_outside_is_never_the_codes_doing(
    sandbox: DockerSandbox, image: str, tmp_path: Path, hand: str
) -> None:
    made = sandbox.prepare(ContainerSpec(image, "agent", f"test-{secrets.token_hex(6)}", SMALL))
    reach = threading.Timer(
        1.5, lambda: subprocess.run(["podman", *HANDS[hand], made.containers.step], capture_output=True, check=False)
    )
    reach.start()
    try:
        with pytest.raises(StepLost) as caught:
            made.run(
                ["python3", "-c", "import time; time.sleep(30)"], files={}, timeout_s=4, artifacts=(),
                destination=tmp_path,
            )  # fmt: skip
    finally:
        reach.join()
        made.close()
    assert caught.value.why == "outside"


def test_a_wall_that_podman_is_not_asked_for_is_found_missing(podman: DockerEngine, image: str) -> None:
    """So the probe sees podman's containers, and does not believe what it was told."""

    def weaken(change: Callable[[dict[str, object]], object]) -> StepBody:
        def body(spec: ContainerSpec, place: hardening.ContainerPlace) -> dict[str, object]:
            made = hardening.step_body(spec, place)
            change(made["HostConfig"])
            return made

        return body

    cases: dict[str, tuple[Callable[[dict[str, object]], object], set[str]]] = {
        "masks": (lambda host: host.update(MaskedPaths=[]), {"kernel-files"}),
        "root": (lambda host: host.update(ReadonlyRootfs=False), {"read-only-root"}),
        "capabilities": (lambda host: host.update(CapDrop=[]), {"capabilities"}),
        "score": (lambda host: host.update(OomScoreAdj=0), {"oom-score"}),
    }
    expected = out_of_reach(podman.info())
    for name, (change, walls) in cases.items():
        with DockerSandbox(podman, weaken(change)) as weakened:
            found = {each.wall.name for each in missing_walls(probe(weakened, image))}
        assert walls <= found <= walls | expected, name


ORCHESTRATOR = """
import sys
from aira_bench.docker_engine import connect_engine
from aira_bench.sandbox.docker_sandbox import DockerSandbox
from aira_bench.sandbox.sandbox import ContainerSpec, Limits
sandbox = DockerSandbox(connect_engine("podman"))
made = [sandbox.prepare(ContainerSpec(sys.argv[1], "agent", "test-crash", Limits(memory_mib=96, pids=48,
        open_files=256))) for _ in range(2)]
print("ready", flush=True)
sys.stdin.read()
"""


def test_what_a_killed_process_left_is_swept_and_its_service_ends(
    sandbox: DockerSandbox, podman: DockerEngine, image: str
) -> None:
    process = subprocess.Popen(
        [sys.executable, "-c", ORCHESTRATOR, image], stdin=subprocess.PIPE, stdout=subprocess.PIPE, text=True
    )
    assert process.stdout is not None
    assert process.stdout.readline() == "ready\n"
    services = _services()
    process.send_signal(signal.SIGKILL)
    process.wait()
    assert len(services) >= 2, "its own, and ours"
    ends_s = time.monotonic() + 30
    while len(_services()) >= len(services) and time.monotonic() < ends_s:
        time.sleep(0.2)
    assert len(_services()) < len(services)
    swept = sandbox.sweep_dead()
    assert (swept.containers >= 4, swept.left) == (True, ())
    assert podman.volumes("aira-bench.run=test-crash") == {}


def _services() -> list[str]:
    listed = subprocess.run(
        ["pgrep", "-f", "podman system service"], capture_output=True, text=True, check=False
    ).stdout.split()
    return [pid for pid in listed if Path(f"/proc/{pid}").exists()]


def test_an_image_that_is_not_there_is_told(sandbox: DockerSandbox) -> None:
    with pytest.raises(PrerequisiteError, match="There is no image aira-bench-none:1"):
        container(sandbox, "aira-bench-none:1")


def test_what_is_not_podman_is_refused(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
    monkeypatch.setenv("CONTAINER_HOST", f"unix://{tmp_path}/nothing")
    with pytest.raises((PrerequisiteError, SandboxError)):
        connect_engine("podman")
