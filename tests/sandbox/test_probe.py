"""The probe passes on production containers and sees every wall that is taken away."""

import re
import threading
import time
from collections.abc import Callable
from typing import Any

import pytest

from aira_bench.docker_engine import DockerEngine
from aira_bench.errors import SandboxError
from aira_bench.sandbox import hardening
from aira_bench.sandbox import probe as probe_module
from aira_bench.sandbox.docker_sandbox import DockerSandbox
from aira_bench.sandbox.probe import ProbeCheck, probe
from aira_bench.sandbox.sandbox import ContainerSpec
from aira_bench.sandbox.seccomp import seccomp_profile
from eventually import stretched

pytestmark = pytest.mark.docker

Body = dict[str, Any]


def test_production_containers_pass_in_little_time(sandbox: DockerSandbox, image: str) -> None:
    start_s = time.monotonic()
    checks = probe(sandbox, image)
    assert [check for check in checks if not check.ok] == []
    assert len(checks) > 60
    assert time.monotonic() - start_s < stretched(10)


def change(**settings: object) -> Callable[[Body], None]:
    return lambda body: body["HostConfig"].update(settings)


def no_ulimit(name: str) -> Callable[[Body], None]:
    def weaken(body: Body) -> None:
        body["HostConfig"]["Ulimits"] = [limit for limit in body["HostConfig"]["Ulimits"] if limit["Name"] != name]

    return weaken


def mount(kind: str, source: str, target: str) -> Callable[[Body], None]:
    extra = {"Type": kind, "Source": source, "Target": target}
    return lambda body: body["HostConfig"]["Mounts"].append(extra)


def without_mounts(target: str) -> Callable[[Body], None]:
    def weaken(body: Body) -> None:
        host = body["HostConfig"]
        host["Mounts"] = [mount for mount in host["Mounts"] if mount["Target"] != target]

    return weaken


WEAKENED: dict[str, tuple[Callable[[Body], None], set[str]]] = {
    "bridge": (change(NetworkMode="bridge"), {"network interfaces"}),
    "writable root": (change(ReadonlyRootfs=False), {"root is read-only"}),
    "no seccomp": (
        change(SecurityOpt=["no-new-privileges", "seccomp=unconfined"]),
        {
            "Seccomp",
            "system call ptrace",
            "system call unshare",
            "socket AF_NETLINK",
            "socket AF_INET",
            "a lock that another holds has no effect",
            "asking for locks",
            "a socket's number",
            "system call pidfd_open",
            "system call mlock",
            "system call sysinfo",
            "system call inotify_init1",
            "system call fadvise64 to drop pages",
            "system call mincore",
            "system call splice",
            "system call io_setup",
            "system call clone3",
        },
    ),
    "a trusted container's seccomp": (
        change(SecurityOpt=["no-new-privileges", f"seccomp={seccomp_profile('trusted')}"]),
        {
            "socket AF_INET",
            "a lock that another holds has no effect",
            "engine's seccomp profile",
            "system call eventfd2",
            "system call madvise to join pages",
            "system call madvise to merge pages",
            "system call prctl to merge pages",
            "system call mmap of huge pages",
            "system call mmap of locked pages",
            "system call memfd_create of huge pages",
            "system call shmget of huge pages",
            "system call shmctl to lock pages",
            "system call preadv2 without waiting",
            "system call ioctl of a file system",
            "system call fcntl for a lease",
            "system call setsockopt of an unlisted option",
            "system call pidfd_send_signal",
            "system call clone with a pidfd",
        },
    ),
    "no masks": (
        change(MaskedPaths=[], ReadonlyPaths=[]),
        {"counters of the machine in sight", "a new terminal", "missing of the engine's MaskedPaths"},
    ),
    "the kernel's own meminfo": (
        without_mounts("/proc/meminfo"),
        {"files in place of the kernel's", "engine's mounts"},
    ),
    "engine's seccomp": (
        change(SecurityOpt=["no-new-privileges"]),
        {"system call ptrace", "socket AF_NETLINK", "engine's seccomp profile"},
    ),
    "capabilities": (change(CapDrop=[]), {"CapBnd", "engine's CapDrop"}),
    "new privileges": (change(SecurityOpt=[f"seccomp={seccomp_profile('untrusted')}"]), {"NoNewPrivs"}),
    "no process cap": (change(PidsLimit=0), {"processes"}),
    "no memory cap": (change(Memory=0, MemorySwap=0), {"memory"}),
    "root's group": (lambda body: body.update(User=body["User"].split(":")[0] + ":0"), {"user and group ids"}),
    "no tmp cap": (change(Tmpfs={"/tmp": "rw,mode=1777"}), {"tmp size", "tmp inodes"}),
    "open files": (no_ulimit("nofile"), {"open files"}),
    "core dumps": (no_ulimit("core"), {"core dumps"}),
    "a hidden folder": (mount("bind", "/etc", "/hidden"), {"sockets and hidden folders in sight", "engine's mounts"}),
    "host's processes": (change(PidMode="host"), {"foreign processes", "engine's PidMode"}),
    "the machine's control groups": (change(CgroupnsMode="host"), {"engine's CgroupnsMode"}),
    "the machine's users": (change(UsernsMode="host"), {"engine's UsernsMode"}),
    "all devices": (change(DeviceCgroupRules=["a *:* rwm"]), {"engine's DeviceCgroupRules"}),
    "another group": (change(GroupAdd=["0"]), {"further groups", "engine's GroupAdd"}),
    "restarts": (change(RestartPolicy={"Name": "always"}), {"engine's restarts"}),
    "oom score": (change(OomScoreAdj=0), {"oom_score_adj after lowering it"}),
}


