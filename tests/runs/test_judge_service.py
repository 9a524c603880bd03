"""What a judge node does with what it is told: it compares, refuses by name, judges once, and takes bytes for bytes."""

import hashlib
import io
import threading
from collections.abc import Callable, Iterator
from pathlib import Path

import pytest
from hypothesis import given
from hypothesis import strategies as st

from aira_bench.evaluation.verdict import Refused, Scored
from aira_bench.record.manifest import Compatibility
from aira_bench.remote_judging.messages import (
    Asking,
    Body,
    BrokenMessage,
    Busied,
    Failing,
    HiddenHalf,
    Judged,
    Opening,
    decode_verdict,
    encode_verdict,
    packed,
    read_message,
)
from aira_bench.remote_judging.nodes import NodeConnection, NodeLost, NodeUnlike
from aira_bench.remote_judging.remote_judge import AgreedJudges
from aira_bench.runs.host import stand
from aira_bench.runs.resolve import resolve
from aira_bench.tasks.task import find_task
from aira_bench.testing import Call, Done
from aira_contract.framing import LENGTH
from eventually import eventually
from judge_nodes import PlayedNode, another_machine, judge_nodes, played_node, searching_host
from played_host import request

SUBMISSION = b"architecture\n" + b",".join([b"A", b"M"] * 8) + b"\n"
SHA256 = hashlib.sha256(SUBMISSION).hexdigest()
OTHER = "0" * 64


@pytest.fixture
def node(tmp_path: Path) -> PlayedNode:
    return played_node(tmp_path / "node")


@pytest.fixture
def agreed(tmp_path: Path, node: PlayedNode) -> Iterator[AgreedJudges]:
    """What a run and the node agreed on."""
    with another_machine():
        desk = searching_host(tmp_path / "desk", node)
        found = resolve(request(cores=(0,)), desk.paths, desk.world)
        ground = stand(desk, found, "agent", lambda text: None, run_id="ab12")
        assert ground.judges is not None
        yield ground.judges


def opening(agreed: AgreedJudges, **changes: object) -> Opening:
    known = {"hidden": agreed.opened.hidden, "hardware_class": agreed.opened.hardware_class, "probe": False, "cores": 1}
    return agreed.opening.model_copy(update=known | changes)


def connected(agreed: AgreedJudges, node: PlayedNode) -> NodeConnection:
    return NodeConnection(judge_nodes(node).nodes[0], opening(agreed))


def asking(name: str = "a" * 64, canonical: str | None = None) -> Asking:
    return Asking(id=name, canonical=canonical, training=0, limit_s=60.0, owner="evaluation")


def asked(connection: NodeConnection, question: Asking, content: bytes = SUBMISSION) -> tuple[Judged | Failing, bytes]:
    return connection.ask(question, content, hashlib.sha256(content).hexdigest())


def with_plan(**changes: object) -> Callable[[Opening], dict[str, object]]:
    return lambda known: {"plan": known.plan.model_copy(update=changes)}


def changed(name: str, value: object) -> Callable[[Opening], dict[str, object]]:
    return lambda known: {name: value}


def hidden(**changes: object) -> Callable[[Opening], dict[str, object]]:
    return lambda known: {"hidden": known.hidden and known.hidden.model_copy(update=changes)}


def compatibility(known: Opening) -> dict[str, object]:
    return {"compatibility": Compatibility(**known.compatibility.model_dump() | {"version": 99})}


DIFFERENT: list[tuple[str, Callable[[Opening], dict[str, object]]]] = [
    ("protocol", changed("protocol", 99)),
    ("aira-bench", changed("aira_bench", "0.0.1")),
    ("task", changed("task_sha256", OTHER)),
    ("task", with_plan(task="../../etc")),
    ("task", with_plan(task="os:getcwd")),
    ("data source", with_plan(source="/etc")),
    ("evaluator", compatibility),
    ("image", changed("evaluator_image", "evaluator:other")),
    ("public data", changed("public_sha256", OTHER)),
    ("hidden data", hidden(sha256=OTHER)),
    ("hidden key", hidden(key=OTHER)),
    ("hidden key", hidden(key=None)),
    ("hardware class", changed("hardware_class", "H100")),
]


