"""Runs whose submissions are judged on other machines, on played ones: what is where, and what becomes of each failure."""

import hashlib
import json
from collections.abc import Callable, Iterator
from dataclasses import replace
from functools import partial
from pathlib import Path
from threading import Event
from typing import BinaryIO

import pytest

from aira_bench.boards.board import tables_of
from aira_bench.errors import JudgesAway, PrerequisiteError, RunStateError, SandboxError, UsageError
from aira_bench.hidden_keys import make_hidden_key
from aira_bench.record.folder import RunFolder
from aira_bench.record.run_record import RunRecord, read_run
from aira_bench.record.trust import read_confirmable, read_resumable
from aira_bench.remote_judging import nodes
from aira_bench.remote_judging.messages import Judged, packed, read_message
from aira_bench.remote_judging.nodes import JudgeNodes
from aira_bench.runs import launch
from aira_bench.runs.confirm import confirm
from aira_bench.runs.host import Host
from aira_bench.runs.launch import resume, start
from aira_bench.runs.resolve import resolve
from aira_bench.runs.session import SearchSession
from aira_bench.sandbox import patience
from aira_bench.testing import Call, Done
from judge_nodes import PlayedNode, Serving, another_machine, played_node, searching_host
from played_host import played_host, played_sandbox, request
from shared_runs import tree

SECRET = "labels derived from "


def prepare(call: Call) -> Done:
    """Hidden data is a function of the key, and only that."""
    output = next(mount.source for mount in call.spec.mounts if mount.writable)
    hidden = SECRET + hashlib.sha256(call.spec.environment.get("AIRA_HIDDEN_KEY", "").encode()).hexdigest()
    (output / "data.txt").write_text(hidden if output.name == "hidden" else "public")
    return Done()


@pytest.fixture(autouse=True)
def searched_elsewhere() -> Iterator[None]:
    with another_machine():
        yield


@pytest.fixture
def node(tmp_path: Path) -> PlayedNode:
    return played_node(tmp_path / "node", sandbox=played_sandbox(prepare=prepare))


@pytest.fixture
def desk(tmp_path: Path, node: PlayedNode) -> Host:
    return searching_host(tmp_path / "desk", node, sandbox=played_sandbox(prepare=prepare))


def twin(tmp_path: Path, node: PlayedNode) -> PlayedNode:
    """Another node with the same key."""
    key = node.host.paths.keys / "hidden.key"
    return played_node(tmp_path / "twin", key=key, sandbox=played_sandbox(prepare=prepare))


def run(host: Host, notes: Callable[[str], None] = lambda text: None, **wishes: object) -> RunFolder:
    asked = request(**{"cores": (0,), "steps": 3} | wishes)  # type: ignore[arg-type]
    return start(host, resolve(asked, host.paths, host.world), notes, lambda progress: None)


def record_of(host: Host, folder: RunFolder) -> RunRecord:
    return read_run(folder, host.keys.ring(), "all")


def files(root: Path) -> Iterator[Path]:
    return (path for path in root.rglob("*") if path.is_file())


# What is where --------------------------------------------------------------------------------------------------------


def test_a_run_is_what_it_is_here_and_its_hidden_data_and_key_are_on_the_node_alone(
    desk: Host, node: PlayedNode, tmp_path: Path
) -> None:
    folder = run(desk, confirm=True)
    record, manifest = record_of(desk, folder), folder.manifest
    local = played_host(tmp_path / "local", played_sandbox(prepare=prepare))
    assert tree(record) == tree(record_of(local, run(local, confirm=True)))
    assert [len(seed.confirmations.done) for seed in record.seeds] == [manifest.trainings]

    assert node.key is not None
    assert node.key.secret is not None
    assert manifest.plan.hidden_key == manifest.data["hidden_key"] == node.key.sha256
    for path in files(tmp_path / "desk"):
        content = path.read_bytes()
        assert SECRET.encode() not in content, path
        assert node.key.secret.encode() not in content, path
    assert not [path for path in (tmp_path / "desk").rglob("hidden") if "tasks" in path.parts]
    assert not [path for path in files(tmp_path / "desk") if path.name == "hidden.key"]
    held = [path for path in files(tmp_path / "node") if SECRET.encode() in path.read_bytes()]
    assert [path.parent.name for path in held] == ["hidden"]


def test_records_and_boards_say_that_judges_were_elsewhere_and_not_where(desk: Host) -> None:
    folder = run(desk)
    assert folder.manifest.judges is not None
    assert (folder.manifest.judges.by, folder.manifest.judges.nodes) == ("ssh", 1)
    (table,) = tables_of([record_of(desk, folder)], desk.keys.ring())
    assert table.rows[0].entry.isolation == "shared, judges elsewhere (ssh)"


