"""Deadlines, clean-up and failures of the engine, against a real daemon."""

import contextlib
import os
import secrets
import signal
import socket
import subprocess
import sys
import threading
import time
from collections.abc import Iterator
from concurrent.futures import ThreadPoolExecutor
from dataclasses import replace
from pathlib import Path, PurePosixPath

import pytest
from small_steps import SUBMISSION, RunCode

from aira_bench.docker_engine import ContainerInfo, DockerEngine
from aira_bench.errors import PrerequisiteError, SandboxError
from aira_bench.sandbox import hardening
from aira_bench.sandbox.docker_sandbox import DockerSandbox
from aira_bench.sandbox.owner import is_dead, this_process
from aira_bench.sandbox.sandbox import ContainerSpec, Mount
from aira_bench.sandbox.step_containers import DockerStep
from eventually import eventually, stretched

pytestmark = pytest.mark.docker

SLEEP = b"import time; time.sleep(600)"


def left(engine: DockerEngine, run_id: str) -> tuple[int, int]:
    """How many containers, and of how many steps there are volumes: a workspace, and file trees named after it."""
    label = f"{hardening.RUN_LABEL}={run_id}"
    return len(engine.containers(label)), len({name[: len("aira-agent-") + 12] for name in engine.volumes(label)})


def sleep(container: DockerStep, destination: Path, timeout_s: float = 60) -> object:
    return container.run(
        ["python3", "s.py"], files={"s.py": SLEEP}, timeout_s=timeout_s, artifacts=[SUBMISSION], destination=destination
    )


def test_unused_containers_leave_nothing_behind(engine: DockerEngine, spec: ContainerSpec) -> None:
    with DockerSandbox(engine) as sandbox:
        first, _ = sandbox.prepare(spec), sandbox.prepare(spec)
        assert left(engine, spec.run_id) == (4, 2)
        first.close()
        first.close()
    assert left(engine, spec.run_id) == (0, 0)


def test_used_containers_leave_nothing_behind(
    run_code: RunCode, sandbox: DockerSandbox, engine: DockerEngine, run_id: str
) -> None:
    run_code("print(1)")
    assert sandbox.sweep(run_id) == 0
    assert left(engine, run_id) == (0, 0)


def test_peak_memory_counts_what_the_step_held(run_code: RunCode) -> None:
    outcome = run_code("import time; held = bytearray(b'x') * (40 << 20); time.sleep(2.5)")
    if outcome.peak_memory_mib is None:
        pytest.skip("the engine's control groups cannot be seen from here")
    assert 40 < outcome.peak_memory_mib < 136


def test_what_the_machine_lacks_is_said(
    sandbox: DockerSandbox, engine: DockerEngine, spec: ContainerSpec, tmp_path: Path
) -> None:
    with pytest.raises(PrerequisiteError, match="no image nosuch:1"):
        sandbox.prepare(replace(spec, image="nosuch:1"))
    with pytest.raises(PrerequisiteError, match="absent"):
        sandbox.prepare(replace(spec, mounts=(Mount(tmp_path / "absent", PurePosixPath("/task")),)))
    with pytest.raises(PrerequisiteError, match="cannot grant 2000000000 open files"):
        sandbox.prepare(replace(spec, limits=replace(spec.limits, open_files=2_000_000_000)))
    assert left(engine, spec.run_id) == (0, 0)


def test_the_fixed_environment_cannot_be_overridden(
    sandbox: DockerSandbox, engine: DockerEngine, spec: ContainerSpec
) -> None:
    with pytest.raises(SandboxError, match="HOME"):
        sandbox.prepare(replace(spec, environment={"HOME": "/"}))
    assert left(engine, spec.run_id) == (0, 0)


def test_a_swept_step_has_no_outcome(
    sandbox: DockerSandbox, engine: DockerEngine, spec: ContainerSpec, tmp_path: Path
) -> None:
    container = sandbox.prepare(spec)
    with ThreadPoolExecutor(max_workers=1) as pool:
        running = pool.submit(sleep, container, tmp_path)
        time.sleep(0.5)
        assert sandbox.sweep(spec.run_id) == 2
        with pytest.raises(SandboxError):
            running.result(timeout=120)
    container.close()
    sandbox.sweep(spec.run_id)
    assert left(engine, spec.run_id) == (0, 0)


