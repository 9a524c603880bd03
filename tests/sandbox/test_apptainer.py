"""Apptainer's command line, and containers made by it of a played Apptainer (`played_apptainer`).

Not covered: a real Apptainer, which was not to be had.
"""

import hashlib
import io
import json
import os
import secrets
import signal
import subprocess
import sys
import tarfile
import time
from collections.abc import Iterator
from dataclasses import replace
from pathlib import Path
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st
from played_apptainer import FLAGS, VALUES

from aira_bench.docker_engine import DockerEngine, NotThere, connect_engine
from aira_bench.docker_engine.apptainer_command import (
    CallerRights,
    ContainerFiles,
    caller_rights,
    command,
    in_docker_terms,
    version_of,
)
from aira_bench.docker_engine.apptainer_process import passed
from aira_bench.errors import PrerequisiteError, SandboxError
from aira_bench.sandbox import hardening
from aira_bench.sandbox.docker_sandbox import DockerSandbox
from aira_bench.sandbox.probe import probe
from aira_bench.sandbox.sandbox import ContainerSpec, Limits, PreparedContainer, Role, StepOutcome
from aira_bench.sandbox.walls import missing_walls, require_walls
from aira_bench.testing import SANDBOX_CHECKS, Check, SandboxOnImage

IMAGE = "aira-bench-agent:played"
SMALL = Limits(memory_mib=96, workspace_mib=16, tmp_mib=16, shm_mib=8, pids=48, open_files=256, output_mib=4)
USER, ROOT = (
    CallerRights(root=False, controllers=frozenset()),
    CallerRights(root=True, controllers=frozenset({"memory", "pids", "cpuset"})),
)
needs_root = pytest.mark.skipif(os.geteuid() != 0, reason="the played Apptainer makes namespaces as root")


def body(role: Role = "agent", **changes: object) -> dict[str, Any]:
    spec = ContainerSpec(IMAGE, role, "run", SMALL)
    made = hardening.step_body(spec, hardening.ContainerPlace("work", 2))
    made["HostConfig"] |= changes
    return made


def line(asked: dict[str, Any], found: CallerRights = USER) -> list[str]:
    place = ContainerFiles(Path("/s/pid"), Path("/s/seccomp"), Path("/s/tmp"), {"work": Path("/v/work")})
    return command(asked, Path("/images/one.sif"), place, found)


def options(asked: dict[str, Any], found: CallerRights = USER) -> dict[str, list[str]]:
    """The options of `apptainer exec`, each with its values; one that its guide does not name fails."""
    words = line(asked, found)
    words = words[words.index("exec") + 1 : words.index("/images/one.sif")]
    told: dict[str, list[str]] = {}
    while words:
        name = words.pop(0)
        assert name in FLAGS | VALUES, name
        told.setdefault(name, [])
        if name in VALUES:
            told[name].append(words.pop(0))
    return told


def test_every_container_is_asked_for_all_walls_that_the_command_line_has() -> None:
    told = options(body())
    assert {"--containall", "--cleanenv", "--no-home", "--pid", "--ipc", "--net", "--no-privs"} <= set(told)
    assert told["--network"] == ["none"]
    assert set(told["--no-mount"][0].split(",")) >= {"home", "tmp", "cwd", "hostfs", "bind-paths", "devpts", "sys"}
    assert not {"--writable", "--writable-tmpfs", "--nv", "--fakeroot", "--bind", "--allow-setuid"} & set(told)
    assert "type=bind,src=/v/work,dst=/workspace" in told["--mount"]
    assert not any("dst=/proc" in mount for mount in told["--mount"])


def test_limits_are_asked_for_where_they_can_be_had_alone() -> None:
    pinned = body(CpusetCpus="0,1")
    limits = {"--memory", "--memory-swap", "--pids-limit", "--cpuset-cpus"}
    assert not limits & set(options(pinned, USER))
    some = options(pinned, replace(USER, controllers=frozenset({"memory", "pids"})))
    assert limits & set(some) == limits - {"--cpuset-cpus"}
    assert some["--memory"] == [str(hardening.granted_mib(SMALL) << 20)]
    assert options(pinned, ROOT)["--cpuset-cpus"] == ["0,1"]


