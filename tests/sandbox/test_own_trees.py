"""Containers of untrusted code have file trees of their own, leave no names behind, and lose no volume in a crash."""

import contextlib
import json
import os
import random
import shutil
import signal
import subprocess
import sys
import threading
import time
from collections.abc import Iterator
from dataclasses import replace
from pathlib import Path, PurePosixPath

import pytest
from small_steps import SMALL

from aira_bench.docker_engine import DockerEngine
from aira_bench.errors import PrerequisiteError, SandboxError
from aira_bench.images.stored_trees import UNFINISHED, prune_trees, stored_trees
from aira_bench.sandbox import caches, ending, hardening
from aira_bench.sandbox.caretaker import Caretaker, store_mount
from aira_bench.sandbox.docker_sandbox import DockerSandbox
from aira_bench.sandbox.sandbox import ArtifactRequest, ContainerSpec, Mount, StepOutcome
from aira_bench.sandbox.trees import BARE_IMAGE, OwnTrees, key_of

pytestmark = pytest.mark.docker

BITS = 512
FOLDERS = ("/usr/lib", "/opt/aira/lib/python3.11/site-packages", "/etc", "/", "/workspace/data")
SEND = """
import json, os
for folder, bits in json.load(open("message.json")).items():
    for number, bit in enumerate(bits):
        for copy in range(3 * bit):
            os.path.exists(f"{folder}/aira-no-such-{number}-{copy}")
open("done", "w").write("x")
"""
RECEIVE = """
import json, os, statistics, time
def look(name):
    start = time.perf_counter_ns()
    try:
        os.stat(name)
    except OSError:
        pass
    return time.perf_counter_ns() - start
def look_often(folder, number):
    return statistics.median(look(f"{folder}/aira-no-such-{number}-{copy}") for copy in range(3))
heard = {}
for folder, bits in json.load(open("message.json")).items():
    for number in range(200):
        look(f"{folder}/aira-warm-{number}")
    times = [look_often(folder, number) for number in range(len(bits))]
    # A name that is remembered is found missing in half the time; half of the bits are ones.
    threshold = statistics.median(times)
    heard[folder] = [int(t < threshold) for t in times]
json.dump(heard, open("done", "w"))
"""


@pytest.fixture(scope="module")
def own(engine: DockerEngine, image: str) -> Iterator[DockerSandbox]:
    with DockerSandbox(engine) as sandbox:
        found = sandbox.isolation(image, "agent", gpu=False)
        if found.word != "own trees":
            pytest.skip(f"this machine has no file trees of their own: {found.reason}")
        yield sandbox


@pytest.fixture(scope="module")
def ordinary(engine: DockerEngine) -> Iterator[DockerSandbox]:
    with DockerSandbox(engine, own_trees=False) as sandbox:
        yield sandbox


@pytest.fixture
def data(tmp_path: Path) -> Mount:
    folder = tmp_path / "data"
    (folder / "inner").mkdir(parents=True)
    (folder / "a.txt").write_text("a" * 10_000)
    (folder / "inner" / "b").write_bytes(bytes(range(256)))
    (folder / "inner" / "empty").touch()
    for path in (tmp_path, folder, folder / "inner"):
        path.chmod(0o755)
    return Mount(folder, PurePosixPath("/workspace/data"), content="a data folder of tests")


def act(
    sandbox: DockerSandbox, spec: ContainerSpec, code: str, message: object, destination: Path
) -> tuple[StepOutcome, object]:
    """Run code with a message; what it left in `done`."""
    container = sandbox.prepare(spec)
    try:
        outcome = container.run(
            ["python3", "s.py"],
            files={"s.py": code.encode(), "message.json": json.dumps(message).encode()},
            timeout_s=60,
            artifacts=[ArtifactRequest("done", 1 << 20)],
            destination=destination,
        )
    finally:
        container.close()
    path = destination / "done"
    return outcome, json.loads(path.read_bytes()) if path.exists() and code is RECEIVE else None


def message(*folders: str) -> dict[str, list[int]]:
    return {folder: random.Random(folder).choices((0, 1), k=BITS) for folder in folders}


def errors(sent: dict[str, list[int]], heard: object) -> dict[str, float]:
    """Share of wrong bits by folder, as good as the receiver can make it: it may turn all of them round."""
    assert isinstance(heard, dict)
    wrong = {f: sum(a != b for a, b in zip(sent[f], heard[f], strict=True)) / len(sent[f]) for f in sent}
    return {folder: min(share, 1 - share) for folder, share in wrong.items()}


