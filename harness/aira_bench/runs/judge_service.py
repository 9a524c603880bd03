"""A judge node: compares what a run expects with what is here, and judges its submissions (`aira-bench judge serve`).

One process serves one connection of one run, over two streams of bytes. Hidden data is made and kept here, under this
machine's own hidden key. Only tasks that come with the product are judged, and only submissions that are data: bytes,
which are looked into in containers alone.

A verdict is on disk before it is sent, below `AIRA_HOME/judged`, under its request's name: the same request gets it
again, and nothing is judged twice at a time. What judges print stays beside it.

Not covered: who may connect (sshd, Ray), and what a run does with verdicts.
"""

import contextlib
import hashlib
import queue
import threading
from collections.abc import Callable, Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import BinaryIO

from pydantic import BaseModel, ConfigDict

from aira_bench.deadline import Deadline
from aira_bench.errors import AiraError, EngineAway, EvaluationFailed, SandboxError
from aira_bench.evaluation.submission import Submission
from aira_bench.evaluation.submission_evaluator import EvaluationSetting
from aira_bench.evaluation.verdict import Unexplained
from aira_bench.files import read_file, write_atomically
from aira_bench.hidden_keys import machine_hidden_key
from aira_bench.machine_failures import machine_failures
from aira_bench.record.attempts import keep_attempt
from aira_bench.remote_judging.messages import (
    HEARTBEAT_S,
    MOST_VERDICT_BYTES,
    PROTOCOL,
    Asking,
    Body,
    BrokenMessage,
    Busied,
    Examined,
    Examining,
    Failing,
    FailureKind,
    HiddenHalf,
    Judged,
    Opened,
    Opening,
    Unlike,
    encode_verdict,
    packed,
    read_message,
)
from aira_bench.remote_judging.remote_judge import require_data
from aira_bench.runs.declared import declared
from aira_bench.runs.devices import on_devices
from aira_bench.runs.host import Host, Note, prepare, stand
from aira_bench.runs.resolve import ResolvedTask
from aira_bench.runs.retraining import Retrainer, retrainer
from aira_bench.sandbox.owner import boot_id
from aira_bench.sandbox.patience import is_away
from aira_bench.sandbox.sandbox import EndedFromOutside, FilesTooLarge, Starved
from aira_bench.tasks.data_source import choose_source
from aira_bench.tasks.task import Task, shipped_tasks
from aira_bench.unfinished import only_one
from aira_bench.version import __version__
from aira_bench.waiting import Stopped

_SAID_CHARS = 2000


class _Different(Exception):
    """Something here is not what the run expects."""

    def __init__(self, what: str, expected: object, found: object) -> None:
        super().__init__(what)
        self.answer = Unlike(what=what, expected=str(expected)[:_SAID_CHARS], found=str(found)[:_SAID_CHARS])


class _Outbox:
    """Sends messages, and says every few seconds what the node is at, so that nobody takes it for lost."""

    def __init__(self, sink: BinaryIO) -> None:
        self._sink, self._lock, self._over = sink, threading.Lock(), threading.Event()
        self._busy = Busied()
        self._thread = threading.Thread(target=self._beat, name="heartbeat", daemon=True)
        self._thread.start()

    def send(self, body: Body, content: bytes = b"") -> None:
        with self._lock:
            self._sink.write(packed(body, content))
            self._sink.flush()

    def say(self, told: str = "", *, judging: bool = False) -> None:
        self._busy = Busied(judging=judging, told=told[:_SAID_CHARS])
        self.send(self._busy)

    def close(self) -> None:
        self._over.set()

    def _beat(self) -> None:
        while not self._over.wait(HEARTBEAT_S):
            with contextlib.suppress(OSError, ValueError):  # whoever reads is told so by the end of the other stream
                self.send(self._busy)


class _Inbox:
    """Reads messages in a thread of its own, so that the end of the stream is noticed whatever goes on."""

    def __init__(self, source: BinaryIO) -> None:
        self._source, self._found = source, queue.Queue[tuple[Body, bytes] | None](maxsize=1)
        self.most_bytes = 0
        self.fault = ""
        self.gone: Callable[[], object] = lambda: None
        """Called at the end of the stream, from the thread."""
        threading.Thread(target=self._read, name="requests", daemon=True).start()

    def take(self) -> tuple[Body, bytes] | None:
        """The next message; None when there will be none."""
        return self._found.get()

    def _read(self) -> None:
        with contextlib.suppress(EOFError, OSError, ValueError):
            while self.fault == "":
                try:
                    self._found.put(read_message(self._exactly, lambda: self.most_bytes))
                except BrokenMessage as error:
                    self.fault = str(error)
        self.gone()
        self._found.put(None)

    def _exactly(self, size: int) -> bytes:
        data = self._source.read(size) if size else b""
        if len(data) < size:
            raise EOFError
        return data