@pytest.mark.parametrize(("what", "change"), DIFFERENT)
def test_what_differs_is_refused_by_its_name_and_nothing_is_judged(
    agreed: AgreedJudges, node: PlayedNode, what: str, change: Callable[[Opening], dict[str, object]]
) -> None:
    known, before = opening(agreed), node.sandbox.calls
    with pytest.raises((NodeUnlike, NodeLost)) as caught:
        NodeConnection(judge_nodes(node).nodes[0], known.model_copy(update=change(known)))
    assert f"{what} is " in str(caught.value) or "no message" in str(caught.value)
    assert node.sandbox.calls == before


def test_code_of_others_and_submissions_that_are_code_are_not_judged(agreed: AgreedJudges, node: PlayedNode) -> None:
    code, plan = find_task("lra-text"), agreed.opening.plan
    for changes in (
        {"plan": plan.model_copy(update={"evaluator": "os:getcwd"})},
        {"plan": plan.model_copy(update={"task": code.name}), "task_sha256": code.sha256},
    ):
        with pytest.raises(NodeLost, match="no such code may run on a judge node"):
            NodeConnection(judge_nodes(node).nodes[0], opening(agreed, **changes))


def test_a_request_of_one_name_gets_one_verdict_whoever_asks_again(agreed: AgreedJudges, node: PlayedNode) -> None:
    canonical = ",".join(["A", "M"] * 8)
    first = connected(agreed, node)
    answers = [asked(first, asking(canonical=canonical))]
    calls = node.sandbox.calls
    answers.append(asked(first, asking(canonical=canonical)))
    first.close()
    second = connected(agreed, node)
    answers.append(asked(second, asking(canonical=canonical)))
    assert answers[0] == answers[1] == answers[2]
    assert isinstance(decode_verdict(answers[0][1]), Scored)
    assert node.sandbox.calls == calls
    for other in (asking(canonical="M,A"), asking()):
        found, _ = asked(second, other, SUBMISSION if other.canonical else b"another")
        assert isinstance(found, Failing)
        assert "another submission" in found.message
    found, _ = asked(second, asking("b" * 64, canonical=canonical))
    assert isinstance(found, Judged), "another name is another verdict"
    second.close()


def test_two_that_ask_the_same_at_a_time_get_one_verdict(agreed: AgreedJudges, node: PlayedNode) -> None:
    play, gate, drawn = node.sandbox.responders["judge"], threading.Event(), list[bytes]()

    def slow(question: bytes) -> bytes:
        drawn.append(question)
        assert gate.wait(30)
        return play(question)

    node.sandbox.responders = {"judge": slow}
    canonical, found = ",".join(["A", "M"] * 8), list[tuple[Judged | Failing, bytes]]()

    def ask() -> None:
        connection = connected(agreed, node)
        found.append(asked(connection, asking(canonical=canonical)))
        connection.close()

    threads = [threading.Thread(target=ask) for _ in range(2)]
    for thread in threads:
        thread.start()
    eventually(lambda: bool(drawn), within_s=30)
    gate.set()
    for thread in threads:
        thread.join(60)
    assert len(drawn) == 1
    assert found[0] == found[1]


HOSTILE = [
    b"", b"\0" * 1000, b"../../etc/passwd", bytes(range(256)), b"PK\x03\x04" + b"\0" * 100, b'{"kind":"open"}',
    LENGTH.pack(5) + b"hello", SUBMISSION * 50,
]  # fmt: skip


@pytest.mark.parametrize("content", HOSTILE)
def test_a_submission_reaches_its_container_as_the_bytes_that_it_is_and_is_written_nowhere_else(
    agreed: AgreedJudges, node: PlayedNode, content: bytes
) -> None:
    got: list[Call] = []

    def judge(call: Call) -> Done:
        got.append(call)
        return Done(stderr=b"error: it cannot be read", exit_code=2)

    node.sandbox.programs = {**node.sandbox.programs, "judge": judge}
    connection = connected(agreed, node)
    found, verdict = asked(connection, asking(), content)
    connection.close()
    assert isinstance(found, Judged)
    assert decode_verdict(verdict) == Refused("it cannot be read", 0.0)
    (call,) = got
    assert call.files == {"data/submission.csv": content}
    names = {path.name for path in (node.host.paths.judged / "ab12").rglob("*")}
    assert names == {"a" * 64, f"{'a' * 64}.json", "stdout.txt", "stderr.txt"}


