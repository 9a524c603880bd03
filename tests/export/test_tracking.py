"""`--track`: a run is the same with every tracker, present, absent, broken or hanging; and what a tracker is told.

The client is a stand-in that misbehaves as it is asked to; `test_other_readers` has the real ones.
"""

import json
import os
import signal
import socket
import subprocess
import time
from collections.abc import Iterator, Sequence
from pathlib import Path
from typing import Any

import pytest
from exported import HIDDEN, Machine, machine  # noqa: F401
from test_export_command import holds

from aira_bench.api import run as run_api
from aira_bench.cli.main import build_parser
from aira_bench.errors import PrerequisiteError
from aira_bench.export import tracking
from aira_bench.export.mirror import Mirror
from aira_bench.export.trackers import TRACKERS, settings_of
from aira_bench.export.tracking import environment_of_mirror, mirrored, require_tracker
from aira_bench.record.folder import RunFolder
from aira_bench.record.manifest import Manifest
from aira_bench.record.node import Node
from aira_bench.runs.session import Progress
from eventually import eventually
from played_host import played_host, played_sandbox, request

CLIENT = """
import json, os, time
MODE, PLACE = os.environ["FAKE_MODE"], os.environ["FAKE_PLACE"]
print("a banner", flush=True)
def misbehave(when):
    if MODE == f"{when} raises": raise RuntimeError("no such server\\x1b[31m")
    if MODE == f"{when} hangs": open(PLACE + ".hangs", "w").close(); time.sleep(600)
    if MODE == f"{when} exits": os._exit(7)
    if MODE == f"{when} leaves": raise SystemExit(5)
    if MODE == f"{when} aborts": os.abort()
    if MODE == f"{when} is slow": time.sleep(1)
    if MODE == f"{when} waits for a socket":
        import socket
        with socket.create_connection(("127.0.0.1", int(os.environ["FAKE_PORT"]))) as server:
            server.sendall(b"POST / HTTP/1.1\\r\\n\\r\\n")
            server.recv(1)
open(PLACE + ".imported", "w").close()
misbehave("import")
class Info: run_id = experiment_id = "1"
class Data: tags = {}
class Run: info, data = Info, Data
class MlflowClient:
    def __init__(self): misbehave("open")
    def get_experiment_by_name(self, name): return Info
    def search_runs(self, places, text, max_results): return []
    def create_run(self, place, run_name, tags): return Run
    def log_batch(self, run, metrics=(), params=(), tags=()):
        misbehave("send")
        with open(PLACE, "a") as file:
            file.writelines(json.dumps([each.key, each.value, each.step]) + "\\n" for each in metrics)
            file.writelines(json.dumps([each.key, each.value, None]) + "\\n" for each in params)
    def set_terminated(self, run, how):
        misbehave("close")
        open(PLACE, "a").write(json.dumps(["status", how, None]) + "\\n")
"""
ENTITIES = """
class Param:
    def __init__(self, key, value): self.key, self.value = key, value
class RunTag(Param): pass
class Metric:
    def __init__(self, key, value, timestamp, step): self.key, self.value, self.step = key, value, step
"""
BROKEN = [
    f"{when} {how}" for when in ("import", "send") for how in ("raises", "hangs", "exits", "leaves", "aborts")
] + ["open raises", "close raises"]  # fmt: skip