def serve(
    connect: Callable[[Note], Host], examine: Callable[[str, Note], bytes], source: BinaryIO, sink: BinaryIO
) -> None:
    """Serve one connection until its other side hangs up.

    Args:
        connect: returns the machine; told whom to tell what it does.
        examine: returns the report on the machine for a profile.
        source: what the other side says.
        sink: takes what is said to it, and nothing else may go there.
    """
    inbox, outbox = _Inbox(source), _Outbox(sink)
    with contextlib.suppress(BrokenPipeError), contextlib.closing(outbox):
        if (first := inbox.take()) is None:
            return _object(inbox, outbox)
        try:
            asked = first[0]
            if isinstance(asked, Examining | Opening):
                _require_alike(("protocol", asked.protocol, PROTOCOL))
            if isinstance(asked, Examining):
                outbox.send(Examined(), examine(asked.profile, outbox.say))
            elif isinstance(asked, Opening):
                with _opened(connect, asked, outbox.say) as (judge, opened):
                    inbox.most_bytes = judge.setting.task.metadata.aira.artifact.max_kib * 1024
                    inbox.gone = judge.trainer.end
                    outbox.send(opened)
                    _answer_all(judge, inbox, outbox)
        except _Different as error:
            outbox.send(error.answer)
        except AiraError as error:
            outbox.send(_failing(error, 0.0, kind="unusable"))


def _answer_all(judge: "_Judge", inbox: _Inbox, outbox: _Outbox) -> None:
    while (found := inbox.take()) is not None:
        body, content = found
        if not isinstance(body, Asking):
            return
        answer, verdict = judge.answer(body, content, outbox.say)
        outbox.say()
        outbox.send(answer, verdict)
    _object(inbox, outbox)


def _object(inbox: _Inbox, outbox: _Outbox) -> None:
    """Say what was wrong with the last message, if anything was."""
    if inbox.fault:
        outbox.send(Failing(failure="unusable", message=f"what it was sent is no message: {inbox.fault}"))


@contextlib.contextmanager
def _opened(connect: Callable[[Note], Host], asked: Opening, note: Note) -> Iterator[tuple["_Judge", Opened]]:
    """Have all ready for a run, and compare it."""
    if asked.aira_bench != __version__:
        raise _Different("aira-bench", asked.aira_bench, __version__)
    if asked.machine == boot_id():
        raise _Different("machine", "another than that of the search", "the same, where agents' code runs")
    task = _task(asked)
    host = connect(note)
    host = on_devices(host, asked.plan.profile, None, note, allow_cpu=True)
    own = {"cores": asked.cores, "gpus": None, "gpus_per_seed": None, "concurrency": 1, "exclusive": False}
    plan = asked.plan.model_copy(update=own)
    key = machine_hidden_key(host.paths) if task.metadata.aira.hidden_key else None
    found = ResolvedTask(plan, task, choose_source(task, plan.source), key)
    own_key = (key and key.sha256) if task.metadata.aira.hidden_key else ""
    _require_alike(
        ("evaluator", asked.compatibility, declared(host.hardware, found)),
        ("hardware class", asked.hardware_class or host.hardware.label, host.hardware.label),
        ("hidden key", asked.hidden.key if asked.hidden else own_key, own_key),
    )
    ground = stand(host, found, "evaluator", note) if asked.probe else None
    prepared = ground or prepare(host, task, plan.profile, found.source, note, key)
    hashes = prepared.data.hashes()
    hidden = HiddenHalf(
        sha256=hashes["hidden"]["sha256"], size_bytes=hashes["hidden"]["bytes"], key=hashes["hidden_key"]
    )
    _require_alike(
        ("image", asked.evaluator_image, prepared.images.evaluator),
        ("public data", asked.public_sha256, hashes["public"]["sha256"]),
        ("hidden data", (asked.hidden or hidden).sha256, hidden.sha256),
    )
    setting = EvaluationSetting(
        task, plan.profile, prepared.data, prepared.images, f"{asked.run_id}-{host.world.new_id()}", asked.seed_set,
        public_sha256=asked.public_sha256, draw_secret=(key or host.keys.machine_key()).draw_secret,
    )  # fmt: skip
    missing = ground.missing_walls if ground is not None else ()
    with retrainer(host, plan, setting, 1, note) as trainer:
        judge = _Judge(setting, trainer, host.paths.judged / asked.run_id)
        yield judge, Opened(hidden=hidden, hardware_class=host.hardware.label, missing_walls=missing)