def test_a_user_of_its_own_and_system_calls_are_roots_to_ask_for() -> None:
    assert "--security" not in options(body(), USER)
    told = options(body(), ROOT)["--security"]
    assert told == ["uid:40000", "gid:40000", "seccomp:/s/seccomp"]


def test_limits_of_processes_are_inherited() -> None:
    words = line(body())
    assert words[0] == "prlimit"
    assert {"--nofile=256:256", "--core=0:0"} <= set(words[: words.index("--")])


@pytest.mark.parametrize(
    ("changes", "kind", "words"),
    [
        ({"NetworkMode": "bridge"}, SandboxError, "without the wall 'network'"),
        ({"PidMode": "host"}, SandboxError, "cannot give a container PidMode"),
        ({"Runtime": "runsc"}, SandboxError, "cannot give a container Runtime"),
        ({"DeviceRequests": [{"DeviceIDs": ["GPU-1"]}]}, PrerequisiteError, "get no GPU"),
    ],
)
def test_what_cannot_be_given_is_refused_and_never_left_out(
    changes: dict[str, Any], kind: type[Exception], words: str
) -> None:
    with pytest.raises(kind, match=words):
        line(body(**changes))


@given(st.text(st.characters(exclude_categories=["Cs"], exclude_characters="\0/"), min_size=1, max_size=20))
def test_a_mount_is_read_as_it_was_meant(name: str) -> None:
    """Fields are quoted as CSV has it, whatever stands in a path."""
    import csv

    mount = {"Type": "bind", "Source": f"/data/{name}", "Target": "/data", "ReadOnly": True}
    (told,) = [each for each in options(body(Mounts=[mount]))["--mount"] if "/data" in each]
    (fields,) = csv.reader(io.StringIO(told, newline=""), strict=True)
    assert fields == ["type=bind", f"src=/data/{name}", "dst=/data", "ro"]


def test_what_is_told_of_a_container_is_what_was_asked_for() -> None:
    """Walls without an option are told as unset, so that the probe finds them missing."""
    told = in_docker_terms(body(), USER)["HostConfig"]
    assert (told["Memory"], told["PidsLimit"], told["ShmSize"], told["MaskedPaths"]) == (0, 0, 0, [])
    assert not any(each.startswith("seccomp=") for each in told["SecurityOpt"])
    assert in_docker_terms(body(), ROOT)["HostConfig"]["PidsLimit"] == SMALL.pids


