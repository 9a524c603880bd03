"""Logits to nats, shared memory, and a judge's patience with predictors that break every rule of the conversation."""

import contextlib
import fcntl
import math
import multiprocessing
import os
import socket
import threading
import time
from collections.abc import Callable
from pathlib import Path
from types import SimpleNamespace

import numpy as np
import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st
from served_models import TOKENS, VOCABULARY, draw_rows

from aira_evaluator.autoresearch.judge.asking import ask, window_length
from aira_evaluator.autoresearch.judge.nats import negative_log_likelihoods
from aira_evaluator.autoresearch.predict.serving import NoLogits, logits_of
from aira_evaluator.autoresearch.wire import connection as conversation
from aira_evaluator.autoresearch.wire.connection import ANSWER, Deadlines, PredictorFailed, PredictorStatus
from aira_evaluator.autoresearch.wire.shared_memory import MemoryShape, SharedMemory, create
from eventually import stretched

SHAPE = MemoryShape(rows=3, tokens=4, vocabulary=5)
ROW = np.zeros((1, 5), dtype=np.uint16)
PATIENCE = Deadlines(connect_s=60, load_s=1, request_s=1, serving_s=3)
LONG_PATIENCE = Deadlines(connect_s=60, load_s=60, request_s=60, serving_s=120)


@settings(deadline=None)
@given(
    logits=st.lists(st.lists(st.floats(-80, 80, width=32), min_size=7, max_size=7), min_size=1, max_size=5),
    target=st.integers(0, 6),
)
def test_nats_are_the_softmax_of_the_whole_vector(logits: list[list[float]], target: int) -> None:
    vectors = torch.tensor(logits, dtype=torch.float32)
    targets = torch.full((len(vectors),), target)
    exact = torch.nn.functional.cross_entropy(vectors.double(), targets, reduction="none")
    assert torch.allclose(negative_log_likelihoods(vectors, targets), exact, rtol=1e-12, atol=1e-12)


@given(tail=st.floats(8, 25), base=st.sampled_from([0.0, 1e4, -1e4, 1e30]))
@settings(max_examples=60, deadline=None)
def test_vectors_made_for_their_rounding_gain_next_to_nothing(tail: float, base: float) -> None:
    """One token is likely, and all others so unlikely that sums in float32 lose some of them."""
    vectors = torch.full((1, 8192), -tail)
    vectors[0, 0] = 0.0
    vectors += base
    exact = -torch.log_softmax(vectors.double(), dim=1)[0, 0]
    assert negative_log_likelihoods(vectors, torch.zeros(1, dtype=torch.int64)) > exact - 1e-9


@settings(deadline=None)
@given(kinds=st.lists(st.sampled_from([0.0, 1e-42, 3e38, -3e38, 88.0, -1e4]), min_size=7, max_size=7))
def test_strange_but_finite_scores_are_probabilities(kinds: list[float]) -> None:
    nats = negative_log_likelihoods(torch.tensor([kinds] * 7, dtype=torch.float32), torch.arange(7))
    assert nats.isfinite().all()
    assert (nats >= 0).all()
    assert torch.exp(-nats).sum() == pytest.approx(1.0, abs=1e-9)


@pytest.mark.parametrize("bad", [math.nan, math.inf, -math.inf])
@pytest.mark.parametrize("place", [(0, 0), (4, 2), (9, 5)])
def test_one_logit_that_is_not_finite_spoils_everything(bad: float, place: tuple[int, int]) -> None:
    vectors = torch.randn(10, 6)
    vectors[place] = bad
    with pytest.raises(PredictorFailed, match="not all finite"):
        negative_log_likelihoods(vectors, torch.ones(10, dtype=torch.int64))


def _flicker(descriptor: int) -> None:
    """Write vectors of -50 and of +50 in turn, for ever."""
    logits = SharedMemory(descriptor, SHAPE).logits(SHAPE.rows)
    while True:
        logits.fill_(-50.0)
        logits.fill_(50.0)


def test_a_predictor_that_writes_while_the_judge_reads_cannot_split_a_vector_from_its_normalizer() -> None:
    descriptor = create(SHAPE)
    writer = multiprocessing.get_context("fork").Process(target=_flicker, args=(descriptor,), daemon=True)
    writer.start()
    try:
        logits = SharedMemory(descriptor, SHAPE).logits(SHAPE.rows)
        targets = torch.zeros(len(logits), dtype=torch.int64)
        until_s, seen = time.monotonic() + 60.0, []
        while SHAPE.rows * len(seen) <= 1000 and time.monotonic() < until_s:
            seen.append(negative_log_likelihoods(logits, targets))
        nats = torch.cat(seen)
    finally:
        writer.kill()
        writer.join()
        os.close(descriptor)
    assert len(nats) > 100
    assert nats.min() >= 0  # whatever mixture was read, it was normalized as it was read