@pytest.fixture
def client(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Iterator[Path]:
    """The stand-in, and the file that it writes what it is told to; mirrors that are left are killed."""
    started: list[subprocess.Popen[bytes]] = []
    start = subprocess.Popen

    def kept(*arguments: Any, **options: Any) -> "subprocess.Popen[bytes]":  # noqa: ANN401
        started.append(start(*arguments, **options))
        return started[-1]

    monkeypatch.setattr(subprocess, "Popen", kept)
    package = tmp_path / "clients" / "mlflow"
    package.mkdir(parents=True)
    (package / "__init__.py").write_text(CLIENT)
    (package / "entities.py").write_text(ENTITIES)
    monkeypatch.setenv("PYTHONPATH", f"{tmp_path / 'clients'}{os.pathsep}{os.environ.get('PYTHONPATH', '')}")
    monkeypatch.setenv("FAKE_PLACE", str(tmp_path / "told"))
    monkeypatch.setenv("FAKE_MODE", "works")
    yield tmp_path / "told"
    for process in started:
        process.kill()
        process.wait(60)


@pytest.fixture(scope="module")
def without(tmp_path_factory: pytest.TempPathFactory) -> list[object]:
    """What a run comes to that nobody mirrors."""
    return facts(played(tmp_path_factory.mktemp("without"), None, [])[0])


def played(place: Path, track: str | None, said: list[str]) -> tuple[tuple[Node, ...], float]:
    """Nodes of a played run, without their times, and how many seconds the run took."""
    host = played_host(place, played_sandbox())
    before_s = time.monotonic()
    with mirrored(track, host.paths.runs / "run", said.append):
        done = run_api(request(steps=3), host)
        took_s = time.monotonic() - before_s
    return done.record.seeds[0].nodes, took_s


def facts(nodes: Sequence[Node]) -> list[object]:
    return [(node.step, node.step_class, node.fitness, node.code_sha256, node.canonical) for node in nodes]


def test_a_tracker_is_told_what_the_search_knows(client: Path, tmp_path: Path) -> None:
    said: list[str] = []
    nodes, _ = played(tmp_path / "with", "mlflow", said)
    assert eventually(lambda: client.exists() and "status" in client.read_text(), 30)
    lines = [json.loads(line) for line in client.read_text().splitlines()]
    told = {(name, step): value for name, value, step in lines}
    assert told["agent", None] == "evolution"
    assert [told.get(("seed_0/search_score", node.step)) for node in nodes] == [node.fitness for node in nodes]
    assert told["status", None] == "FINISHED"
    assert said == ["--track mlflow: 3 steps were sent"] or "at most a minute" in said[0]


@pytest.mark.parametrize("mode", BROKEN)
def test_a_broken_client_changes_nothing(
    mode: str, client: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, without: list[object]
) -> None:
    monkeypatch.setenv("FAKE_MODE", mode)
    monkeypatch.setattr(tracking, "PATIENCE_S", 0.3)
    said: list[str] = []
    begun_s = time.monotonic()
    nodes, took_s = played(tmp_path / "with", "mlflow", said)
    assert time.monotonic() - begun_s < took_s + 2, "the end waits for nobody"
    assert facts(nodes) == without
    assert len(said) == 1
    assert "\n" not in said[0]
    assert "\x1b" not in said[0]


def test_a_client_that_hangs_and_is_killed_in_the_middle_changes_nothing(
    client: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, without: list[object]
) -> None:
    """The run waits at its first step until the client hangs, then goes on beside it; at the second it is killed."""
    monkeypatch.setenv("FAKE_MODE", "send hangs")
    said: list[str] = []
    host = played_host(tmp_path / "with", played_sandbox())
    process = tracking._started("mlflow", host.paths.runs / "run", said.append)
    assert process is not None

    def watch(progress: Progress) -> None:
        if progress.step == 1 and progress.phase == "finished a step":
            eventually(client.with_name("told.hangs").exists)
        if progress.step == 2 and progress.phase == "finished a step":
            process.send_signal(signal.SIGKILL)

    done = run_api(request(steps=3), host, watch=watch)
    tracking._let_go("mlflow", process, 5, said.append)
    assert facts(done.record.seeds[0].nodes) == without
    assert said == ["--track mlflow: the mirror ended early (status -9); the run is not affected"]


def test_a_client_is_imported_while_a_run_is_made_ready(client: Path) -> None:
    """It takes seconds of a core, which a short run would have to wait for at its end, or share with its steps."""
    process = tracking._started("mlflow", client.parent / "absent", lambda text: None)
    assert process is not None
    assert eventually(client.with_name("told.imported").exists, 30)


def test_a_server_that_accepts_and_never_answers_changes_nothing(
    client: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, without: list[object]
) -> None:
    with socket.create_server(("127.0.0.1", 0)) as server:
        monkeypatch.setenv("FAKE_PORT", str(server.getsockname()[1]))
        monkeypatch.setenv("FAKE_MODE", "open waits for a socket")
        monkeypatch.setattr(tracking, "PATIENCE_S", 0.3)
        said: list[str] = []
        begun_s = time.monotonic()
        nodes, took_s = played(tmp_path / "with", "mlflow", said)
        assert time.monotonic() - begun_s < took_s + 2
    assert facts(nodes) == without
    assert "goes on for at most a minute" in said[0]


def test_what_a_slow_disk_has_not_taken_by_the_end_is_sent_after_it(
    client: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, without: list[object]
) -> None:
    monkeypatch.setenv("FAKE_MODE", "send is slow")
    monkeypatch.setattr(tracking, "PATIENCE_S", 0.1)
    said: list[str] = []
    nodes, took_s = played(tmp_path / "with", "mlflow", said)
    assert facts(nodes) == without
    assert took_s < 10, "four seconds of a client that sleeps are none of the run's"
    assert "goes on for at most a minute" in said[0]
    assert eventually(lambda: client.exists() and "status" in client.read_text(), 60)
    told = {(name, step) for name, _, step in map(json.loads, client.read_text().splitlines())}
    assert {("seed_0/search_score", node.step) for node in nodes if node.fitness is not None} <= told


def test_a_mirror_ends_with_the_process_that_it_mirrors(client: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """However that dies: the kernel closes its end of the pipe."""
    process = tracking._started("mlflow", client.parent / "absent", lambda text: None)
    assert process is not None
    assert process.stdin is not None
    process.stdin.close()
    assert process.wait(20) == 0
    assert process.stdout is not None
    assert json.loads(process.stdout.read()) == {"steps": 0, "problem": ""}


def test_a_tracker_is_told_nothing_hidden(
    machine: Machine,  # noqa: F811
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    folder = machine.run()
    told: list[object] = []

    class Kept:
        def __init__(self, name: str, manifest: Manifest) -> None:
            told.append((name, settings_of(manifest)))

        def sent(self, seed: int) -> int:
            return 0

        def step(self, seed: int, step: int, at: str, values: object) -> None:
            told.append((seed, step, at, values))

        def close(self, *, ended: bool) -> None:
            told.append(ended)

    monkeypatch.setitem(TRACKERS, "kept", Kept)
    for seed in (0, 1):
        (folder.seed(seed).path / "hidden").rename(folder.seed(seed).path / "gone")  # it is not even opened
    mirror = Mirror("kept", RunFolder(folder.path))
    assert mirror.look()
    assert mirror.close()
    assert (len(told), told[-1]) == (8, True)
    data = json.dumps(told).encode()
    assert [number for number in HIDDEN if holds(data, number)] == []
    assert b"0.7123" in data


def test_what_was_sent_is_not_sent_again(
    machine: Machine,  # noqa: F811
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    folder = machine.run()
    steps: list[tuple[int, int]] = []
    failing = [True, False]

    class Kept:
        def __init__(self, name: str, manifest: Manifest) -> None:
            pass

        def sent(self, seed: int) -> int:
            return 1  # by a mirror before a stop

        def step(self, seed: int, step: int, at: str, values: object) -> None:
            if step == 3 and failing.pop(0):
                raise ConnectionError("gone")
            steps.append((seed, step))

    monkeypatch.setitem(TRACKERS, "kept", Kept)
    mirror = Mirror("kept", RunFolder(folder.path))
    failing.append(False)
    assert not mirror.look()
    assert mirror.problem == "ConnectionError: gone"
    assert mirror.look()
    assert mirror.look()
    assert steps == [(0, 2), (0, 3), (1, 2), (1, 3)]


def test_a_mirror_has_no_key_of_a_provider() -> None:
    given = {
        "OPENAI_API_KEY": "a",
        "HF_TOKEN": "b",
        "MY_SECRET": "c",
        "WANDB_API_KEY": "d",
        "MLFLOW_TRACKING_TOKEN": "e",
    }
    found = environment_of_mirror(given | {"PATH": "/bin"})
    assert set(found) & set(given) == {"WANDB_API_KEY", "MLFLOW_TRACKING_TOKEN"}
    assert found["PATH"] == "/bin"


def test_a_missing_client_is_one_line_before_anything_begins(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("importlib.util.find_spec", lambda name: None)
    with pytest.raises(PrerequisiteError) as refused:
        require_tracker("wandb")
    assert (refused.value.message, refused.value.hint) == (
        "--track wandb needs wandb, which is not installed.", "pip install 'aira-bench[wandb]'",
    )  # fmt: skip
    require_tracker(None)


@pytest.mark.parametrize("command", [["run", "--agent", "noop", "--task", "mad-2p"], ["resume", "one"]])
def test_run_and_resume_take_the_option(command: list[str]) -> None:
    assert build_parser().parse_args([*command, "--track", "wandb"]).track == "wandb"
    assert build_parser().parse_args(command).track is None