def told(sandbox: DockerSandbox, spec: ContainerSpec, folders: tuple[str, ...], destination: Path) -> dict[str, float]:
    """Errors of a message from a container that is dead before the next one gets its files."""
    sent = message(*folders)
    act(sandbox, spec, SEND, sent, destination / "sender")
    _, heard = act(sandbox, spec, RECEIVE, {folder: [0] * BITS for folder in folders}, destination / "receiver")
    return errors(sent, heard)


def test_names_tell_the_next_container_nothing(
    own: DockerSandbox, spec: ContainerSpec, data: Mount, tmp_path: Path
) -> None:
    found = told(own, replace(spec, mounts=(data,)), FOLDERS, tmp_path / "out")
    assert min(found.values()) > 0.4, found


def test_names_tell_a_container_that_runs_at_once_nothing(
    own: DockerSandbox, spec: ContainerSpec, tmp_path: Path
) -> None:
    sent = message("/usr/lib")
    stay = SEND + "\nimport time\ntime.sleep(20)\n"
    sender = own.prepare(spec)
    files = {"s.py": stay.encode(), "message.json": json.dumps(sent).encode()}

    def send() -> None:
        with pytest.raises(SandboxError):  # it is closed while it sleeps
            sender.run(["python3", "s.py"], files=files, timeout_s=60, artifacts=[], destination=tmp_path)

    thread = threading.Thread(target=send)
    thread.start()
    try:
        time.sleep(2)
        _, heard = act(own, spec, RECEIVE, {"/usr/lib": [0] * BITS}, tmp_path / "receiver")
    finally:
        sender.close()
        thread.join()
    assert errors(sent, heard)["/usr/lib"] > 0.4


