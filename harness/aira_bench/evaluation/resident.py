"""Scores architectures, one after the other, with a judge that stays in its container (docs/decisions/0006).

An architecture is data, and so short a language that the host knows its normal form; a judge that gets nothing else can
serve many candidates and keep what is the same for all of them, imports above all. The container is the one every
judgement runs in, with the same walls, and the script it runs for each request is the task's own, so its end is read by
the same code. What the host cannot bring into normal form goes to a fresh container, as it would without this.

The container is thrown away, and the next request gets a new one, after every failure: silence beyond the deadline, an
early end, a message that is not the awaited answer, an exit status other than 0. Silence for the whole time of an
evaluation, and a judge that the kernel killed for memory, refuse the architecture: only it tells one request from
another.

Not covered: submissions that are code, and GPUs that an agent's container uses too (`may_stay`).
"""

import json
import secrets
import threading
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path

from pydantic import BaseModel, ConfigDict, ValidationError

from aira_bench.bundled import bundled_folder
from aira_bench.deadline import Deadline
from aira_bench.errors import SandboxError
from aira_bench.escaping import printable
from aira_bench.evaluation.judge import judge_in, judge_spec, timed_out, where_kept
from aira_bench.evaluation.submission import Submission
from aira_bench.evaluation.submission_evaluator import EvaluationSetting
from aira_bench.evaluation.verdict import Refused, Scored, ScriptEnd, Verdict, read_verdict
from aira_bench.excerpts import PROBLEM_CHARS
from aira_bench.files import write_atomically
from aira_bench.output import last_line_of, last_lines_of
from aira_bench.sandbox.sandbox import Conversation, ConversationTimeout, Limits, PreparedContainer, Sandbox
from aira_bench.sandbox.warm import WarmContainer
from aira_bench.tasks.task import Task
from aira_contract.containers import HIDDEN, TASK
from aira_contract.files import EVALUATE_SCRIPT, REPORT_FILE
from aira_contract.framing import MAX_MESSAGE_BYTES, REQUEST_KEYS
from aira_contract.invocation import DONE, HIDDEN_OPTION, RESIDENT_PROGRAM, SCRIPT_OPTION

_COMMAND = ("python3", "-m", RESIDENT_PROGRAM, SCRIPT_OPTION, str(TASK / EVALUATE_SCRIPT), HIDDEN_OPTION, str(HIDDEN))


class _Answer(BaseModel):
    """What the resident judge says (aira_evaluator.compose.judge.resident)."""

    model_config = ConfigDict(extra="forbid", frozen=True)

    id: str
    status: int
    stdout: str
    stderr: str
    report: str | None

    def script_end(self, seconds: float, kept: Path) -> ScriptEnd:
        """Return how the script ended for this request; `kept` is the folder that has its output."""
        report = None if self.report is None else self.report.encode()
        said = self.stderr.encode()
        return ScriptEnd(
            self.status, self.stdout, last_line_of(said), report, seconds, kept_in=where_kept(kept),
            last_lines=last_lines_of(said),
        )  # fmt: skip


def may_stay(task: Task, limits: Limits) -> bool:
    """Whether a judge of this task may stay between submissions in a slot with these limits.

    Only for tasks that come with the product, whose scripts are known to keep nothing between runs. Not on a GPU that
    an agent's container uses in between: GPUs are given to one container at a time, and memory of a judge that waits
    would lie on it.
    """
    shipped = task.folder.is_relative_to(bundled_folder("tasks").resolve())
    return shipped and task.metadata.aira.artifact.kind == "architecture" and limits.gpu_uuid is None


