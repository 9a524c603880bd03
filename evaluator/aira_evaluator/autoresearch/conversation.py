"""How a judge asks a predict container for logits: fixed-size messages over a socket, data in shared memory.

The judge listens on a socket in a folder that the predict container sees read-only, accepts one connection and takes
the socket away. Sockets have secret names in a folder that nobody can list: a predictor that was hung up on cannot find
the socket of the next one. The judge sends a hello with the ring's descriptor; the predictor answers ready once its
model is loaded. Then every request names a slot, a number of windows and their length, and every answer repeats the
request's number with a status. Statuses are a closed list: no text crosses over, so neither can anything a model was
shown.

Everything that goes wrong on the other side (silence, an early end, a broken message) is a `PredictorFailed`: the
submission's failure, never the evaluation's.

Not covered: what is asked for and why (`asking`), and who may reach the socket, which is the sandbox's business.
"""

import os
import socket
import struct
import time
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from enum import IntEnum
from pathlib import Path

from aira_evaluator.autoresearch.ring import Ring, RingShape, create

HELLO = struct.Struct("<4s4I")
MAGIC = b"AIR2"
REQUEST = struct.Struct("<4I")
"""Number, slot, windows, their length."""
ANSWER = struct.Struct("<2I")
"""Number, status."""
READY_NUMBER = 0xFFFFFFFF


class Status(IntEnum):
    """What a predictor can say."""

    DONE = 0
    LOAD_FAILED = 1
    CALL_FAILED = 2
    NO_LOGITS = 3
    OUT_OF_MEMORY = 4


_REASONS = {
    Status.LOAD_FAILED: "the handed-over model could not be loaded in a fresh process",
    Status.CALL_FAILED: "model(x) raised an exception for int64 token ids x of shape (rows, sequence length)",
    Status.NO_LOGITS: (
        "model(x) must return logits of shape (rows, sequence length, vocabulary), alone or in a tuple, a dict or an "
        "object's .logits"
    ),
    Status.OUT_OF_MEMORY: "the model ran out of memory while it was served",
}


_STATUSES = frozenset(int(status) for status in Status)


class PredictorFailed(Exception):
    """The served model gave no usable answer; the message is one line of our own words."""


class ModelRaised(PredictorFailed):
    """`model(x)` did not return logits; the predictor is there and can be asked again."""


@dataclass(frozen=True)
class Deadlines:
    """How long a predictor may take, in seconds."""

    connect_s: float
    """Until its container is up: ours to blame, so it raises `TimeoutError`."""
    load_s: float
    request_s: float
    serving_s: float
    """For all requests of one connection together."""


class Connection:
    """The judge's end of one predictor."""

    def __init__(self, stream: socket.socket, ring: Ring, deadlines: Deadlines) -> None:
        self.ring = ring
        self._stream = stream
        self._deadlines = deadlines
        self._number = 0
        self._ends_s = time.monotonic() + deadlines.serving_s
        self.waited_s: list[float] = []
        """For the loading of the model, and for every answer."""

    def ask(self, slot: int, windows: int, length: int) -> int:
        """Send a request; returns its number. Its windows must be in the ring already."""
        self._number += 1
        try:
            self._stream.send(REQUEST.pack(self._number, slot, windows, length))
        except OSError as error:
            raise PredictorFailed("the process that served the model ended early") from error
        return self._number

    def wait(self, number: int) -> None:
        """Wait until request `number` is answered; answers come in the order of requests.

        Raises:
            PredictorFailed: silence, an early end, a broken message, or a failure that the predictor reports.
        """
        left_s = self._ends_s - time.monotonic()
        if left_s <= 0:
            raise PredictorFailed(f"serving the model took longer than {self._deadlines.serving_s:.0f} s")
        self._hear(number, min(self._deadlines.request_s, left_s))

    def wait_until_loaded(self) -> None:
        """Wait until the model is loaded.

        Raises:
            PredictorFailed: it is not in time.
        """
        self._hear(READY_NUMBER, self._deadlines.load_s)

    def _hear(self, number: int, timeout_s: float) -> None:
        asked_s = time.monotonic()
        _receive_status(self._stream, number, timeout_s)
        self.waited_s.append(time.monotonic() - asked_s)


@contextmanager
def accepted(path: Path, shape: RingShape, deadlines: Deadlines) -> Iterator[Connection]:
    """Listen at `path`, accept one predictor, and wait until its model is loaded.

    Raises:
        TimeoutError: nobody connected: the predict container did not come up.
        PredictorFailed: the model could not be loaded in time.
    """
    with _accept(path, deadlines.connect_s) as stream:
        descriptor = create(shape)
        try:
            ring = Ring(descriptor, shape)
            hello = HELLO.pack(MAGIC, shape.slots, shape.rows, shape.tokens, shape.vocabulary)
            socket.send_fds(stream, [hello], [descriptor])
        except OSError as error:
            raise PredictorFailed("the process that served the model ended early") from error
        finally:
            os.close(descriptor)
        connection = Connection(stream, ring, deadlines)
        connection.wait_until_loaded()
        yield connection


def greet(stream: socket.socket) -> Ring:
    """The predictor's half of a connection: take the hello and map its ring.

    Raises:
        ConnectionError: the other side is no judge.
    """
    message, descriptors, _, _ = socket.recv_fds(stream, HELLO.size, 1)
    if len(message) != HELLO.size or len(descriptors) != 1:
        raise ConnectionError("no hello came")
    magic, *sizes = HELLO.unpack(message)
    if magic != MAGIC:
        raise ConnectionError(f"expected a hello of {MAGIC!r}, seen {magic!r}")
    try:
        return Ring(descriptors[0], RingShape(*sizes))
    finally:
        os.close(descriptors[0])


def _accept(path: Path, timeout_s: float) -> socket.socket:
    path.unlink(missing_ok=True)  # of an evaluation that was cut short
    with socket.socket(socket.AF_UNIX, socket.SOCK_SEQPACKET) as listener:
        listener.bind(str(path))
        path.chmod(0o666)  # the predict container runs as another user
        listener.listen(1)
        listener.settimeout(timeout_s)
        try:
            return listener.accept()[0]
        finally:
            path.unlink(missing_ok=True)


def _receive_status(stream: socket.socket, number: int, timeout_s: float) -> None:
    stream.settimeout(max(timeout_s, 0.001))
    try:
        # Longer messages are cut to one byte more than is right, and descriptors sent along are dropped by the kernel.
        message = stream.recv(ANSWER.size + 1)
    except TimeoutError:
        raise PredictorFailed(f"the model gave no answer within {timeout_s:.0f} s") from None
    except OSError as error:
        raise PredictorFailed("the process that served the model ended early") from error
    if not message:
        raise PredictorFailed("the process that served the model ended early")
    if len(message) != ANSWER.size:
        raise PredictorFailed("the process that served the model broke the protocol")
    answered, status = ANSWER.unpack(message)
    if answered != number or status not in _STATUSES:
        raise PredictorFailed("the process that served the model broke the protocol")
    if status in (Status.CALL_FAILED, Status.NO_LOGITS):
        raise ModelRaised(_REASONS[Status(status)])
    if status != Status.DONE:
        raise PredictorFailed(_REASONS[Status(status)])
