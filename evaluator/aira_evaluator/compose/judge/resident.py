"""A judge that stays: answers one request after the other with the report of the task's own `evaluate.py`.

    python -m aira_evaluator.compose.judge.resident --script /task/evaluate.py --hidden /hidden

What stays between requests is what is the same for all of them: imported modules, torch's settings, on a GPU the
device's context. Each request runs the script anew (`runpy`) in a folder of its own that is made before and removed
after it, with its own arguments and its own output; nothing else of a request is kept. Training draws from generators
made of the hidden seeds alone, so a score does not depend on what was asked before; a test keeps that.

A request is JSON, `{"id": ..., "architecture": ..., "training": ...}`. The architecture must be in canonical form:
nothing else of a submission gets here. `training` says which training of it this is (`settings.TRAINING_VARIABLE`).
The answer is JSON too, `{"id", "status", "stdout", "stderr", "report"}`, with the script's exit status and the report's
text or null. Messages travel behind their length in four bytes, big-endian, on the standard input and output this
process began with. The script never sees those two: it gets an empty input, and what is printed past Python goes to
standard error.

Any failure but an exit status of the script ends this process. Not covered: deadlines, which are the host's; tasks
whose submission is code.
"""

import argparse
import contextlib
import gc
import io
import json
import os
import runpy
import shutil
import sys
import tempfile
from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any, BinaryIO

from aira_contract.architectures import canonical, read_symbols
from aira_contract.containers import DATA
from aira_contract.files import ARCHITECTURE_FILE, REPORT_FILE
from aira_contract.framing import ANSWER_KEYS, LENGTH, MAX_REQUEST_BYTES, REQUEST_KEYS, framed
from aira_contract.invocation import HIDDEN_OPTION, REPORT_OPTION, SCRIPT_OPTION, SUBMISSION_OPTION
from aira_contract.settings import TRAINING_VARIABLE

MOST_REPORT_CHARACTERS = 1 << 18
_KEPT_CHARACTERS = 1 << 15
"""Kept of the end of what a script prints."""


class ProtocolError(Exception):
    """The host sent something else than a request."""


@dataclass(frozen=True)
class Channel:
    """Messages behind their length over two streams: requests come in, answers go out."""

    requests: BinaryIO
    answers: BinaryIO

    def receive(self) -> bytes | None:
        """Return the next request, or None where the input ended between requests.

        Raises:
            ProtocolError: it is longer than admitted, or cut off.
        """
        head = self._exactly(LENGTH.size)
        if not head:
            return None
        size = int(LENGTH.unpack(head.ljust(LENGTH.size, b"\0"))[0])
        if len(head) < LENGTH.size or size > MAX_REQUEST_BYTES:
            raise ProtocolError(f"a request of {size} bytes, at most {MAX_REQUEST_BYTES} are admitted")
        payload = self._exactly(size)
        if len(payload) < size:
            raise ProtocolError(f"{len(payload)} of a request's {size} bytes arrived")
        return payload

    def send(self, payload: bytes) -> None:
        """Send one message: its length in four bytes, then the payload."""
        self.answers.write(framed(payload))
        self.answers.flush()

    def _exactly(self, size: int) -> bytes:
        data = b""
        while len(data) < size and (piece := self.requests.read(size - len(data))):
            data += piece
        return data


@dataclass(frozen=True)
class Resident:
    """Serves requests with one script and one store of hidden data."""

    script: Path
    hidden: Path

    def serve(self, channel: Channel) -> None:
        """Greet, then answer until the input ends."""
        channel.send(json.dumps({"ready": True}).encode())
        while (payload := channel.receive()) is not None:
            channel.send(json.dumps(self.answer(payload)).encode())

    def answer(self, payload: bytes) -> dict[str, Any]:
        """Run the script for one request.

        Raises:
            ProtocolError: the request is not one, or its architecture is not in canonical form.
        """
        name, architecture, training = _read_request(payload)
        with _folder() as folder, _output() as (stdout, stderr):
            status = self._run(folder, architecture, training)
            report = folder / REPORT_FILE
            text = report.read_text(encoding="utf-8") if report.is_file() else None
        if text is not None and len(text) > MOST_REPORT_CHARACTERS:
            raise ProtocolError(f"a report of {len(text)} characters")
        _let_go()
        printed = [stream.getvalue()[-_KEPT_CHARACTERS:] for stream in (stdout, stderr)]
        return dict(zip(ANSWER_KEYS, (name, status, *printed, text), strict=True))

    def _run(self, folder: Path, architecture: str, training: int) -> int:
        data = folder / DATA
        data.mkdir()
        for entry in self.hidden.iterdir():
            (data / entry.name).symlink_to(entry)
        (data / ARCHITECTURE_FILE).write_text(f'architecture\n"{architecture}"\n', encoding="ascii")
        arguments = [str(self.script), SUBMISSION_OPTION, f"./{DATA}/{ARCHITECTURE_FILE}", REPORT_OPTION, REPORT_FILE]
        with contextlib.chdir(folder), _arguments(arguments):
            os.environ[TRAINING_VARIABLE] = str(training)
            try:
                runpy.run_path(str(self.script), run_name="__main__")
            except SystemExit as ended:
                return ended.code if isinstance(ended.code, int) else int(ended.code is not None)
        return 0