def _task(asked: Opening) -> Task:
    """The task of that name among those that come with the product: no name from elsewhere chooses a folder's code."""
    named = {name: task for task in shipped_tasks() for name in (task.name, *task.metadata.aira.aliases)}
    task = named.get(asked.plan.task)
    if task is None:
        raise _Different("task", asked.plan.task, "none of those that come with aira-bench")
    _require_alike(("task", asked.task_sha256, task.sha256))
    if asked.plan.profile not in task.metadata.aira.profiles:
        raise _Different("profile", asked.plan.profile, ", ".join(task.metadata.aira.profiles))
    if asked.plan.source not in (None, "synthetic"):
        raise _Different("data source", asked.plan.source, "public files or synthetic")
    require_data(task, asked.plan.evaluator)
    return task


def _require_alike(*pairs: tuple[str, object, object]) -> None:
    for what, expected, found in pairs:
        if expected != found:
            raise _Different(what, expected, found)


class _Kept(BaseModel):
    """The first line of a verdict's file."""

    model_config = ConfigDict(extra="forbid", frozen=True, strict=True)

    judged: Judged
    canonical: str | None


@dataclass(frozen=True)
class _Judge:
    """Judges for one run, in one slot."""

    setting: EvaluationSetting
    trainer: Retrainer
    place: Path
    """Of the run's verdicts."""

    def answer(self, asked: Asking, content: bytes, say: Callable[..., None]) -> tuple[Judged | Failing, bytes]:
        """The recorded verdict of a request, else a new one, or why there is none."""
        self.place.mkdir(mode=0o700, parents=True, exist_ok=True)
        try:
            with (
                machine_failures(self.place),
                only_one(self.place / f".{asked.id}.lock", lambda: say("another connection asks for the same")),
            ):
                return self._recorded(asked, content) or self._judged(asked, content, say)
        except Stopped:
            return Failing(failure="unusable", message="it was told to stop"), b""
        except AiraError as error:
            return _failing(error, 0.0, kind="unusable"), b""

    def _recorded(self, asked: Asking, content: bytes) -> tuple[Judged | Failing, bytes] | None:
        try:
            line, _, verdict = read_file(self.place, f"{asked.id}.json", 2 * MOST_VERDICT_BYTES).partition(b"\n")
        except FileNotFoundError:
            return None
        kept = _Kept.model_validate_json(line)
        if (kept.judged.submission_sha256, kept.canonical) != (hashlib.sha256(content).hexdigest(), asked.canonical):
            return Failing(failure="engine", message="the request's name stands for another submission"), b""
        return kept.judged, verdict

    def _judged(self, asked: Asking, content: bytes, say: Callable[..., None]) -> tuple[Judged | Failing, bytes]:
        submission = Submission(content, asked.canonical, asked.training)
        destination = self.place / asked.id
        if destination.is_dir() and any(destination.iterdir()):  # of a connection that was lost
            keep_attempt(destination)
        deadline = Deadline.after(asked.limit_s, asked.owner)
        try:
            with self.trainer.slots.slot(self.trainer.waits) as evaluator:
                deadline = Deadline.after(asked.limit_s, asked.owner)
                say(judging=True)
                verdict = evaluator.evaluate(submission, deadline=deadline, destination=destination)
            self.trainer.waits.check_stop()
        except SandboxError as error:
            self.trainer.waits.check_stop()
            return _failing(error, deadline.used_s), _verdict_of(error)
        except FilesTooLarge as error:
            return _failing(error, deadline.used_s), b""
        judged = Judged(id=asked.id, submission_sha256=submission.sha256, used_s=deadline.used_s)
        encoded = encode_verdict(verdict)
        head = _Kept(judged=judged, canonical=asked.canonical).model_dump_json().encode()
        write_atomically(self.place / f"{asked.id}.json", head + b"\n" + encoded, mode=0o600)
        return judged, encoded


def _verdict_of(error: SandboxError) -> bytes:
    return encode_verdict(error.verdict) if isinstance(error, Unexplained) else b""


def _failing(error: AiraError, used_s: float, kind: FailureKind | None = None) -> Failing:
    """What befell an evaluation, as a message."""
    kinds: tuple[tuple[bool, FailureKind], ...] = (
        (kind is not None, kind or "engine"),
        (isinstance(error, Unexplained), "unexplained"),
        (isinstance(error, EvaluationFailed) and error.crashed, "crashed"),
        (isinstance(error, EvaluationFailed), "evaluation"),
        (isinstance(error, FilesTooLarge), "too_large"),
        (isinstance(error, Starved), "starved"),
        (isinstance(error, EngineAway), "unusable"),
        (is_away(error), "away"),
        (isinstance(error, EndedFromOutside), "outside"),
    )
    found: FailureKind = next((name for is_it, name in kinds if is_it), "engine")
    return Failing(failure=found, message=str(error)[:_SAID_CHARS], used_s=max(0.0, used_s))