def test_a_container_that_appears_while_its_run_is_swept_is_removed_too(engine: DockerEngine, image: str) -> None:
    """As when an orchestrator dies between its request and the engine's answer."""
    run_id = f"test-{secrets.token_hex(6)}"
    labels = {hardening.RUN_LABEL: run_id}
    volume = f"aira-test-{secrets.token_hex(6)}"
    engine.create_volume(volume, {"type": "tmpfs", "device": "tmpfs", "o": "size=1m"}, labels)

    class Late(DockerEngine):
        late = False

        def containers(self, label: str) -> list[ContainerInfo]:
            found = super().containers(label)
            if run_id in label and not self.late:
                self.late = True
                mount = {"Type": "volume", "Source": volume, "Target": "/workspace"}
                body = {"Image": image, "Cmd": ["true"], "Labels": labels, "HostConfig": {"Mounts": [mount]}}
                self.create_container(f"aira-late-{secrets.token_hex(6)}", body)
            return found

    with DockerSandbox(Late.connect()) as sandbox:
        assert sandbox.sweep(run_id) == 1
    assert left(engine, run_id) == (0, 0)


def test_sweeps_at_the_same_time_do_not_disturb_each_other(
    sandbox: DockerSandbox, engine: DockerEngine, spec: ContainerSpec
) -> None:
    containers = [sandbox.prepare(spec) for _ in range(3)]
    others = [DockerSandbox(engine) for _ in range(3)]
    with ThreadPoolExecutor(max_workers=4) as pool:
        for sweep in [pool.submit(some.sweep, spec.run_id) for some in (sandbox, *others)]:
            sweep.result(timeout=60)
    for container in containers:
        container.close()
    assert left(engine, spec.run_id) == (0, 0)


ORCHESTRATOR = """
import sys
from pathlib import Path
from aira_bench.docker_engine import DockerEngine
from aira_bench.sandbox.docker_sandbox import DockerSandbox
from aira_bench.sandbox.sandbox import ContainerSpec, Limits
sandbox = DockerSandbox(DockerEngine.connect())
spec = ContainerSpec(sys.argv[1], "agent", sys.argv[2], Limits(memory_mib=64, workspace_mib=8, tmp_mib=8, shm_mib=8))
unused, used = sandbox.prepare(spec), sandbox.prepare(spec)
print("started", flush=True)
marker = f"works for {sys.argv[2]}"
used.run(["python3", "-c", "import time; time.sleep(600)", marker], files={}, timeout_s=600, artifacts=(), destination=Path("."))
"""


def works(run_id: str) -> bool:
    """Whether the command of the orchestrator's step has begun."""
    for path in Path("/proc").glob("[0-9]*/cmdline"):
        with contextlib.suppress(OSError):
            if path.read_bytes().split(b"\0")[-2:-1] == [f"works for {run_id}".encode()]:
                return True
    return False


@pytest.mark.parametrize("by", ["all who are dead", "its name"])
def test_what_a_killed_orchestrator_left_is_swept(
    by: str, sandbox: DockerSandbox, engine: DockerEngine, image: str, run_id: str, spec: ContainerSpec
) -> None:
    mine = sandbox.prepare(replace(spec, run_id=f"{run_id}-mine"))
    command = [sys.executable, "-c", ORCHESTRATOR, image, run_id]
    environment = os.environ | {"PYTHONPATH": os.pathsep.join(sys.path)}
    with subprocess.Popen(command, stdout=subprocess.PIPE, env=environment) as orchestrator:
        assert orchestrator.stdout is not None
        assert orchestrator.stdout.readline() == b"started\n"
        eventually(lambda: works(run_id), what="the step")
        owner = engine.containers(f"{hardening.RUN_LABEL}={run_id}")[0].labels[hardening.OWNER_LABEL]
        assert not is_dead(owner)
        orchestrator.send_signal(signal.SIGKILL)
    assert is_dead(owner)

    def states() -> list[str]:
        return sorted(container.state for container in engine.containers(f"{hardening.RUN_LABEL}={run_id}"))

    all_but_one = ["exited", "exited", "exited", "running"]
    eventually(lambda: states() == all_but_one, what="all but the running step end by themselves")
    assert sandbox.sweep_owner(this_process()) == 0
    assert (sandbox.sweep_owner(owner) if by == "its name" else sandbox.sweep_dead().containers) >= 4
    assert left(engine, run_id) == (0, 0)
    assert left(engine, f"{run_id}-mine") == (2, 1), "a live orchestrator's containers stay"
    mine.close()