def warm_up() -> None:
    """Do what a first evaluation spends before its first step: import torch, open the device, touch every primitive."""
    from dataclasses import replace

    from aira_evaluator.compose.mad.profiles import CPU
    from aira_evaluator.compose.mad.split_scores import train_and_score
    from aira_evaluator.compose.mad.splits import draw_corpus
    from aira_evaluator.compose.training.devices import choose_device, make_deterministic

    make_deterministic()
    tiny = replace(CPU, train_examples=4, test_examples=2, epochs=2)
    held_out = {"test": draw_corpus(tiny, "test", 0)}
    train_and_score(
        ("M", "mA", "Mb"), tiny, draw_corpus(tiny, "train", 0), held_out, seed=0, device=choose_device()
    )  # fmt: skip


def _read_request(payload: bytes) -> tuple[str, str, int]:
    try:
        request = json.loads(payload)
        name, architecture, training = (request[key] for key in REQUEST_KEYS)
    except (ValueError, KeyError, TypeError) as error:
        raise ProtocolError(
            "a request is an object with an id, an architecture and the number of a training"
        ) from error
    if set(request) != set(REQUEST_KEYS) or not isinstance(name, str) or not isinstance(architecture, str):
        raise ProtocolError("a request has an id and an architecture, both strings, a training, and nothing else")
    if type(training) is not int or training < 0:
        raise ProtocolError("a training is numbered from 0")
    if canonical(read_symbols(architecture)) != architecture:
        raise ProtocolError("the architecture is not in canonical form")
    return name, architecture, training


@contextlib.contextmanager
def _folder() -> Iterator[Path]:
    made = Path(tempfile.mkdtemp(prefix="request-", dir=Path.cwd()))
    try:
        yield made
    finally:
        shutil.rmtree(made)


@contextlib.contextmanager
def _arguments(arguments: Sequence[str]) -> Iterator[None]:
    before, environment = sys.argv, dict(os.environ)
    sys.argv = list(arguments)
    try:
        yield
    finally:
        sys.argv = before
        os.environ.clear()
        os.environ.update(environment)


@contextlib.contextmanager
def _output() -> Iterator[tuple[io.StringIO, io.StringIO]]:
    stdout, stderr = io.StringIO(), io.StringIO()
    with contextlib.redirect_stdout(stdout), contextlib.redirect_stderr(stderr):
        yield stdout, stderr


def _let_go() -> None:
    """Drop the last candidate's memory; what its splits hold does not stay on a device."""
    gc.collect()
    torch = sys.modules.get("torch")
    if torch is not None and torch.cuda.is_available():
        torch.cuda.empty_cache()


def _own_streams() -> Channel:
    """Take standard input and output for the conversation; leave an empty input and standard error in their place."""
    channel = Channel(os.fdopen(os.dup(0), "rb", buffering=0), os.fdopen(os.dup(1), "wb"))
    nothing = os.open(os.devnull, os.O_RDONLY)
    os.dup2(nothing, 0)
    os.close(nothing)
    os.dup2(2, 1)
    return channel


def main(arguments: Sequence[str] | None = None, prepare: Callable[[], None] = warm_up) -> int:
    """Serve until the host lets go of the input. `prepare` runs once, before the greeting."""
    parser = argparse.ArgumentParser(
        prog="python -m aira_evaluator.compose.judge.resident", description="A judge that stays."
    )
    parser.add_argument(SCRIPT_OPTION, type=Path, required=True, help="the task's evaluate.py")
    parser.add_argument(HIDDEN_OPTION, type=Path, required=True, help="the hidden store, shown to the script as ./data")
    options = parser.parse_args(arguments)
    channel = _own_streams()
    prepare()
    try:
        Resident(options.script, options.hidden).serve(channel)
    except (ProtocolError, BrokenPipeError) as error:
        print(f"resident judge: {error}", file=sys.stderr)
        return 1
    return 0


if __name__ == "__main__":
    sys.exit(main())