def test_a_judges_memory_is_sealed_at_the_size_it_chose() -> None:
    descriptor = create(SHAPE)
    try:
        assert os.fstat(descriptor).st_size == SHAPE.size_bytes
        for size_bytes in (0, SHAPE.size_bytes - 1, SHAPE.size_bytes + 1):
            with pytest.raises(PermissionError):
                os.ftruncate(descriptor, size_bytes)
        with pytest.raises(PermissionError):
            fcntl.fcntl(descriptor, fcntl.F_ADD_SEALS, fcntl.F_SEAL_WRITE)
    finally:
        os.close(descriptor)


@given(rows=st.integers(1, 4), tokens=st.integers(1, 9), vocabulary=st.integers(1, 2000))
@settings(max_examples=40, deadline=None)
def test_no_part_of_a_memory_overlaps_another(rows: int, tokens: int, vocabulary: int) -> None:
    shape = MemoryShape(rows, tokens, vocabulary)
    descriptor = create(shape)
    memory = SharedMemory(descriptor, shape)
    os.close(descriptor)
    parts = (memory.windows(rows, tokens), memory.positions(rows), memory.logits(rows))
    for number, part in enumerate(parts):
        part.fill_(number)
    assert all((part == number).all() for number, part in enumerate(parts))


def test_a_memory_refuses_places_it_does_not_have() -> None:
    descriptor = create(SHAPE)
    memory = SharedMemory(descriptor, SHAPE)
    os.close(descriptor)
    for rows in (0, SHAPE.rows + 1):
        with pytest.raises(ValueError, match="no place"):
            memory.logits(rows)
    for length in (0, SHAPE.tokens + 1):
        with pytest.raises(ValueError, match="no place"):
            memory.windows(1, length)


@settings(deadline=None)
@given(longest=st.integers(1, 300), step=st.integers(1, 300), tokens=st.integers(1, 300))
def test_windows_hold_their_prefixes_and_come_in_few_lengths(longest: int, step: int, tokens: int) -> None:
    length = window_length(min(longest, tokens), step, tokens)
    assert min(longest, tokens) <= length <= tokens
    assert length == tokens or length % step == 0


def test_the_documented_forms_of_output_are_accepted_and_no_others() -> None:
    logits = torch.randn(2, 3, 5)
    accepted: list[object] = [logits, (logits, None), [logits], SimpleNamespace(logits=logits), {"logits": logits}]
    accepted += [(torch.tensor(1.5), logits), {"hidden": logits[0], "out": logits}]
    for output in [*accepted, torch.cat([logits, logits], 2)]:
        assert torch.equal(logits_of(output, 2, 3, 5), logits)
    for other in (None, 1.0, (), logits[0], logits[:, :2], logits[..., :4], logits.long(), {"logits": logits[0]}):
        with pytest.raises(NoLogits):
            logits_of(other, 2, 3, 5)


Behaviour = Callable[[socket.socket], object]


def meet(path: Path, behaviour: Behaviour) -> threading.Thread:
    """Connect to a judge and behave; the connection is closed when `behaviour` returns."""

    def run() -> None:
        with socket.socket(socket.AF_UNIX, socket.SOCK_SEQPACKET) as stream:
            while True:
                try:
                    stream.connect(str(path))
                    break
                except (FileNotFoundError, ConnectionRefusedError):
                    time.sleep(0.01)
            behaviour(stream)

    thread = threading.Thread(target=run, daemon=True)
    thread.start()
    return thread


def ready(stream: socket.socket) -> SharedMemory:
    memory = conversation.greet(stream)
    stream.send(ANSWER.pack(PredictorStatus.DONE))
    return memory


def wait_for_request(stream: socket.socket) -> None:
    ready(stream)
    stream.recv(64)


def answering(message: bytes) -> Behaviour:
    def behave(stream: socket.socket) -> None:
        wait_for_request(stream)
        stream.send(message)
        stream.recv(64)

    return behave


def silent_when_asked(stream: socket.socket) -> None:
    wait_for_request(stream)
    time.sleep(60)


def cannot_load(stream: socket.socket) -> None:
    conversation.greet(stream)
    stream.send(ANSWER.pack(PredictorStatus.LOAD_FAILED))


def silent_once_greeted(stream: socket.socket) -> None:
    conversation.greet(stream)
    time.sleep(60)


