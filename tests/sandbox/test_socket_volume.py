"""Judge and predict containers meet at a socket, and nowhere else; and the kernel's record of when a file changed."""

import secrets
import threading
import time
from collections.abc import Iterator
from pathlib import Path

import pytest
from small_steps import SMALL, SUBMISSION, RunCode

from aira_bench.docker_engine import DockerEngine
from aira_bench.errors import SandboxError
from aira_bench.sandbox.docker_sandbox import DockerSandbox
from aira_bench.sandbox.hardening import RUN_LABEL
from aira_bench.sandbox.sandbox import Artifact, ContainerSpec, Role, StepOutcome

pytestmark = pytest.mark.docker

JUDGE = """
import fcntl, mmap, os, socket
listener = socket.socket(socket.AF_UNIX, socket.SOCK_SEQPACKET)
listener.bind("/sockets/here")
os.chmod("/sockets/here", 0o666)
listener.listen(1)
stream, _ = listener.accept()
memory = os.memfd_create("memory", os.MFD_ALLOW_SEALING)
os.ftruncate(memory, 1 << 20)
fcntl.fcntl(memory, fcntl.F_ADD_SEALS, fcntl.F_SEAL_SHRINK | fcntl.F_SEAL_GROW | fcntl.F_SEAL_SEAL)
socket.send_fds(stream, [b"take"], [memory])
assert stream.recv(64) == b"done"
print(mmap.mmap(memory, 1 << 20)[:5].decode(), [name for name in ("here", "mine") if os.path.lexists(f"/sockets/{name}")])
"""
PREDICTOR = """
import mmap, os, socket, time
stream = socket.socket(socket.AF_UNIX, socket.SOCK_SEQPACKET)
while True:
    try:
        stream.connect("/sockets/here")
        break
    except (FileNotFoundError, ConnectionRefusedError, PermissionError):
        time.sleep(0.05)
_, (memory,), _, _ = socket.recv_fds(stream, 64, 1)
attempts = {
    "shrink": lambda: os.ftruncate(memory, 10),
    "grow": lambda: os.ftruncate(memory, 2 << 20),
    "write": lambda: open("/sockets/mine", "w"),
    "remove": lambda: os.unlink("/sockets/here"),
    "bind": lambda: socket.socket(socket.AF_UNIX).bind("/sockets/mine"),
}
for name, attempt in attempts.items():
    try:
        attempt()
    except OSError as error:
        print(name, "refused")
mmap.mmap(memory, 1 << 20)[:5] = b"flat!"
stream.send(b"done")
"""


@pytest.fixture
def socket_volume(sandbox: DockerSandbox, engine: DockerEngine, run_id: str) -> Iterator[str]:
    name = f"aira-sockets-{secrets.token_hex(6)}"
    yield name
    sandbox.sweep(run_id)
    assert name not in engine.volumes(f"{RUN_LABEL}={run_id}")


def step(sandbox: DockerSandbox, spec: ContainerSpec, code: str, destination: Path) -> StepOutcome:
    container = sandbox.prepare(spec)
    try:
        return container.run(["python3", "-c", code], files={}, timeout_s=30, artifacts=[], destination=destination)
    finally:
        container.close()


def test_a_predictor_can_fill_a_judges_memory_and_do_nothing_else(
    sandbox: DockerSandbox, image: str, run_id: str, socket_volume: str, tmp_path: Path
) -> None:
    outcomes: dict[str, StepOutcome] = {}

    def run(role: Role, code: str) -> None:
        spec = ContainerSpec(image=image, role=role, run_id=run_id, limits=SMALL, socket_volume=socket_volume)
        outcomes[role] = step(sandbox, spec, code, tmp_path)

    judge = threading.Thread(target=run, args=("judge", JUDGE))
    judge.start()
    run("predict", PREDICTOR)
    judge.join()
    assert outcomes["predict"].exit_code == 0, outcomes["predict"].stderr.head
    assert outcomes["predict"].stdout.head.split(b"\n")[:-1] == [
        name + b" refused" for name in (b"shrink", b"grow", b"write", b"remove", b"bind")
    ]
    assert outcomes["judge"].stdout.head == b"flat! ['here']\n", outcomes["judge"].stderr.head


@pytest.mark.parametrize("role", ["agent", "fit", "probe"])
def test_nobody_else_can_meet_a_judge(
    sandbox: DockerSandbox, image: str, run_id: str, socket_volume: str, role: Role
) -> None:
    with pytest.raises(SandboxError, match="nobody to meet"):
        sandbox.prepare(ContainerSpec(image=image, role=role, run_id=run_id, limits=SMALL, socket_volume=socket_volume))


def test_when_a_file_changed_is_the_kernels_word(run_code: RunCode) -> None:
    code = """
import os, time
time.sleep(1.0)
open("submission.csv", "w").write("x")
os.utime("submission.csv", (0, 0))
time.sleep(2.0)
"""
    before_s = time.monotonic()
    copied = run_code(code).artifacts[SUBMISSION.name]
    assert isinstance(copied, Artifact)
    assert 1.0 <= copied.changed_s - before_s <= time.monotonic() - before_s - 1.9