class ResidentJudge:
    """Scores architectures with a judge that stays; one slot's `SubmissionEvaluator`."""

    def __init__(self, setting: EvaluationSetting, sandbox: Sandbox, limits: Limits, ahead: ThreadPoolExecutor) -> None:
        """Begin starting the first judge container; the judge in it starts with the first submission."""
        self._setting, self._memory_mib = setting, limits.memory_mib
        self._containers = WarmContainer(sandbox, judge_spec(setting, limits), ahead)
        self._lock, self._closed = threading.Lock(), False
        self._open: PreparedContainer | None = None
        self._conversation: Conversation | None = None

    def evaluate(self, submission: Submission, *, deadline: Deadline, destination: Path) -> Verdict:
        """Score one submission (`SubmissionEvaluator.evaluate`)."""
        canonical = submission.canonical
        if canonical is None:
            return judge_in(self._containers, self._setting, submission, deadline, destination)
        destination.mkdir(parents=True, exist_ok=True)
        try:
            conversation = self._conversation or self._begin(deadline)
            answer = self._ask(conversation, canonical, submission.training, deadline)
            _keep(answer, destination)
            verdict = read_verdict(self._setting.task, answer.script_end(deadline.used_s, destination))
            if isinstance(verdict, Scored) and verdict.canonical != canonical:
                raise SandboxError(f"The resident judge scored {verdict.canonical!r}, asked was {canonical!r}.")
        except ConversationTimeout:
            self._dismiss()
            return timed_out(self._setting.task, deadline)
        except SandboxError:
            killed = self._was_killed_for_memory()
            self._dismiss()
            if killed:
                return Refused(f"its evaluation was killed above {self._memory_mib} MiB of memory")
            raise
        except BaseException:
            self._dismiss()
            raise
        if answer.status != DONE:
            self._dismiss()
        return verdict

    def close(self) -> None:
        """Remove the container that stays and the one started ahead."""
        with self._lock:
            self._closed = True
        self._containers.close()
        self._dismiss()

    def _begin(self, deadline: Deadline) -> Conversation:
        container = self._containers.take()
        with self._lock:
            self._open = container
            if self._closed:
                raise SandboxError("The run is being stopped.")
        try:
            conversation = container.converse(
                _COMMAND, files={}, most_bytes=MAX_MESSAGE_BYTES, timeout_s=deadline.left_s
            )
        except ConversationTimeout as error:  # it has been told of no submission yet
            raise SandboxError(f"The resident judge did not greet in time: {error.message}") from error
        deadline.lose(conversation.lost_s)
        self._conversation = conversation
        return conversation

    def _ask(self, conversation: Conversation, canonical: str, training: int, deadline: Deadline) -> _Answer:
        """Raises ConversationTimeout if there is no answer by the deadline, which others' time puts off."""
        lost_before_s = conversation.lost_s
        try:
            return self._answer(conversation, canonical, training, deadline.left_s)
        finally:
            deadline.lose(conversation.lost_s - lost_before_s)

    def _answer(self, conversation: Conversation, canonical: str, training: int, timeout_s: float) -> _Answer:
        name = secrets.token_hex(8)
        request = json.dumps(dict(zip(REQUEST_KEYS, (name, canonical, training), strict=True))).encode()
        try:
            answer = _Answer.model_validate_json(conversation.ask(request, timeout_s=timeout_s))
        except ValidationError as error:
            raise SandboxError(
                f"The resident judge's answer is broken: {str(error.errors()[0])[:PROBLEM_CHARS]}"
            ) from error
        if answer.id != name:
            raise SandboxError("The resident judge answered another request than it was asked.")
        return answer

    def _was_killed_for_memory(self) -> bool:
        """Whether the engine says so of the judge that just broke off."""
        with self._lock:
            container = self._open
        if container is None:
            return False
        try:
            return bool(container.inspect().get("State", {}).get("OOMKilled"))
        except SandboxError:
            return False

    def _dismiss(self) -> None:
        self._conversation = None
        with self._lock:
            container, self._open = self._open, None
        if container is not None:
            container.close()


def _keep(answer: _Answer, destination: Path) -> None:
    """Leave what a judge's own container leaves."""
    for stream, text in (("stdout", answer.stdout), ("stderr", answer.stderr)):
        (destination / f"{stream}.txt").write_text(printable(text.encode()), encoding="utf-8")
    if answer.report is not None:
        write_atomically(destination / REPORT_FILE, answer.report.encode())