def test_control_groups_are_those_that_systemd_hands_on(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(os, "geteuid", lambda: 1234)
    assert caller_rights(tmp_path) == USER
    group = tmp_path / "user.slice/user-1234.slice/user@1234.service"
    group.mkdir(parents=True)
    (group / "cgroup.controllers").write_text("cpu memory pids\n")
    assert caller_rights(tmp_path).controllers == {"memory", "pids"}


@pytest.mark.parametrize(
    ("said", "version"),
    [
        ("1.3.4\n", (1, 3)),
        ("apptainer version 1.4.0-1.el9", (1, 4)),
        ("1.1.0-rc.1+12-gabc", (1, 1)),
        ("2.0.0~rc1", (2, 0)),
    ],
)
def test_versions_are_read(said: str, version: tuple[int, int]) -> None:
    assert version_of(said) == version


@pytest.mark.parametrize("said", ["", "1.0.3", "singularity version 3.8.7", "usage: apptainer", "0.9.9"])
def test_a_version_that_is_none_or_too_old_is_refused(said: str) -> None:
    with pytest.raises(PrerequisiteError, match="expected"):
        version_of(said)


def test_variables_of_apptainer_and_keys_do_not_reach_it() -> None:
    environ = {"PATH": "/bin", "APPTAINER_BIND": "/:/host", "APPTAINERENV_X": "1", "OPENAI_API_KEY": "k", "HOME": "/h"}
    assert passed(environ) == {"PATH": "/bin", "HOME": "/h"}


def archive_of(*tags: str, config: dict[str, Any] | None = None) -> bytes:
    """An archive as `docker save` writes it, of one image a tag."""
    layer = b"a layer"
    data = io.BytesIO()
    with tarfile.open(fileobj=data, mode="w") as archive:

        def add(name: str, content: bytes) -> None:
            header = tarfile.TarInfo(name)
            header.size = len(content)
            archive.addfile(header, io.BytesIO(content))

        add("layer.tar", layer)
        entries = []
        for number, tag in enumerate(tags):
            settings = {"Labels": {"aira-bench.flavour": "cpu"}, "Env": ["PATH=/usr/bin:/bin"]}
            told = {"config": settings, "rootfs": {"diff_ids": [f"sha256:{number}"]}} | (config or {})
            add(f"{number}.json", json.dumps(told).encode())
            entries.append({"Config": f"{number}.json", "RepoTags": [tag], "Layers": ["layer.tar"]})
        add("manifest.json", json.dumps(entries).encode())
    return data.getvalue()


@pytest.fixture(scope="module")
def apptainer(tmp_path_factory: pytest.TempPathFactory) -> Iterator[DockerEngine]:
    """The played program on the path, with folders of its own."""
    folder = tmp_path_factory.mktemp("apptainer")
    (folder / "bin").mkdir()
    program = folder / "bin" / "apptainer"
    played = Path(__file__).with_name("played_apptainer.py")
    program.write_text(f'#!/bin/sh\nexec {sys.executable} -I {played} "$@"\n')
    program.chmod(0o755)
    (folder / "tmp").mkdir(mode=0o711)
    with pytest.MonkeyPatch.context() as patch:
        patch.setenv("PATH", f"{folder}/bin:{os.environ['PATH']}")
        patch.setenv("AIRA_HOME", str(folder / "home"))
        patch.setattr("tempfile.tempdir", str(folder / "tmp"))
        engine = connect_engine("apptainer")
        assert engine.load(iter([archive_of(IMAGE)])) == [IMAGE]
        yield engine
        engine.close()


@pytest.fixture(scope="module")
def sandbox(apptainer: DockerEngine) -> Iterator[DockerSandbox]:
    with DockerSandbox(apptainer) as sandbox:
        yield sandbox


def test_images_come_from_a_file_and_are_known_by_dockers_id(apptainer: DockerEngine) -> None:
    told = archive_of("one:1", "two:1")
    assert apptainer.load(iter([told[:1000], told[1000:]])) == ["one:1", "two:1"]
    images = {image.tag: image for image in apptainer.list_images("aira-bench.flavour=cpu")}
    config = {"config": {"Labels": {"aira-bench.flavour": "cpu"}, "Env": ["PATH=/usr/bin:/bin"]}}
    config["rootfs"] = {"diff_ids": ["sha256:1"]}
    assert images["two:1"].id == "sha256:" + hashlib.sha256(json.dumps(config).encode()).hexdigest()
    assert apptainer.inspect_image("two:1").layers == ("sha256:1",)
    assert apptainer.inspect_image("two:1").environment == {"PATH": "/usr/bin:/bin"}
    apptainer.tag_image(images["two:1"].id, "one:1")
    assert apptainer.inspect_image("one:1").layers == ("sha256:1",)
    for tag in ("one:1", "two:1", "two:1"):
        apptainer.remove_image(tag)
    assert not apptainer.image_exists("one:1")
    assert [image.tag for image in apptainer.list_images("aira-bench.flavour")] == [IMAGE]


@pytest.mark.parametrize("archive", [b"", b"no archive", archive_of("a:1", config={"rootfs": {"diff_ids": []}})])
def test_what_is_no_archive_is_refused_and_leaves_nothing(apptainer: DockerEngine, archive: bytes) -> None:
    with pytest.raises(PrerequisiteError, match="could not be loaded"):
        apptainer.load(iter([archive]))
    folder = Path(apptainer.info().root_dir)
    assert {path.suffix for path in folder.iterdir()} == {".json", ".sif"}


def test_what_apptainer_cannot_do_is_refused_in_a_sentence(apptainer: DockerEngine, tmp_path: Path) -> None:
    for attempt in (
        lambda: apptainer.pull("x:1", lambda line: None),
        lambda: apptainer.build(tmp_path, "Dockerfile", "t", "x:1", {}, {}, lambda line: None),
        lambda: list(apptainer.saved([IMAGE])),
        lambda: apptainer.import_root(tmp_path, "x:1", {}),
    ):
        with pytest.raises(PrerequisiteError, match="Apptainer builds and sends no images"):
            attempt()
    with pytest.raises(SandboxError, match="mounts no file system of type erofs"):
        apptainer.create_volume("v", {"type": "erofs"}, {})
    with pytest.raises(PrerequisiteError, match="no image absent:1"):
        apptainer.create_container("c", body() | {"Image": "absent:1"})


def test_a_machine_without_apptainer_says_so(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
    monkeypatch.setenv("PATH", str(tmp_path))
    with pytest.raises(PrerequisiteError, match="no apptainer on this machine"):
        connect_engine("apptainer")


def test_a_folder_that_another_made_is_refused(
    apptainer: DockerEngine, monkeypatch: pytest.MonkeyPatch, tmp_path: Path
) -> None:
    monkeypatch.setattr("tempfile.tempdir", str(tmp_path))
    (tmp_path / f"aira-apptainer-{os.geteuid()}").symlink_to(tmp_path)
    with pytest.raises(PrerequisiteError, match="not a folder of this user alone"):
        connect_engine("apptainer")


@needs_root
@pytest.mark.parametrize("check", SANDBOX_CHECKS, ids=str)
def test_the_sandbox(check: Check[SandboxOnImage], sandbox: DockerSandbox) -> None:
    check(SandboxOnImage(sandbox, IMAGE))


@needs_root
def test_missing_walls_are_found_and_refused_by_name(sandbox: DockerSandbox) -> None:
    """Of the played one: what the kernel does is real, control groups and system calls are not."""
    checks = probe(sandbox, IMAGE)
    missing = {each.wall.name for each in missing_walls(checks)}
    assert {"system-calls", "kernel-files", "workspace-size", "tmp-inodes", "shm-size", "memory"} <= missing
    assert (
        not {"network", "deadline", "own-user", "no-new-privileges", "read-only-root", "open-files", "init"} & missing
    )
    with pytest.raises(PrerequisiteError, match=r"--accept-missing-walls .*workspace-size"):
        require_walls(checks, ["memory"])
    assert set(require_walls(checks, missing)) == missing


def container(sandbox: DockerSandbox, run_id: str = "") -> PreparedContainer:
    return sandbox.prepare(ContainerSpec(IMAGE, "agent", run_id or f"test-{secrets.token_hex(6)}", SMALL))


def outcome(sandbox: DockerSandbox, code: str, folder: Path, timeout_s: float = 30) -> StepOutcome:
    made = container(sandbox)
    try:
        return made.run(
            ["python3", "code.py"], files={"code.py": code.encode()}, timeout_s=timeout_s, artifacts=(),
            destination=folder,
        )  # fmt: skip
    finally:
        made.close()


@needs_root
@pytest.mark.parametrize("number", [signal.SIGKILL, signal.SIGTERM, signal.SIGSEGV])
def test_a_death_by_a_signal_has_its_status(sandbox: DockerSandbox, number: signal.Signals, tmp_path: Path) -> None:
    found = outcome(sandbox, f"import os; os.kill(os.getpid(), {int(number)})", tmp_path)
    assert (found.ended, found.exit_code) == ("exited", 128 + number)
    assert found.is_unexplained == (number != signal.SIGSEGV)


@needs_root
def test_a_kill_reaches_every_process(sandbox: DockerSandbox, tmp_path: Path) -> None:
    """Also those that have left session and parent, and ignore signals."""
    code = """
import os, signal, time
if os.fork() == 0:
    os.setsid()
    if os.fork() == 0:
        for number in (1, 2, 15): signal.signal(number, signal.SIG_IGN)
    while True: time.sleep(0.1)
print("up", flush=True)
while True: time.sleep(1)
"""
    found = outcome(sandbox, code, tmp_path, timeout_s=1)
    assert found.ended == "timeout"
    assert found.stdout.head == b"up\n"
    assert not mine("code.py")


def mine(word: str) -> list[str]:
    """Processes of the played Apptainer's containers whose command line has a word."""
    found = subprocess.run(["ps", "-eo", "args"], capture_output=True, text=True, check=True).stdout
    return [row for row in found.splitlines() if row.startswith("python3") and word in row]


@needs_root
def test_who_kills_apptainer_itself_ends_the_container(sandbox: DockerSandbox, apptainer: DockerEngine) -> None:
    run_id = f"test-{secrets.token_hex(6)}"
    made = container(sandbox, run_id)
    (name,) = [each.id for each in apptainer.containers(f"{hardening.RUN_LABEL}={run_id}") if "user" in each.id]
    started = apptainer._started(name)  # type: ignore[attr-defined]
    os.kill(started.pid, signal.SIGKILL)
    give_up_s = time.monotonic() + 10
    while apptainer.wait_container(name, 0.2) is None and time.monotonic() < give_up_s:
        pass
    assert apptainer.wait_container(name, 0) == 137
    assert not made.is_waiting
    made.close()


ORCHESTRATOR = """
import sys, tempfile, time
from aira_bench.docker_engine import connect_engine
from aira_bench.sandbox.docker_sandbox import DockerSandbox
from aira_bench.sandbox.sandbox import ContainerSpec
tempfile.tempdir = sys.argv[2]
sandbox = DockerSandbox(connect_engine("apptainer"))
made = sandbox.prepare(ContainerSpec(sys.argv[1], "agent", sys.argv[3]))
print("up", flush=True)
made.run(["python3", "code.py"], files={"code.py": b"import time; time.sleep(600)"}, timeout_s=600, artifacts=(),
         destination=None)
"""


@needs_root
def test_what_a_killed_orchestrator_left_is_swept(
    sandbox: DockerSandbox, apptainer: DockerEngine, tmp_path_factory: pytest.TempPathFactory
) -> None:
    import tempfile

    run_id = f"test-{secrets.token_hex(6)}"
    process = subprocess.Popen(
        [sys.executable, "-c", ORCHESTRATOR, IMAGE, tempfile.gettempdir(), run_id], stdout=subprocess.PIPE
    )
    assert process.stdout is not None
    assert process.stdout.readline() == b"up\n"
    label = f"{hardening.RUN_LABEL}={run_id}"
    give_up_s = time.monotonic() + 20
    while not mine("code.py") and time.monotonic() < give_up_s:
        time.sleep(0.1)
    process.kill()
    process.wait()
    assert "running" in [each.state for each in apptainer.containers(label)]
    assert sandbox.sweep_dead().containers >= 1
    assert not apptainer.containers(label)
    assert not apptainer.volumes(label)
    assert not mine("code.py")


@needs_root
def test_files_without_rights_are_removed_and_links_are_not_followed(
    sandbox: DockerSandbox, apptainer: DockerEngine, tmp_path: Path
) -> None:
    victim = tmp_path / "victim"
    victim.mkdir(mode=0o755)
    code = f"import os; os.makedirs('a/b'); os.symlink('{victim}', 'link'); open('a/b/c', 'w'); os.chmod('a', 0)"
    assert outcome(sandbox, code, tmp_path).exit_code == 0
    sandbox._join_removals()
    assert victim.stat().st_mode & 0o777 == 0o755
    state = Path(apptainer.volume_folder("x")).parents[1]
    assert [path.name for path in state.iterdir() if "agent" in path.name] == []


def test_a_container_of_nobody_is_told_as_gone(apptainer: DockerEngine) -> None:
    assert apptainer.find_container("absent") is None
    for attempt in (apptainer.inspect_container, apptainer.told_of, lambda name: apptainer.wait_container(name, 0)):
        with pytest.raises(NotThere):
            attempt("absent")
    apptainer.remove_container("absent")
    apptainer.remove_volume("absent")
