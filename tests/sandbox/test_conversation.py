"""Conversations: whole messages only, one for each request, and a dead container after the first breach."""

import os
import struct
import subprocess
import sys
import threading
import time
from collections.abc import Callable, Iterator
from pathlib import Path

import pytest
from hypothesis import given
from hypothesis import strategies as st

from aira_bench.docker_engine import DockerEngine
from aira_bench.errors import SandboxError
from aira_bench.sandbox.conversation import Answers, DockerConversation, framed
from aira_bench.sandbox.docker_sandbox import DockerSandbox
from aira_bench.sandbox.sandbox import ContainerSpec, Conversation
from eventually import eventually, stretched

MOST = 64
SOON_S = 0.05


def answers() -> Answers:
    made = Answers(MOST)
    made.expect()
    return made


def wait(some: Answers, seconds: float = SOON_S) -> bytes:
    ends_s = time.monotonic() + seconds
    return some.wait(lambda: ends_s - time.monotonic())


@given(st.lists(st.binary(max_size=MOST), min_size=1, max_size=4), st.lists(st.integers(1, 80), max_size=30))
def test_messages_arrive_whole_however_they_are_cut(messages: list[bytes], cuts: list[int]) -> None:
    some = Answers(MOST)
    for message in messages:
        some.expect()
        data = framed(message)
        for cut in cuts:
            some.write(data[:cut])
            data = data[cut:]
        some.write(data)
        assert wait(some) == message


@given(st.binary(max_size=MOST), st.binary(min_size=1, max_size=9))
def test_one_byte_too_many_is_never_part_of_the_next_answer(message: bytes, more: bytes) -> None:
    together = answers()
    together.write(framed(message) + more)
    with pytest.raises(SandboxError, match=r"more than one message|announced"):
        wait(together)
    later = answers()
    later.write(framed(message))
    assert wait(later) == message
    later.write(more)
    with pytest.raises(SandboxError, match="without being asked"):
        later.expect()


def test_a_message_beyond_the_cap_is_refused_by_its_length_alone() -> None:
    some = answers()
    some.write(struct.pack(">I", MOST + 1))
    with pytest.raises(SandboxError, match="announced 65 bytes, at most 64"):
        wait(some)


def test_silence_and_an_end_break_it_for_good() -> None:
    silent, ended = answers(), answers()
    silent.write(framed(b"abc")[:-1])
    with pytest.raises(TimeoutError):
        wait(silent)
    silent.write(b"c")
    with pytest.raises(SandboxError, match="in time"):
        silent.expect()
    ended.end()
    with pytest.raises(SandboxError, match="it ended"):
        wait(ended)


def test_an_answer_wakes_whoever_waits() -> None:
    some = answers()
    threading.Timer(SOON_S, some.write, [framed(b"yes")]).start()
    started_s = time.monotonic()
    assert wait(some, 30) == b"yes"
    assert time.monotonic() - started_s < stretched(10)


def test_an_interrupted_request_ends_the_conversation() -> None:
    some, killed = Answers(MOST), []

    def interrupt(data: bytes, timeout_s: float) -> None:
        some.write(framed(b"an answer on its way"))
        raise KeyboardInterrupt

    conversation = DockerConversation(interrupt, some, MOST, lambda: killed.append(1), str)
    with pytest.raises(KeyboardInterrupt):
        conversation.ask(b"first", timeout_s=1)
    assert killed == [1]
    with pytest.raises(SandboxError, match="broke"):
        conversation.ask(b"second", timeout_s=1)


COMMAND = """
import os, struct, sys, time
def say(data): sys.stdout.buffer.write(struct.pack(">I", len(data)) + data); sys.stdout.buffer.flush()
def hear():
    head = sys.stdin.buffer.read(4)
    return sys.stdin.buffer.read(struct.unpack(">I", head)[0]) if head else sys.exit(7)
if "shy" in sys.argv: time.sleep(600)
if "rude" in sys.argv: print("hello")
say(b"ready")
while True:
    request = hear()
    if request == b"sleep": time.sleep(600)
    if request == b"die": sys.exit("so I end")
    if request == b"twice": say(b"one"); say(b"two")
    if request == b"long": say(bytes(5000))
    if request == b"later": say(b"later"); time.sleep(0.3); say(b"unasked")
    say(request[::-1])
"""
Begin = Callable[..., Conversation]


@pytest.fixture
def begin(sandbox: DockerSandbox, spec: ContainerSpec) -> Iterator[Begin]:
    opened = []

    def begin(*arguments: str, timeout_s: float = 30) -> Conversation:
        opened.append(sandbox.prepare(spec))
        return opened[-1].converse(
            ["python3", "-u", "c.py", *arguments],
            files={"c.py": COMMAND.encode()}, most_bytes=4096, timeout_s=timeout_s,
        )  # fmt: skip

    yield begin
    for container in opened:
        container.close()


@pytest.mark.docker
def test_one_container_answers_many_requests(begin: Begin) -> None:
    conversation = begin()
    for number in range(50):
        request = f"{number}-".encode() * (number % 7)
        assert conversation.ask(request, timeout_s=10) == request[::-1]
    assert conversation.ask(bytes(4096), timeout_s=10) == bytes(4096)
    with pytest.raises(ValueError, match="4097 bytes"):
        conversation.ask(bytes(4097), timeout_s=10)
    assert conversation.ask(b"still", timeout_s=10) == b"llits"


