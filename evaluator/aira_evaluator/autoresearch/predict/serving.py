"""The program of a predict container: loads a handed-over model and answers a judge's requests for logits.

    python -m aira_evaluator.autoresearch.predict.serving --handover FILE --socket PATH

It connects before it loads, so that a model which never returns from loading is a silence the judge can time. From
the loading on, this process belongs to the submission: nothing here protects anything, and the judge believes nothing
but the numbers in the memory.

Exit statuses: 0 the judge hung up, 1 no judge was there.
"""

import argparse
import socket
import sys
import time
from collections.abc import Iterable, Mapping, Sequence
from contextlib import suppress
from pathlib import Path
from typing import Any

import torch

from aira_contract.invocation import HANDOVER_OPTION, SOCKET_OPTION
from aira_evaluator.autoresearch.handover.model_file import Handed, load
from aira_evaluator.autoresearch.wire.connection import ANSWER, REQUEST, PredictorStatus, greet
from aira_evaluator.autoresearch.wire.shared_memory import SharedMemory

_CONNECT_TIMEOUT_S = 300.0
_POLL_S = 0.02


class NoLogits(Exception):
    """The model's output has no logits where they are looked for."""


def logits_of(output: Any, rows: int, tokens: int, vocabulary: int) -> torch.Tensor:  # noqa: ANN401
    """Return the logits in what `model(x)` returned: the output itself, its `.logits`, or the first of its items that
    fits.

    A head wider than the vocabulary, padded for speed, is cut to it.

    Raises:
        NoLogits: there is no floating-point tensor of shape (rows, tokens, at least vocabulary). The message says what
            there is.
    """
    for candidate in _candidates(output):
        if (
            isinstance(candidate, torch.Tensor)
            and candidate.is_floating_point()
            and candidate.dim() == 3
            and tuple(candidate.shape[:2]) == (rows, tokens)
            and candidate.shape[2] >= vocabulary
        ):
            return candidate[..., :vocabulary]
    raise NoLogits(f"it returned {_described(output)}")


def _candidates(output: Any) -> Iterable[Any]:  # noqa: ANN401
    if isinstance(output, Mapping):
        return [output.get("logits"), *output.values()]
    if isinstance(output, tuple | list):
        return output
    return output, getattr(output, "logits", None)


def _described(output: Any) -> str:  # noqa: ANN401
    if isinstance(output, torch.Tensor):
        return f"{str(output.dtype).removeprefix('torch.')} of shape {tuple(output.shape)}"
    if isinstance(output, tuple | list):
        return f"{type(output).__name__} of ({', '.join(map(_described, output))})"
    return f"a {type(output).__name__}"


class Server:
    """A loaded model and the memory it writes to."""

    def __init__(self, handed: Handed, memory: SharedMemory, device: torch.device) -> None:
        self._handed, self._memory, self._device = handed, memory, device
        handed.ambience.settle()
        if device.type == "cuda":
            # Locked pages take a device's copies several times as fast. A driver that refuses costs only that.
            runtime = torch.cuda.cudart()  # type: ignore[no-untyped-call]
            runtime.cudaHostRegister(memory.address, memory.shape.size_bytes, 0)

    def answer(self, windows: int, length: int) -> None:
        """Fill in the logits at the one position that is asked for in each window.

        Raises:
            NoLogits: the model returned something else.
            Exception: whatever the model raises.
        """
        memory, ambience = self._memory, self._handed.ambience
        x = memory.windows(windows, length).to(self._device, torch.int64)
        with ambience.entered(self._device):
            logits = logits_of(self._handed.model(x), windows, length, memory.shape.vocabulary)
            at = memory.positions(windows).to(self._device, torch.int64)
            memory.logits(windows).copy_(logits[torch.arange(windows, device=self._device), at])


def serve(stream: socket.socket, handover: Path, device: torch.device) -> None:
    """Load the model and answer until the judge hangs up."""
    memory = greet(stream)
    try:
        server = Server(load(handover, device), memory, device)
    except BaseException:
        stream.send(ANSWER.pack(PredictorStatus.LOAD_FAILED))
        raise
    stream.send(ANSWER.pack(PredictorStatus.DONE))
    while message := stream.recv(REQUEST.size):
        windows, length = REQUEST.unpack(message)
        stream.send(ANSWER.pack(_attempt(server, windows, length)))


def _attempt(server: Server, windows: int, length: int) -> PredictorStatus:
    try:
        server.answer(windows, length)
    except NoLogits as error:
        print(f"model(x) gave no logits: {error}", file=sys.stderr)
        return PredictorStatus.NO_LOGITS
    except (torch.OutOfMemoryError, MemoryError):
        return PredictorStatus.OUT_OF_MEMORY
    except Exception as error:
        print(f"model(x) raised {type(error).__name__}: {error}", file=sys.stderr)
        return PredictorStatus.CALL_FAILED
    return PredictorStatus.DONE


def _connect(path: Path) -> socket.socket:
    stream = socket.socket(socket.AF_UNIX, socket.SOCK_SEQPACKET)
    deadline_s = time.monotonic() + _CONNECT_TIMEOUT_S
    while True:
        try:
            stream.connect(str(path))
        except (FileNotFoundError, ConnectionRefusedError, PermissionError):  # not yet there, open or ours to use
            if time.monotonic() >= deadline_s:
                raise
            time.sleep(_POLL_S)
        else:
            return stream


def main(arguments: Sequence[str] | None = None) -> int:
    """Serve the logits of a handed-over model to one judge, until it closes the connection."""
    parser = argparse.ArgumentParser(description="Serve the logits of a handed-over model to a judge.")
    parser.add_argument(HANDOVER_OPTION, type=Path, required=True)
    parser.add_argument(SOCKET_OPTION, type=Path, required=True)
    options = parser.parse_args(arguments)
    try:
        stream = _connect(options.socket)
    except OSError as error:
        print(f"no judge at {options.socket}: {error}", file=sys.stderr)
        return 1
    device = torch.device("cuda" if torch.cuda.is_available() else "cpu")
    with stream, suppress(ConnectionError):  # the judge may hang up in the middle of an answer
        serve(stream, options.handover, device)
    return 0


if __name__ == "__main__":
    sys.exit(main())