def test_on_the_ordinary_image_the_caretaker_frees_names_between_containers(
    ordinary: DockerSandbox, spec: ContainerSpec, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    found = ordinary.isolation(spec.image, "agent", gpu=False)
    if found.word != "dropped caches":
        pytest.skip(f"caches cannot be freed here: {found.reason}")
    assert told(ordinary, spec, ("/usr/lib",), tmp_path / "freed")["/usr/lib"] > 0.4
    monkeypatch.setattr(caches.Caches, "soil", lambda *_, **__: None)
    # Another process of this machine may free names between the two, so the control has three attempts.
    for folder in ("/usr/lib/python3", "/usr/lib/python3.11", "/usr/share"):
        kept = told(ordinary, spec, (folder,), tmp_path / f"kept{folder}")
        if kept[folder] < 0.35:
            return
    pytest.fail(f"the test must see what is not freed: {kept}")


def test_nothing_is_handed_over_while_caches_cannot_be_freed_in_time(
    ordinary: DockerSandbox, spec: ContainerSpec, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    if ordinary.isolation(spec.image, "agent", gpu=False).word != "dropped caches":
        pytest.skip("caches cannot be freed here")
    slow = threading.Event()
    plain = Caretaker.ask

    def ask(self: Caretaker, image: str, request: dict[str, object], *, timeout_s: float) -> dict[str, object]:
        slow.wait(30)
        return plain(self, image, request, timeout_s=timeout_s)

    monkeypatch.setattr(Caretaker, "ask", ask)
    monkeypatch.setattr(caches, "CLEAN_TIMEOUT_S", 1.0)
    act(ordinary, spec, SEND, {"/usr/lib": [1]}, tmp_path / "sender")
    with pytest.raises(SandboxError, match="not freed within 1 s"):
        act(ordinary, spec, SEND, {"/usr/lib": [1]}, tmp_path / "next")
    slow.set()
    monkeypatch.setattr(caches, "CLEAN_TIMEOUT_S", 30.0)
    outcome, _ = act(ordinary, spec, SEND, {"/usr/lib": [1]}, tmp_path / "later")
    assert outcome.exit_code == 0, "once they are freed, work goes on"


def test_freeing_is_waited_for_as_long_as_dying() -> None:
    """Code can leave names by the hundred million, as it can make its death slow; neither may fail the next step."""
    assert caches.CLEAN_TIMEOUT_S >= ending.DEATH_TIMEOUT_S


LOOK = """
import hashlib, json, os
found = {}
for folder, folders, names in os.walk("/workspace/data"):
    for name in folders + names:
        path = f"{folder}/{name}"
        found[os.path.relpath(path, "/workspace/data")] = (
            hashlib.sha256(open(path, "rb").read()).hexdigest() if os.path.isfile(path) else "folder")
try:
    open("/workspace/data/new", "w")
except OSError as error:
    found["write"] = error.errno in (13, 30)
json.dump(found, open("done", "w"))
"""


def test_a_data_folder_arrives_whole_and_read_only(
    own: DockerSandbox, ordinary: DockerSandbox, spec: ContainerSpec, data: Mount, tmp_path: Path
) -> None:
    seen = []
    for sandbox, name in ((own, "own"), (ordinary, "ordinary")):
        act(sandbox, replace(spec, mounts=(data,)), LOOK, [], tmp_path / name)
        seen.append(json.loads((tmp_path / name / "done").read_bytes()))
    assert seen[0] == seen[1]
    assert seen[0]["write"] is True
    assert set(seen[0]) == {"a.txt", "inner", "inner/b", "inner/empty", "write"}


def test_a_container_s_image_has_no_layers_and_its_trees_are_its_own(
    own: DockerSandbox, engine: DockerEngine, spec: ContainerSpec
) -> None:
    assert engine.inspect_image(BARE_IMAGE).layers == ()
    first, second = own.prepare(spec), own.prepare(spec)
    try:
        for step in (first, second):
            assert engine.inspect_container(step.containers.step)["Config"]["Image"] == BARE_IMAGE
            assert len(step.containers.trees) >= 5
        assert not set(first.containers.trees) & set(second.containers.trees)
    finally:
        first.close()
        second.close()


def test_files_of_two_images_are_kept_apart_and_equal_layers_share_them() -> None:
    one = key_of(["sha256:a", "sha256:b", ("PATH", "/bin")])
    assert one == key_of(["sha256:a", "sha256:b", ("PATH", "/bin")])
    assert len({one, key_of(["sha256:a", "sha256:c", ("PATH", "/bin")]), key_of(["sha256:a", "sha256:b"])}) == 3


def test_what_the_store_holds_is_listed_and_removed_while_it_is_mounted(
    own: DockerSandbox, engine: DockerEngine, spec: ContainerSpec, data: Mount, tmp_path: Path
) -> None:
    caretaker = Caretaker(engine)
    trees = OwnTrees(engine, caretaker)
    try:
        container = own.prepare(replace(spec, mounts=(data,)))
        key = key_of([data.content])
        assert trees.listed(spec.image)[key]["of"].startswith("/")
        trees.remove(key, spec.image)
        assert key not in trees.listed(spec.image)
        outcome = container.run(
            ["python3", "-c", "print(len(open('/workspace/data/a.txt').read()))"],
            files={}, timeout_s=30, artifacts=[], destination=tmp_path,
        )  # fmt: skip
        container.close()
        assert outcome.stdout.head == b"10000\n"
    finally:
        caretaker.close()


def test_trees_that_nothing_uses_any_more_are_removed_and_no_others(
    own: DockerSandbox, engine: DockerEngine, spec: ContainerSpec, data: Mount, tmp_path: Path
) -> None:
    """They filled a disk with 65 GB: folders that are gone or have other content, and makers that were killed."""
    trees, first = OwnTrees(engine, own.caretaker), key_of([data.content])
    with contextlib.suppress(SandboxError):  # another test removed these, as another process would
        own.prepare(replace(spec, mounts=(data,))).close()
    in_use = own.prepare(replace(spec, mounts=(data,)))
    later = replace(data, content=f"{data.content}-later")
    own.prepare(replace(spec, mounts=(later,))).close()
    kept = {stored.key for stored in stored_trees(engine) if stored.current}
    assert {first, key_of([later.content])} <= kept, "the one is mounted, the other what the folder is now"
    mine = {first, key_of([later.content])}
    _leave_half_a_tree(engine, spec.image)
    removed = prune_trees(engine, own.caretaker)
    assert not mine & {stored.key for stored in removed}
    assert [round(stored.size_mib) for stored in removed if stored.of == UNFINISHED] == [3]
    in_use.close()
    own.sweep(spec.run_id)
    (gone,) = (stored for stored in prune_trees(engine, own.caretaker) if stored.key in mine)
    assert gone.key == first, "nobody has it mounted now, and the folder has other content"
    assert first not in trees.listed(spec.image)
    shutil.rmtree(data.source)
    assert key_of([later.content]) in {stored.key for stored in prune_trees(engine, own.caretaker)}
    assert any(stored.current for stored in stored_trees(engine)), "the image's own stay"


def _leave_half_a_tree(engine: DockerEngine, image: str) -> None:
    """What a maker leaves that is killed at its work."""
    write = "import os; os.makedirs('/store/half'); open('/store/half/usr.erofs.part', 'wb').write(bytes(3 << 20))"
    body = {
        "Image": image, "Entrypoint": ["python3", "-c", write], "User": "0:0",
        "HostConfig": {"NetworkMode": "none", "Mounts": [store_mount()]},
    }  # fmt: skip
    container = engine.create_container(f"aira-half-{os.getpid()}", body)
    engine.start_container(container)
    assert engine.wait_container(container, 60) == 0
    engine.remove_container(container)


ORCHESTRATOR = """
import sys
from pathlib import Path
from aira_bench.docker_engine import DockerEngine
from aira_bench.sandbox.docker_sandbox import DockerSandbox
from aira_bench.sandbox.sandbox import ContainerSpec, Limits
sandbox = DockerSandbox(DockerEngine.connect())
spec = ContainerSpec(sys.argv[1], "agent", sys.argv[2], Limits(memory_mib=64, workspace_mib=8, tmp_mib=8, shm_mib=8))
step = sandbox.prepare(spec)
print("started", flush=True)
step.run(["sleep", "600"], files={}, timeout_s=600, artifacts=(), destination=Path("."))
"""


def test_a_killed_orchestrator_s_trees_and_caretaker_go(
    own: DockerSandbox, engine: DockerEngine, image: str, run_id: str
) -> None:
    command = [sys.executable, "-c", ORCHESTRATOR, image, run_id]
    environment = os.environ | {"PYTHONPATH": os.pathsep.join(sys.path)}
    label = f"{hardening.RUN_LABEL}={run_id}"
    with subprocess.Popen(command, stdout=subprocess.PIPE, env=environment) as orchestrator:
        assert orchestrator.stdout is not None
        assert orchestrator.stdout.readline() == b"started\n"
        time.sleep(0.3)
        owner = engine.containers(label)[0].labels[hardening.OWNER_LABEL]
        orchestrator.send_signal(signal.SIGKILL)
    assert len(engine.volumes(label)) > 5
    own.sweep_dead()
    assert engine.containers(label) == []
    assert engine.volumes(label) == {}
    deadline_s = time.monotonic() + 120
    while engine.containers(f"{hardening.OWNER_LABEL}={owner}") and time.monotonic() < deadline_s:
        time.sleep(0.1)
    assert engine.containers(f"{hardening.OWNER_LABEL}={owner}") == [], "the caretaker ends with who started it"


def test_volumes_without_containers_are_swept_too(own: DockerSandbox, engine: DockerEngine, run_id: str) -> None:
    dead = hardening.labels(run_id, "agent") | {hardening.OWNER_LABEL: _dead_owner()}
    engine.create_volume(f"aira-agent-{run_id}", {}, dead)
    own.sweep_dead()
    assert engine.volumes(f"{hardening.RUN_LABEL}={run_id}") == {}


def _dead_owner() -> str:
    code = "from aira_bench.sandbox.owner import this_process; print(this_process())"
    environment = os.environ | {"PYTHONPATH": os.pathsep.join(sys.path)}
    return subprocess.run(
        [sys.executable, "-c", code], capture_output=True, text=True, check=True, env=environment
    ).stdout.strip()


def test_what_is_missing_is_said(engine: DockerEngine, image: str, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(
        OwnTrees, "volume_options", lambda self, tree: {"type": "erofs", "device": "/nowhere", "o": "ro"}
    )
    with DockerSandbox(engine) as sandbox:
        found = sandbox.isolation(image, "agent", gpu=False)
        assert found.word in ("dropped caches", "shared")
        assert "failed to mount local volume" in found.reason
        container = sandbox.prepare(ContainerSpec(image, "agent", "test-fallback", SMALL))
        container.close()
        assert container.containers.trees == ()
        assert "GPU" in sandbox.isolation(image, "fit", gpu=True).reason
    with pytest.raises(PrerequisiteError, match="no runtime 'nosuch'"):
        DockerSandbox(engine, runtime="nosuch")