BREACHES: dict[str, tuple[Behaviour, str]] = {
    "silent at once": (silent_once_greeted, "gave no answer within 1 s"),
    "gone at once": (lambda stream: conversation.greet(stream), "ended early"),
    "cannot load": (cannot_load, "could not be loaded"),
    "silent when asked": (silent_when_asked, "gave no answer within 1 s"),
    "gone when asked": (wait_for_request, "ended early"),
    "an unknown status": (answering(ANSWER.pack(99)), "broke the protocol"),
    "a long message": (answering(b"x" * 4000), "broke the protocol"),
    "a short message": (answering(b"x"), "broke the protocol"),
    "an exception": (answering(ANSWER.pack(PredictorStatus.CALL_FAILED)), "raised an exception"),
    "no logits": (answering(ANSWER.pack(PredictorStatus.NO_LOGITS)), "must return logits"),
    "out of memory": (answering(ANSWER.pack(PredictorStatus.OUT_OF_MEMORY)), "ran out of memory"),
}


@pytest.mark.parametrize("breach", list(BREACHES))
def test_every_breach_is_the_submissions_failure_within_the_deadline(breach: str, tmp_path: Path) -> None:
    behaviour, reason = BREACHES[breach]
    path = tmp_path / "here"
    meet(path, behaviour)
    started_s = time.monotonic()
    with (
        pytest.raises(PredictorFailed, match=reason),
        conversation.accepted(path, SHAPE, PATIENCE if "silent" in breach else LONG_PATIENCE) as connection,
    ):
        ask(connection, ROW, np.array([2]), 4)
    assert time.monotonic() - started_s < stretched(3)
    assert not path.exists()


def test_descriptors_sent_to_a_judge_do_not_arrive(tmp_path: Path) -> None:
    sent, path = tmp_path / "sent", tmp_path / "here"

    def behave(stream: socket.socket) -> None:
        wait_for_request(stream)
        with sent.open("wb") as file:
            socket.send_fds(stream, [ANSWER.pack(PredictorStatus.DONE)], [file.fileno()] * 20)
            stream.recv(64)

    meet(path, behave)
    with conversation.accepted(path, SHAPE, LONG_PATIENCE) as connection:
        connection.ask(1, 4)
        links = [os.path.realpath(entry) for entry in Path("/proc/self/fd").iterdir()]
        assert links.count(str(sent)) == 1  # the sender's own


def test_slow_answers_add_up_to_one_deadline(tmp_path: Path) -> None:
    def slow(stream: socket.socket) -> None:
        ready(stream)
        with contextlib.suppress(BrokenPipeError):
            for _ in range(99):
                time.sleep(0.3)
                stream.send(ANSWER.pack(PredictorStatus.DONE))

    path = tmp_path / "here"
    meet(path, slow)
    with (
        pytest.raises(PredictorFailed, match=r"longer than 3 s|no answer within"),
        conversation.accepted(path, SHAPE, PATIENCE) as connection,
    ):
        ask(connection, np.repeat(ROW, 50, axis=0), np.full(50, 2), 4)


def test_nobody_coming_is_not_the_submissions_failure(tmp_path: Path) -> None:
    deadlines = Deadlines(connect_s=0.2, load_s=1, request_s=1, serving_s=1)
    with pytest.raises(TimeoutError), conversation.accepted(tmp_path / "here", SHAPE, deadlines):
        pass


def test_every_answer_comes_to_its_question(tmp_path: Path) -> None:
    """A predictor that answers with the last token of each prefix shows which question each answer belongs to."""
    shape = MemoryShape(rows=4, tokens=TOKENS, vocabulary=VOCABULARY)
    lengths = []

    def echo(stream: socket.socket) -> None:
        memory = ready(stream)
        while message := stream.recv(conversation.REQUEST.size):
            rows, length = conversation.REQUEST.unpack(message)
            lengths.append(length)
            at = memory.positions(rows).long()
            windows = memory.windows(rows, length).long()
            after = torch.arange(length)[None] > at[:, None]
            assert (windows == windows[:, :1])[after].all()  # nothing stands behind a prefix
            named = windows.gather(1, at[:, None])[:, 0]
            memory.logits(rows).copy_(30.0 * torch.nn.functional.one_hot(named, VOCABULARY))
            stream.send(ANSWER.pack(PredictorStatus.DONE))

    path, rng = tmp_path / "here", np.random.default_rng(0)
    rows, positions = draw_rows(42, 3), rng.integers(1, TOKENS, 42)
    rows[np.arange(42), positions] = rows[np.arange(42), positions - 1]  # so the echo is right
    meet(path, echo)
    with conversation.accepted(path, shape, LONG_PATIENCE) as connection:
        found = ask(connection, rows, positions, 8)
    assert (found < 1e-6).all()
    assert set(lengths) == {8, 16, 24, 32}