def ask_twice(conversation: Conversation, request: bytes) -> None:
    """A second word may come a moment after the first, or be taken for an answer once: the next is one too many then."""
    timeout_s = 2 if request == b"sleep" else 60
    conversation.ask(request, timeout_s=timeout_s)
    for _ in range(3):
        time.sleep(0.5)
        conversation.ask(b"next", timeout_s=timeout_s)


@pytest.mark.docker
@pytest.mark.parametrize(
    ("request_", "message"),
    [
        (b"sleep", "did not answer in time"),
        (b"die", "it ended. Its last words: so I end"),
        (b"twice", r"more than one message|without being asked"),
        (b"long", "announced 5000 bytes"),
    ],
)
def test_a_breach_kills_the_container(
    begin: Begin, engine: DockerEngine, spec: ContainerSpec, request_: bytes, message: str
) -> None:
    conversation = begin()
    assert conversation.ask(b"first", timeout_s=10) == b"tsrif"
    with pytest.raises(SandboxError, match=message):
        ask_twice(conversation, request_)
    with pytest.raises(SandboxError):
        conversation.ask(b"again", timeout_s=2)
    states = _states(engine, spec)
    assert states.count("running") == 1, "only the reader is left"


@pytest.mark.docker
def test_a_late_word_is_no_answer_to_the_next_request(begin: Begin) -> None:
    conversation = begin()
    assert conversation.ask(b"later", timeout_s=10) == b"later"
    time.sleep(3)
    with pytest.raises(SandboxError, match="without being asked"):
        conversation.ask(b"next", timeout_s=10)


@pytest.mark.docker
@pytest.mark.parametrize(("argument", "message"), [("shy", "in time"), ("rude", "announced")])
def test_what_does_not_greet_has_no_conversation(begin: Begin, argument: str, message: str) -> None:
    with pytest.raises(SandboxError, match=message):
        begin(argument, timeout_s=3 if argument == "shy" else 60)


@pytest.mark.docker
def test_a_container_converses_once(sandbox: DockerSandbox, spec: ContainerSpec, tmp_path: Path) -> None:
    container = sandbox.prepare(spec)
    try:
        container.converse(["python3", "-u", "c.py"], files={"c.py": COMMAND.encode()}, most_bytes=99, timeout_s=30)
        with pytest.raises(SandboxError, match="one step only"):
            container.run(["true"], files={}, timeout_s=5, artifacts=(), destination=tmp_path)
    finally:
        container.close()


@pytest.mark.docker
def test_a_container_that_died_while_it_waited_is_noticed_at_once(
    sandbox: DockerSandbox, engine: DockerEngine, spec: ContainerSpec
) -> None:
    container = sandbox.prepare(spec)
    try:
        for info in engine.containers(f"aira-bench.run={spec.run_id}"):
            engine.kill_container(info.id)
        time.sleep(1)
        started_s = time.monotonic()
        with pytest.raises(SandboxError, match=r"from outside|was lost"):
            container.converse(["true"], files={}, most_bytes=99, timeout_s=600)
        assert time.monotonic() - started_s < stretched(60)
    finally:
        container.close()


def _states(engine: DockerEngine, spec: ContainerSpec) -> list[str]:
    deadline_s = time.monotonic() + 120
    while True:
        found = [info.state for info in engine.containers(f"aira-bench.run={spec.run_id}")]
        if found.count("running") <= 1 or time.monotonic() > deadline_s:
            return found
        time.sleep(0.1)


ORCHESTRATOR = """
import sys, time
from aira_bench.docker_engine import DockerEngine
from aira_bench.sandbox.docker_sandbox import DockerSandbox
from aira_bench.sandbox.sandbox import ContainerSpec, Limits
sandbox = DockerSandbox(DockerEngine.connect())
spec = ContainerSpec(sys.argv[1], "agent", sys.argv[2], Limits(memory_mib=64, workspace_mib=8, tmp_mib=8, shm_mib=8))
talk = sandbox.prepare(spec).converse(
    ["python3", "-u", "c.py"], files={"c.py": sys.argv[3].encode()}, most_bytes=99, timeout_s=30)
print(talk.ask(b"started", timeout_s=10).decode(), flush=True)
time.sleep(600)
"""


@pytest.mark.docker
def test_a_command_that_stays_ends_with_its_orchestrator(
    sandbox: DockerSandbox, engine: DockerEngine, image: str, spec: ContainerSpec
) -> None:
    command = [sys.executable, "-c", ORCHESTRATOR, image, spec.run_id, COMMAND]
    environment = os.environ | {"PYTHONPATH": os.pathsep.join(sys.path)}
    with subprocess.Popen(command, stdout=subprocess.PIPE, env=environment) as orchestrator:
        assert orchestrator.stdout is not None
        assert orchestrator.stdout.readline() == b"detrats\n"
        orchestrator.kill()
    label = f"aira-bench.run={spec.run_id}"
    eventually(lambda: [info.state for info in engine.containers(label)] == ["exited"] * 2)
    assert sandbox.sweep(spec.run_id) == 2
