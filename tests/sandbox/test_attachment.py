"""A container's streams as one socket: everything arrives, deadlines hold, an end is an end. Over sockets of our own."""

import socket
import threading
import time
from collections.abc import Iterator

import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from aira_bench.docker_engine import Attachment
from eventually import stretched


@pytest.fixture
def pair() -> Iterator[tuple[Attachment, socket.socket]]:
    ours, theirs = socket.socketpair()
    attachment = Attachment(ours)
    yield attachment, theirs
    attachment.close()
    theirs.close()


def drained(end: socket.socket, count: int) -> bytes:
    data = b""
    while len(data) < count and (piece := end.recv(1 << 16)):
        data += piece
    return data


@given(pieces=st.lists(st.binary(max_size=5000), max_size=8))
@settings(max_examples=20, deadline=None, suppress_health_check=[HealthCheck.function_scoped_fixture])
def test_what_is_sent_arrives_whole_and_in_order(
    pair: tuple[Attachment, socket.socket], pieces: list[bytes]
) -> None:  # fmt: skip
    attachment, end = pair
    for piece in pieces:
        attachment.send(piece, 5)
    assert drained(end, sum(map(len, pieces))) == b"".join(pieces)
    for piece in filter(None, pieces):
        end.sendall(piece)
        got = b""
        while len(got) < len(piece):
            got += attachment.receive(5)
        assert got == piece


def test_more_than_the_kernel_holds_is_sent_while_somebody_reads(pair: tuple[Attachment, socket.socket]) -> None:
    attachment, end = pair
    data = bytes(range(256)) * 40_000
    received: list[bytes] = []
    reader = threading.Thread(target=lambda: received.append(drained(end, len(data))))
    reader.start()
    attachment.send(data, 30)
    reader.join(30)
    assert received == [data]


def test_nobody_who_reads_is_a_timeout_not_a_hang(pair: tuple[Attachment, socket.socket]) -> None:
    attachment, _ = pair
    began_s = time.monotonic()
    with pytest.raises(TimeoutError):
        attachment.send(bytes(1 << 26), 0.1)
    assert time.monotonic() - began_s < stretched(5)


def test_silence_is_a_timeout_and_the_stream_goes_on(pair: tuple[Attachment, socket.socket]) -> None:
    attachment, end = pair
    with pytest.raises(TimeoutError):
        attachment.receive(0.05)
    end.sendall(b"late")
    assert attachment.receive(5) == b"late"


def test_the_other_side_s_end_is_an_end(pair: tuple[Attachment, socket.socket]) -> None:
    attachment, end = pair
    end.sendall(b"last")
    end.close()
    assert attachment.receive(5) == b"last"
    assert attachment.receive(5) == b""
    with pytest.raises(OSError, match="Broken pipe"):
        attachment.send(bytes(1 << 20), 5)


def test_closing_wakes_who_waits_and_may_be_repeated(pair: tuple[Attachment, socket.socket]) -> None:
    attachment, _ = pair
    woken: list[bytes] = []
    waiting = threading.Thread(target=lambda: woken.append(attachment.receive(30)))
    waiting.start()
    attachment.close()
    waiting.join(10)
    attachment.close()
    assert woken == [b""], "an end, not an error of the thread that reads"