def test_a_submission_beyond_the_tasks_size_is_no_message(agreed: AgreedJudges, node: PlayedNode) -> None:
    connection, most = connected(agreed, node), find_task("mad-2p").metadata.aira.artifact.max_kib * 1024
    found, _ = asked(connection, asking(), b"x" * (most + 1))
    assert isinstance(found, Failing)
    assert "are to follow, at most" in found.message
    connection.close()


def test_whoever_hangs_up_ends_what_was_judged_for_him(agreed: AgreedJudges, node: PlayedNode) -> None:
    begun, play = threading.Event(), node.sandbox.responders["judge"]
    swept, sweep = threading.Event(), node.sandbox.sweep

    def slow(question: bytes) -> bytes:
        begun.set()
        assert swept.wait(30)
        return play(question)

    def seen(run_id: str) -> int:
        if begun.is_set():
            swept.set()
        return sweep(run_id)

    node.sandbox.responders, node.sandbox.sweep = {"judge": slow}, seen  # type: ignore[method-assign]
    connection = connected(agreed, node)
    question = asking(canonical=",".join(["A", "M"] * 8))

    def ask() -> None:
        with pytest.raises(NodeLost):
            asked(connection, question)

    asking_thread = threading.Thread(target=ask)
    asking_thread.start()
    assert begun.wait(30)
    connection.close()
    asking_thread.join(30)
    eventually(lambda: swept.is_set() and not node.sandbox.containers, within_s=30)
    assert not list(node.host.paths.judged.rglob(f"{'a' * 64}.json")), "what was cut short is no verdict"


# Messages -------------------------------------------------------------------------------------------------------------


def reader(data: bytes) -> Callable[[int], bytes]:
    stream = io.BytesIO(data)

    def receive(size: int) -> bytes:
        found = stream.read(size)
        if len(found) < size:
            raise EOFError
        return found

    return receive


@given(st.binary(max_size=300))
def test_any_bytes_are_a_message_or_none(data: bytes) -> None:
    for text in (data, LENGTH.pack(len(data)) + data):
        try:
            read_message(reader(text), lambda: 1000)
        except (BrokenMessage, EOFError):
            continue
        raise AssertionError("no bytes at random are a message")


@given(st.integers(min_value=0), st.integers(min_value=0, max_value=255), st.binary(max_size=50))
def test_a_message_with_one_byte_changed_is_another_or_none(at: int, value: int, content: bytes) -> None:
    body: Body = Judged(id="a" * 64, submission_sha256="b" * 64, used_s=1.5)
    data = packed(body, content)
    assert read_message(reader(data), lambda: 50) == (body, content)
    at %= len(data)
    other = data[:at] + bytes([value]) + data[at + 1 :]
    try:
        found, followed = read_message(reader(other), lambda: 50)
    except (BrokenMessage, EOFError):
        return
    assert followed == content
    assert other == data or found != body or b" " in other


VERDICTS = st.one_of(
    st.builds(Refused, st.text(max_size=50), st.floats(0, 1e6)),
    st.builds(
        Scored, st.floats(-1e6, 1e6), st.none() | st.floats(0, 1), st.none() | st.text(max_size=20), st.just("1"),
        st.floats(0, 1e6), flags=st.tuples(st.just("odd")), remarks=st.tuples(st.just("a remark")),
    ),
)  # fmt: skip


@given(VERDICTS)
def test_a_verdict_comes_back_as_it_went(verdict: Scored | Refused) -> None:
    assert decode_verdict(encode_verdict(verdict)) == verdict


@pytest.mark.parametrize(
    "text", [b"", b"{}", b"[]", b'{"scored":{}}', b'{"refused":{"reason":"x"}}', b'{"scored":1}', b'{"other":{}}', b"1",
             b'{"refused":{"reason":"x","seconds":1,"attempts":1,"gpu":null,"more":1}}', b"\xff"]
)  # fmt: skip
def test_what_is_no_verdict_is_refused(text: bytes) -> None:
    with pytest.raises(BrokenMessage):
        decode_verdict(text)


def test_a_half_names_a_key_or_none() -> None:
    assert HiddenHalf(sha256=OTHER, size_bytes=1, key="").key == ""
    assert Busied().told == ""
    with pytest.raises(ValueError, match="key"):
        HiddenHalf(sha256=OTHER, size_bytes=1, key="short")