def test_what_was_judged_here_and_elsewhere_stands_in_rows_of_its_own(desk: Host, tmp_path: Path) -> None:
    local = played_host(tmp_path / "local", played_sandbox(prepare=prepare))
    both = [record_of(desk, run(desk)), record_of(local, run(local, name="other"))]
    assert len([row for table in tables_of(both, desk.keys.ring()) for row in table.rows]) == 2


@pytest.mark.parametrize("task", ["autoresearch", "lra-text"])
def test_submissions_that_are_code_are_refused_by_name(desk: Host, node: PlayedNode, task: str) -> None:
    with pytest.raises(UsageError, match="no such code may run on a judge node"):
        run(desk, task=task, agent="noop")
    assert node.reached == 0


def test_a_machine_that_has_the_key_or_the_data_too_may_not_search(
    desk: Host, node: PlayedNode, tmp_path: Path
) -> None:
    place = desk.paths.keys / "hidden.key"
    place.parent.mkdir(parents=True, exist_ok=True)
    place.write_bytes((node.host.paths.keys / "hidden.key").read_bytes())
    place.chmod(0o600)
    with pytest.raises(PrerequisiteError, match="has the hidden key of the judge nodes"):
        run(desk)
    run(replace(desk, judges=None, sandbox=played_sandbox(prepare=prepare)), name="local")
    place.unlink()
    with pytest.raises(PrerequisiteError, match="has the hidden data of mad-2p") as caught:
        run(desk)
    assert "rm -r" in (caught.value.hint or "")
    file = tmp_path / "another.key"
    make_hidden_key(file)
    with pytest.raises(UsageError, match="derived on judge nodes"):
        run(desk, hidden_key=str(file))


def test_a_node_that_is_the_searching_machine_is_refused(desk: Host) -> None:
    from aira_bench.sandbox.owner import boot_id

    with another_machine(boot_id()), pytest.raises(PrerequisiteError, match="machine is the same"):
        run(desk)


# Going on -------------------------------------------------------------------------------------------------------------


def test_a_run_goes_on_where_it_is_judged_and_says_so_where_nobody_names_the_judges(
    desk: Host, node: PlayedNode, tmp_path: Path
) -> None:
    folder = run(desk)
    record = read_resumable(folder, desk.keys.ring(), trust_agent=False)
    with pytest.raises(RunStateError, match="judged on other machines") as caught:
        resume(replace(desk, judges=None), record, lambda text: None, lambda progress: None)
    assert "--judge-on" in (caught.value.hint or "")
    with pytest.raises(RunStateError, match="judged on other machines"):
        confirm(replace(desk, judges=None), read_confirmable(folder, desk.keys.ring()), lambda text: None)
    confirm(desk, read_confirmable(folder, desk.keys.ring()), lambda text: None)
    assert len(record_of(desk, folder).seeds[0].confirmations.done) == folder.manifest.trainings

    local = played_host(tmp_path / "local", played_sandbox(prepare=prepare))
    here = run(local)
    record = read_resumable(here, local.keys.ring(), trust_agent=False)
    with pytest.raises(RunStateError, match="judged on this machine"):
        resume(replace(local, judges=desk.judges), record, lambda text: None, lambda progress: None)


def test_a_run_that_was_judged_here_is_confirmed_elsewhere_under_a_key_that_it_never_had(
    desk: Host, node: PlayedNode
) -> None:
    here = replace(desk, judges=None, sandbox=played_sandbox(prepare=prepare))
    folder = run(here)
    confirm(desk, read_confirmable(folder, desk.keys.ring()), lambda text: None)
    (seed,) = record_of(desk, folder).seeds
    assert node.key is not None
    assert {key for key, _, _ in seed.confirmations.done} == {node.key.sha256}


def test_a_node_whose_hidden_key_changed_is_refused_by_that_name(desk: Host, node: PlayedNode) -> None:
    folder = run(desk)
    place = node.host.paths.keys / "hidden.key"
    place.unlink()
    make_hidden_key(place)
    with pytest.raises(PrerequisiteError, match="judge node 1 is not what the run expects: hidden key is"):
        resume(
            desk, read_resumable(folder, desk.keys.ring(), trust_agent=False), lambda text: None, lambda progress: None
        )


# Failures -------------------------------------------------------------------------------------------------------------


@pytest.fixture
def impatient(monkeypatch: pytest.MonkeyPatch) -> None:
    """Nobody is waited for longer than half a second."""
    monkeypatch.setattr(patience, "MOST_S", 0.5)
    monkeypatch.setattr(patience, "_FIRST_S", 0.05)
    monkeypatch.setattr(nodes, "SILENCE_S", 1.0)
    monkeypatch.setattr(launch, "SearchSession", partial(SearchSession, retry_pauses_s=(0.0, 0.0)))