def test_an_owner_that_cannot_be_judged_is_not_dead() -> None:
    place, number, ticks = this_process().rsplit("/", 2)
    assert not is_dead(this_process())
    assert is_dead(f"{place}/{number}/{int(ticks) + 1}"), "the number was given to another process since"
    assert not is_dead(f"another-boot/pid:[1]/{number}/{ticks}")
    assert not is_dead("")


class Relay:
    """Stands between us and the daemon, and can freeze or cut the line."""

    def __init__(self, path: Path, daemon: str) -> None:
        self._daemon = daemon
        self._server = socket.socket(socket.AF_UNIX)
        self._server.bind(str(path))
        self._server.listen(64)
        self._flowing = threading.Event()
        self._flowing.set()
        self._open: list[socket.socket] = []
        threading.Thread(target=self._accept, daemon=True).start()

    def freeze(self) -> None:
        self._flowing.clear()

    def cut(self) -> None:
        for end in (self._server, *self._open):
            try:
                end.shutdown(socket.SHUT_RDWR)
            except OSError:
                continue
        self._server.close()

    def _accept(self) -> None:
        while True:
            try:
                client, _ = self._server.accept()
            except OSError:
                return
            upstream = socket.socket(socket.AF_UNIX)
            upstream.connect(self._daemon)
            self._open += [client, upstream]
            for source, target in ((client, upstream), (upstream, client)):
                threading.Thread(target=self._copy, args=(source, target), daemon=True).start()

    def _copy(self, source: socket.socket, target: socket.socket) -> None:
        try:
            while data := source.recv(65536):
                self._flowing.wait()
                target.sendall(data)
            target.shutdown(socket.SHUT_WR)
        except OSError:
            return


@pytest.fixture
def relay(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Iterator[Relay]:
    daemon = os.environ.get("DOCKER_HOST", "unix:///var/run/docker.sock")
    if not daemon.startswith("unix://"):
        pytest.skip("the daemon is not behind a Unix socket")
    relay = Relay(tmp_path / "relay.sock", daemon.removeprefix("unix://"))
    monkeypatch.setenv("DOCKER_HOST", f"unix://{tmp_path}/relay.sock")
    yield relay
    relay.cut()


@pytest.mark.parametrize("fault", ["freeze", "cut"])
def test_a_lost_daemon_is_an_engine_failure_soon(
    relay: Relay, sandbox: DockerSandbox, spec: ContainerSpec, tmp_path: Path, fault: str
) -> None:
    far = DockerSandbox(DockerEngine.connect(timeout_s=2))
    container = far.prepare(spec)
    with ThreadPoolExecutor(max_workers=1) as pool:
        running = pool.submit(sleep, container, tmp_path, 2.0)
        time.sleep(0.5)
        getattr(relay, fault)()
        start_s = time.monotonic()
        with pytest.raises(SandboxError):
            running.result(timeout=120)
        assert time.monotonic() - start_s < stretched(20)
    assert sandbox.sweep(spec.run_id) == 2


def test_a_dead_daemon_and_a_forbidden_socket_are_prerequisites(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("DOCKER_HOST", f"unix://{tmp_path}/nothing.sock")
    with pytest.raises(PrerequisiteError, match="No Docker daemon answers") as caught:
        DockerEngine.connect()
    assert caught.value.hint