@pytest.mark.parametrize("name", WEAKENED)
def test_a_missing_wall_is_seen(engine: DockerEngine, image: str, name: str) -> None:
    weaken, expected = WEAKENED[name]

    def step_body(spec: ContainerSpec, place: hardening.ContainerPlace) -> Body:
        body = hardening.step_body(spec, place)
        weaken(body)
        return body

    with DockerSandbox(engine, step_body) as weakened:
        failed = {check.name for check in probe(weakened, image) if not check.ok}
    assert expected <= failed


def test_a_probe_that_cannot_work_fails_closed(engine: DockerEngine, image: str) -> None:
    def step_body(spec: ContainerSpec, place: hardening.ContainerPlace) -> Body:
        body = hardening.step_body(spec, place)
        return body | {"Entrypoint": ["true"]}

    with DockerSandbox(engine, step_body) as broken, pytest.raises(SandboxError, match="did not come up"):
        probe(broken, image)


SILENT = "import os, time; os.write(1, b'ready\\n'); os.read(0, 1); os.write(1, b'begin\\n'); time.sleep(600)"
"""A container that comes up, takes its files and answers nothing, as on a machine without a free core."""


class Bodies:
    """Production containers but for the first few, which answer nothing."""

    def __init__(self, silent: int) -> None:
        self.silent = silent
        self.made = 0
        self._lock = threading.Lock()

    def __call__(self, spec: ContainerSpec, place: hardening.ContainerPlace) -> Body:
        body = hardening.step_body(spec, place)
        with self._lock:
            self.made += 1
            return body | {"Entrypoint": ["python3", "-c", SILENT], "Cmd": []} if self.made <= self.silent else body


def test_a_container_that_answers_nothing_is_asked_again_by_another_one(engine: DockerEngine, image: str) -> None:
    bodies = Bodies(silent=2)  # the two that begin at once: the witness, and the one that must be killed anyway
    with DockerSandbox(engine, bodies) as sandbox:
        checks = probe(sandbox, image, witness_timeout_s=6)
    assert [check for check in checks if not check.ok] == []
    assert len(checks) > 60
    assert bodies.made == 3


def test_a_machine_that_never_answers_is_told_so_in_one_line_with_a_next_command(
    engine: DockerEngine, image: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(probe_module, "PAUSE_S", 0.0)
    bodies = Bodies(silent=99)
    with DockerSandbox(engine, bodies) as sandbox, pytest.raises(SandboxError) as caught:
        probe(sandbox, image, witness_timeout_s=0.5)
    assert bodies.made == 5, "four witnesses, and the one that must be killed"
    message = str(caught.value)
    assert re.search(r"ended by timeout after [4-9] s and said nothing; expected a report within 4 s", message)
    assert message.endswith("A busy machine may answer later. Try: uptime")
    assert "\n" not in message
    assert "b''" not in message


def test_a_check_says_what_it_saw(sandbox: DockerSandbox, image: str) -> None:
    checks = {check.name: check for check in probe(sandbox, image)}
    assert checks["workspace size"].seen.startswith("ENOSPC")
    assert checks["network interfaces"] == ProbeCheck("network interfaces", True, "['lo']", "['lo']")