def test_a_run_does_not_begin_where_no_node_answers(desk: Host, node: PlayedNode) -> None:
    node.is_down = True
    with pytest.raises(PrerequisiteError, match="status 255: Connection refused") as caught:
        run(desk)
    assert "cluster check --judge-on" in (caught.value.hint or "")


def test_nodes_of_two_keys_are_refused(tmp_path: Path, node: PlayedNode) -> None:
    other = played_node(tmp_path / "other", sandbox=played_sandbox(prepare=prepare))
    desk = searching_host(tmp_path / "desk", node, other, sandbox=played_sandbox(prepare=prepare))
    with pytest.raises(PrerequisiteError, match="judge node 2 has another hidden key than judge node 1"):
        run(desk)


def test_the_next_node_judges_where_one_cannot_be_reached(tmp_path: Path, node: PlayedNode) -> None:
    second = twin(tmp_path, node)
    desk = searching_host(tmp_path / "desk", node, second, sandbox=played_sandbox(prepare=prepare))

    def note(text: str) -> None:
        node.is_down = node.is_down or text.startswith("probing")

    folder = run(desk, note)
    assert [each.step_class for each in record_of(desk, folder).seeds[0].nodes] == ["valid"] * 3
    assert (node.reached, second.reached) == (1, 2)


def test_a_node_whose_engine_is_down_is_waited_for_and_then_the_seed_halts_and_can_go_on(
    desk: Host, node: PlayedNode, impatient: None
) -> None:
    said: list[str] = []

    def no_engine(call: str, role: str | None) -> None:
        raise JudgesAway("Docker does not answer.")

    def note(text: str) -> None:
        if text.startswith("probing"):
            node.sandbox.before = no_engine

    asked = request(cores=(0,), steps=3)
    with pytest.raises(SandboxError, match="Docker does not answer") as caught:
        start(desk, resolve(asked, desk.paths, desk.world), note, lambda progress: said.append(progress.phase))
    assert "aira-bench resume run --judge-on ssh:one,two" in (caught.value.hint or "")
    assert any("no judge node can be used, next try in" in each for each in said)
    node.sandbox.before = lambda call, role: None
    folder = RunFolder(desk.paths.runs / "run")
    assert record_of(desk, folder).seeds[0].nodes == ()
    resume(desk, read_resumable(folder, desk.keys.ring(), trust_agent=False), lambda text: None, lambda progress: None)
    assert [each.step_class for each in record_of(desk, folder).seeds[0].nodes] == ["valid"] * 3


class Tampering:
    """Stands in the way of what a node sends, from its first verdict on, so many times."""

    def __init__(self, how: str, times: int = 1) -> None:
        self.how, self.left, self.tampered = how, times, 0

    def __call__(self, serving: Serving) -> Serving:
        return lambda source, sink: serving(source, _Tampered(sink, self))  # type: ignore[arg-type]


