"""How a judge asks a predict container for logits: fixed-size messages over a socket, data in shared memory.

The judge listens on a socket in a folder that the predict container sees read-only, accepts one connection and takes
the socket away. Sockets have secret names in a folder that nobody can list: a predictor that was hung up on cannot find
the socket of the next one. The judge sends a hello with the memory's descriptor; the predictor answers ready once its
model is loaded. Then every request names a number of windows and their length, and every answer is a status. A status
that comes before its request is the predictor's loss: the judge reads what stands in the memory then. Statuses are a
closed list: no text crosses over, so neither can anything a model was shown.

Everything that goes wrong on the other side (silence, an early end, a broken message) is a `PredictorFailed`: the
submission's failure, never the evaluation's.

Not covered: what is asked for and why (`asking`), and who may reach the socket, which is the sandbox's business.
"""

import os
import socket
import struct
import time
from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from dataclasses import dataclass
from enum import IntEnum
from pathlib import Path

from aira_contract.training_record import NO_ANSWER, TOO_SLOW
from aira_evaluator.autoresearch.wire.shared_memory import MemoryShape, SharedMemory, create

HELLO = struct.Struct("<3I")
"""Sizes of the shared memory."""
REQUEST = struct.Struct("<2I")
"""A request: the number of windows, and the tokens of each."""
ANSWER = struct.Struct("<I")
"""An answer: one `PredictorStatus`."""
_ENDED = "the process that served the model ended early"


class PredictorStatus(IntEnum):
    """What a predict container can answer to a request: a closed list, so that no text crosses over."""

    DONE = 0
    LOAD_FAILED = 1
    CALL_FAILED = 2
    NO_LOGITS = 3
    OUT_OF_MEMORY = 4


_REASONS: Mapping[int | None, str] = {
    PredictorStatus.LOAD_FAILED: "the handed-over model could not be loaded in a fresh process",
    PredictorStatus.CALL_FAILED: "model(x) raised an exception for int64 token ids x of shape (rows, sequence length)",
    PredictorStatus.NO_LOGITS: (
        "model(x) must return logits of shape (rows, sequence length, vocabulary), alone or in a tuple, a dict or an "
        "object's .logits"
    ),
    PredictorStatus.OUT_OF_MEMORY: "the model ran out of memory while it was served",
}


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

    def __init__(self, stream: socket.socket, memory: SharedMemory, deadlines: Deadlines) -> None:
        self.memory = memory
        self._stream = stream
        self._deadlines = deadlines
        self._ends_s = time.monotonic() + deadlines.serving_s
        self.waited_s: list[float] = []
        """For the loading of the model, and for every answer."""

    def ask(self, windows: int, length: int) -> None:
        """Ask about what was written into the memory, and wait until logits stand there.

        Raises:
            PredictorFailed: silence, an early end, a broken message, or a failure that the predictor reports.
        """
        left_s = self._ends_s - time.monotonic()
        if left_s <= 0:
            raise PredictorFailed(f"{TOO_SLOW} {self._deadlines.serving_s:.0f} s")
        try:
            self._stream.send(REQUEST.pack(windows, length))
        except OSError as error:
            raise PredictorFailed(_ENDED) from error
        self._hear(min(self._deadlines.request_s, left_s))

    def end_within(self, seconds: float) -> None:
        """Let all further requests together take no longer than that."""
        self._ends_s = min(self._ends_s, time.monotonic() + seconds)

    def wait_until_loaded(self) -> None:
        """Wait until the model is loaded.

        Raises:
            PredictorFailed: it is not in time.
        """
        self._hear(self._deadlines.load_s)

    def _hear(self, timeout_s: float) -> None:
        asked_s = time.monotonic()
        self._stream.settimeout(max(timeout_s, 0.001))
        try:
            # Longer messages are cut to one byte more than is right; the kernel drops descriptors that come along.
            message = self._stream.recv(ANSWER.size + 1)
        except TimeoutError:
            raise PredictorFailed(f"{NO_ANSWER} {timeout_s:.0f} s") from None
        except OSError as error:
            raise PredictorFailed(_ENDED) from error
        self.waited_s.append(time.monotonic() - asked_s)
        if not message:
            raise PredictorFailed(_ENDED)
        status = ANSWER.unpack(message)[0] if len(message) == ANSWER.size else None
        if status in (PredictorStatus.CALL_FAILED, PredictorStatus.NO_LOGITS):
            raise ModelRaised(_REASONS[status])
        if status != PredictorStatus.DONE:
            raise PredictorFailed(_REASONS.get(status, "the process that served the model broke the protocol"))


@contextmanager
def accepted(path: Path, shape: MemoryShape, deadlines: Deadlines) -> Iterator[Connection]:
    """Listen at `path`, accept one predictor, and wait until its model is loaded.

    Raises:
        TimeoutError: nobody connected: the predict container did not come up.
        PredictorFailed: the model could not be loaded in time.
    """
    with _accept(path, deadlines.connect_s) as stream:
        descriptor = create(shape)
        try:
            memory = SharedMemory(descriptor, shape)
            hello = HELLO.pack(shape.rows, shape.tokens, shape.vocabulary)
            socket.send_fds(stream, [hello], [descriptor])
        except OSError as error:
            raise PredictorFailed(_ENDED) from error
        finally:
            os.close(descriptor)
        connection = Connection(stream, memory, deadlines)
        connection.wait_until_loaded()
        yield connection


def greet(stream: socket.socket) -> SharedMemory:
    """Return the predictor's half of a connection: take the hello and map its memory.

    Raises:
        ConnectionError: the other side is no judge.
    """
    message, descriptors, _, _ = socket.recv_fds(stream, HELLO.size, 1)
    if len(message) != HELLO.size or len(descriptors) != 1:
        raise ConnectionError("no hello came")
    try:
        return SharedMemory(descriptors[0], MemoryShape(*HELLO.unpack(message)))
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
