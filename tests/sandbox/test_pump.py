"""The pump that drains a container: its bootstrap's words, floods, ends and conversations. Over sockets of our own."""

import itertools
import socket
import struct
import time
from collections.abc import Iterator
from dataclasses import dataclass

import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from aira_bench.docker_engine import Attachment
from aira_bench.errors import SandboxError
from aira_bench.sandbox.conversation import Answers, framed
from aira_bench.sandbox.pump import BEGIN, READY, OutputPump
from eventually import stretched

MOST_BYTES = 10_000


@dataclass(frozen=True)
class Container:
    """The far end of a pump."""

    end: socket.socket
    pump: OutputPump

    def prints(self, data: bytes, stream: int = 1) -> None:
        self.end.sendall(struct.pack(">BxxxI", stream, len(data)) + data)

    def dies(self) -> None:
        self.end.close()
        assert self.pump.ended.wait(10)


@pytest.fixture
def containers() -> Iterator[list[Container]]:
    made: list[Container] = []
    yield made
    for each in made:
        each.end.close()
        each.pump.close(10)


def started(containers: list[Container]) -> Container:
    ours, theirs = socket.socketpair()
    containers.append(Container(theirs, OutputPump(Attachment(ours), MOST_BYTES)))
    return containers[-1]


@given(out=st.binary(max_size=200), err=st.binary(max_size=200), cuts=st.lists(st.integers(0, 212), max_size=6))
@settings(max_examples=30, deadline=None, suppress_health_check=[HealthCheck.function_scoped_fixture])
def test_the_bootstrap_s_words_are_told_apart_wherever_the_output_is_cut(
    containers: list[Container], out: bytes, err: bytes, cuts: list[int]
) -> None:
    container = started(containers)
    whole = READY + BEGIN + out
    edges = sorted({0, len(whole), *(cut for cut in cuts if cut < len(whole))})
    for start, end in itertools.pairwise(edges):
        container.prints(whole[start:end])
    container.prints(err, stream=2)
    container.dies()
    assert container.pump.has_begun
    stdout, stderr = container.pump.captured()
    assert (stdout.head + stdout.tail, stderr.head + stderr.tail) == (out, err)


def test_a_container_that_waits_has_not_begun(containers: list[Container]) -> None:
    container = started(containers)
    container.prints(READY)
    assert container.pump.ready.wait(10)
    assert (container.pump.is_waiting, container.pump.has_begun) == (True, False)
    container.dies()
    assert not container.pump.is_waiting


@pytest.mark.parametrize("said", [b"", b"rea", b"python3: not found\n", READY + b"Killed\n"])
def test_a_bootstrap_that_failed_is_no_step_that_began(containers: list[Container], said: bytes) -> None:
    container = started(containers)
    container.prints(said)
    container.dies()
    assert container.pump.ready.is_set(), "nobody waits for what will not come"
    assert not container.pump.has_begun


def test_a_flood_is_seen_and_not_kept(containers: list[Container]) -> None:
    container = started(containers)
    container.prints(READY + BEGIN)
    for _ in range(40):
        container.prints(b"x" * 1000)
    container.dies()
    assert container.pump.is_flooded
    stdout, _ = container.pump.captured()
    assert stdout.total_bytes <= MOST_BYTES


def test_what_is_held_open_is_let_go_of_after_a_while(containers: list[Container]) -> None:
    container = started(containers)
    began_s = time.monotonic()
    assert not container.pump.close(0.1), "something still held it open"
    assert time.monotonic() - began_s < stretched(5)


def test_a_conversation_s_answers_are_no_output_and_its_end_is_told(containers: list[Container]) -> None:
    container = started(containers)
    container.prints(READY)
    assert container.pump.ready.wait(10)
    answers = Answers(100)
    answers.expect()
    container.pump.divert(answers)
    container.prints(BEGIN + framed(b"hello"))
    assert answers.wait(lambda: 10.0) == b"hello"
    container.prints(b"a word on standard error", stream=2)
    container.dies()
    with pytest.raises(SandboxError, match="it ended"):
        answers.expect()
    stdout, stderr = container.pump.captured()
    assert (stdout.total_bytes, stderr.head) == (0, b"a word on standard error")


def test_a_conversation_with_the_dead_is_broken_from_the_start(containers: list[Container]) -> None:
    container = started(containers)
    container.dies()
    answers = Answers(100)
    container.pump.divert(answers)
    with pytest.raises(SandboxError, match="it ended"):
        answers.expect()