class _Tampered:
    def __init__(self, sink: BinaryIO, by: Tampering) -> None:
        self._sink, self._by, self._is_silent = sink, by, False

    def write(self, data: bytes) -> int:
        if self._is_silent:
            return len(data)
        if b'"kind":"judged"' in data and self._by.left:
            self._by.left -= 1
            self._by.tampered += 1
            data = self._tampered(data)
        return self._sink.write(data)

    def _tampered(self, data: bytes) -> bytes:
        match self._by.how:
            case "is killed":
                raise BrokenPipeError
            case "half an answer":
                self._sink.write(data[: len(data) // 2])
                self._sink.flush()
                raise BrokenPipeError
            case "wrong hash":
                return data[:-3] + bytes([data[-3] ^ 1]) + data[-2:]
            case "another's answer":
                body, verdict = read_message(iter_reader(data), lambda: 1 << 20)
                assert isinstance(body, Judged)
                return packed(body.model_copy(update={"id": "0" * 64}), verdict)
            case "silence":
                self._is_silent = True
                return b""
            case _:
                return b"Welcome to judge1!\n" + data

    def flush(self) -> None:
        self._sink.flush()


def iter_reader(data: bytes) -> Callable[[int], bytes]:
    at = [0]

    def receive(size: int) -> bytes:
        at[0] += size
        return data[at[0] - size : at[0]]

    return receive


HOW = ["is killed", "half an answer", "wrong hash", "another's answer", "silence", "a word of greeting"]


@pytest.mark.parametrize("how", HOW)
def test_a_verdict_that_was_lost_on_its_way_is_asked_for_again_and_is_the_same(
    desk: Host, node: PlayedNode, impatient: None, tmp_path: Path, how: str
) -> None:
    drawn: list[str] = []
    play = node.sandbox.responders["judge"]

    def draw(asked: bytes) -> bytes:
        drawn.append(json.loads(asked)["architecture"])
        return play(asked)

    node.sandbox.responders = {"judge": draw}
    node.between = tampering = Tampering(how)
    record = record_of(desk, run(desk))
    assert tampering.tampered == 1
    assert len(drawn) == len(set(drawn)), "no submission was judged twice"
    local = played_host(tmp_path / "local", played_sandbox(prepare=prepare))
    fitness = [[node.fitness for node in seed.nodes] for seed in record.seeds]
    assert fitness == [[node.fitness for node in seed.nodes] for seed in record_of(local, run(local)).seeds]
    assert [each.step_class for each in record.seeds[0].nodes] == ["valid"] * 3


@pytest.mark.parametrize("how", ["half an answer", "silence"])
def test_a_node_that_is_lost_each_time_halts_the_seed_and_is_no_verdict(
    desk: Host, node: PlayedNode, impatient: None, how: str
) -> None:
    node.between = Tampering(how, times=99)
    with pytest.raises(SandboxError, match="judge node 1") as caught:
        run(desk)
    assert "--judge-on" in (caught.value.hint or "")
    assert record_of(desk, RunFolder(desk.paths.runs / "run")).seeds[0].nodes == ()


def test_a_judge_that_never_comes_to_an_end_is_left(
    desk: Host, node: PlayedNode, impatient: None, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(nodes, "MOST_TIMES", 0.0)
    monkeypatch.setattr(nodes, "_GRACE_S", 0.3)
    monkeypatch.setattr("aira_bench.runs.judge_service.HEARTBEAT_S", 0.1)
    play, stop = node.sandbox.responders["judge"], node.sandbox.sweep
    begun, swept = Event(), Event()

    def hang(asked: bytes) -> bytes:
        if not begun.is_set():
            begun.set()
            assert swept.wait(60)
        return play(asked)

    def sweep(run_id: str) -> int:
        if begun.is_set():
            swept.set()
        return stop(run_id)

    node.sandbox.responders = {"judge": hang}

    node.sandbox.sweep = sweep  # type: ignore[method-assign]
    assert [each.step_class for each in record_of(desk, run(desk)).seeds[0].nodes] == ["valid"] * 3
    assert node.reached == 3, "once to agree, and once more after the first that judged was left"


def test_time_that_a_node_was_waited_for_is_none_of_the_seeds(desk: Host, node: PlayedNode) -> None:
    node.sandbox.seconds = {}
    folder = run(desk, steps=1)
    (only,) = record_of(desk, folder).seeds[0].nodes
    assert only.timings.evaluate_s < 1.0


@pytest.mark.parametrize(
    ("text", "by", "count"), [("one", "ssh", 1), ("ssh:u@one,two.lab", "ssh", 2), ("ray:judge", "ray", 1)]
)
def test_nodes_are_named_by_hosts_or_by_a_resource(text: str, by: str, count: int) -> None:
    found = JudgeNodes.of(text)
    assert (found.by, len(found.nodes)) == (by, count)
    assert all(each.address not in each.told(f"cannot reach {each.address}: x") for each in found.nodes if each.address)


@pytest.mark.parametrize(
    ("host", "said", "told"),
    [
        ("judge1", "ssh: connect to host 10.1.2.3 port 22: Connection refused",
         "ssh: connect to host judge node 1 port 22: Connection refused"),
        ("judge1", "u@secret.lab.example: Permission denied (publickey).", "judge node 1: Permission denied (publickey)."),
        ("judge1", "ssh: Could not resolve hostname secret.lab.example: Name or service not known",
         "ssh: Could not resolve hostname judge node 1: Name or service not known"),
        ("judge1", "Connection closed by fd00::1 port 22", "Connection closed by judge node 1 port 22"),
        ("judge1", "ssh: connect to host judge1.lab.example port 22: x", "ssh: connect to host judge node 1 port 22: x"),
        ("a", "ssh ended with status 255: a bad day at 12:34:56", "ssh ended with status 255: judge node 1 bad day at 12:34:56"),
        ("ss", "ssh ended with status 255", "ssh ended with status 255"),
    ],
)  # fmt: skip
def test_what_ssh_says_names_no_machine(
    host: str, said: str, told: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """It calls a host by what the user's settings have for it, and that came into leases and records."""
    settings = tmp_path / "settings"
    settings.write_text("Host judge*\n  HostName secret.lab.example\n")
    monkeypatch.setenv("AIRA_SSH", f"ssh -F {settings}")
    (node,) = JudgeNodes.of(f"ssh:{host}").nodes
    assert node.told(said) == told


@pytest.mark.parametrize("text", ["", "ssh:", "ray:", "-oProxyCommand=x", "ssh:a,-x", "a,,b", "a,a", "ray:x y", "a b"])
def test_what_names_no_nodes_is_refused(text: str) -> None:
    with pytest.raises(UsageError, match="--judge-on"):
        JudgeNodes.of(text)
