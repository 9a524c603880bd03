"""Scores submissions that are data on judge nodes: their bytes go over, the verdict comes back.

A node that cannot be used is passed over for the next one; one that is lost while it judges is asked again first, since
it may have recorded its verdict. None of that is a verdict, and none of the time is the seed's.

Not covered: submissions that are code, which would have to run beside their judge (`require_data`).
"""

import hashlib
import json
import threading
from dataclasses import dataclass
from pathlib import Path

from aira_bench.bundled import bundled_folder
from aira_bench.deadline import Deadline
from aira_bench.errors import EvaluationFailed, JudgesAway, SandboxError, UsageError
from aira_bench.evaluation.submission import Submission
from aira_bench.evaluation.submission_evaluator import EvaluationSetting
from aira_bench.evaluation.verdict import Refused, Unexplained, Verdict
from aira_bench.hidden_keys import HiddenKey
from aira_bench.remote_judging.messages import Asking, BrokenMessage, Failing, Judged, Opened, Opening, decode_verdict
from aira_bench.remote_judging.nodes import OPTION, JudgeNodes, NodeConnection, NodeLost, NodeUnlike
from aira_bench.sandbox.sandbox import EndedFromOutside, FilesTooLarge, Limits, Starved, StepLost
from aira_bench.tasks.task import Task

_DATA = ("architecture", "csv")
_PLACE_PARTS = 4
"""Of a judgement's folder, from the seed on at least: they tell it from the run's others."""


def require_data(task: Task, evaluator: str | None) -> None:
    """Whether submissions to a task can be judged elsewhere.

    Raises:
        UsageError: they are code, which must run beside its judge, or code of others judges them.
    """
    kind = task.metadata.aira.artifact.kind
    if task.folder.parent != bundled_folder("tasks").resolve():
        raise UsageError(
            f"{OPTION}: judge nodes judge the tasks that come with aira-bench, and {task.folder} is none of them.",
            hint="aira-bench tasks",
        )
    if evaluator is not None or kind not in _DATA:
        what = f"evaluator {evaluator}" if evaluator else f"a {kind}"
        raise UsageError(
            f"{OPTION}: {what} has code run beside the judge, and no such code may run on a judge node. Submissions "
            f"that are data can be judged elsewhere ({', '.join(_DATA)}); task {task.title} wants another.",
            hint="the same command without it",
        )


@dataclass(frozen=True)
class AgreedJudges:
    """Judge nodes that have what a run expects (`evaluation.submission_evaluator.JudgesElsewhere`)."""

    nodes: JudgeNodes
    opening: Opening
    """As each connection begins, but for what an evaluation decides."""
    opened: Opened

    @property
    def options(self) -> tuple[str, ...]:
        """What a command needs to have them judge, as it is typed."""
        return (OPTION, self.nodes.text)

    @property
    def hidden_key(self) -> HiddenKey | None:
        """What their hidden data is derived from, by its hash; None for published seeds."""
        return HiddenKey(self.opened.hidden.key) if self.opened.hidden.key else None

    def open(self, setting: EvaluationSetting, limits: Limits) -> "RemoteJudge":
        """Return the evaluator of one slot; it connects with its first submission."""
        known: dict[str, object] = {
            "hidden": self.opened.hidden, "hardware_class": self.opened.hardware_class, "probe": False,
            "seed_set": setting.seed_set, "cores": None if limits.cpus is None else len(limits.cpus),
        }  # fmt: skip
        return RemoteJudge(self.nodes, self.opening.model_copy(update=known))


class RemoteJudge:
    """One slot's `SubmissionEvaluator`, with a connection to one node at a time."""

    def __init__(self, nodes: JudgeNodes, opening: Opening) -> None:
        """Connect to none yet."""
        self._nodes, self._text, self._opening = nodes.nodes, nodes.text, opening
        self._first = 0
        self._lock, self._is_closed = threading.Lock(), False
        self._connection: NodeConnection | None = None

    def evaluate(self, submission: Submission, *, deadline: Deadline, destination: Path) -> Verdict:
        """Have one submission scored (`SubmissionEvaluator.evaluate`); what the judge wrote stays on its node."""
        identity = [self._opening.run_id, *destination.parts[-_PLACE_PARTS:], submission.training, submission.sha256]
        name = hashlib.sha256(json.dumps([*identity, submission.canonical]).encode()).hexdigest()
        began_s, used_s = deadline.used_s, 0.0
        asking = Asking(
            id=name, canonical=submission.canonical, training=submission.training, limit_s=deadline.left_s,
            owner=deadline.owner,
        )  # fmt: skip
        try:
            answer, content = self._asked(asking, submission)
            used_s = answer.used_s
        finally:
            deadline.lose(max(0.0, deadline.used_s - began_s - used_s))
        if isinstance(answer, Failing):
            raise self._failure(answer, content)
        try:
            return decode_verdict(content)
        except BrokenMessage as error:
            raise SandboxError(f"{self._nodes[self._first].role}: {error}") from error

    def close(self) -> None:
        """Hang up, whatever is waited for."""
        with self._lock:
            self._is_closed = True
        self._hang_up()

    def _asked(self, asking: Asking, submission: Submission) -> tuple[Judged | Failing, bytes]:
        """What the first node says that can be used.

        Raises:
            JudgesAway: none can.
            StepLost: one was lost while it judged.
        """
        lost = []
        for _ in self._nodes:
            try:
                connection = self._connected()
                answer, content = connection.ask(asking, submission.content, submission.sha256)
            except (NodeLost, NodeUnlike) as error:
                self._hang_up()
                if isinstance(error, NodeLost) and error.judging:
                    raise StepLost(f"{error}, while it judged", why="away") from error
                lost.append(str(error))
            else:
                if not (isinstance(answer, Failing) and answer.failure == "unusable"):
                    return answer, content
                self._hang_up()
                lost.append(f"{connection.node.role}: {answer.message}")
            self._first = (self._first + 1) % len(self._nodes)
        raise JudgesAway(
            f"No judge node can be used: {'; '.join(lost)}.", hint=f"aira-bench cluster check --judge-on {self._text}"
        )

    def _connected(self) -> NodeConnection:
        with self._lock:
            known = self._connection
            if self._is_closed:
                raise SandboxError("The run is being stopped.")
        if known is not None:
            return known
        made = NodeConnection(self._nodes[self._first], self._opening)
        with self._lock:
            self._connection = made
            if not self._is_closed:
                return made
        self._hang_up()
        raise SandboxError("The run is being stopped.")

    def _hang_up(self) -> None:
        with self._lock:
            connection, self._connection = self._connection, None
        if connection is not None:
            connection.close()

    def _failure(self, answer: Failing, content: bytes) -> Exception:
        """What a node's failure is here."""
        said = f"{self._nodes[self._first].role}: {answer.message}"
        match answer.failure:
            case "evaluation" | "crashed":
                return EvaluationFailed(said, crashed=answer.failure == "crashed")
            case "too_large":
                return FilesTooLarge(said)
            case "starved":
                return Starved(said)
            case "away":
                return StepLost(said, why="away")
            case "outside":
                return EndedFromOutside(said)
            case "unexplained":
                try:
                    verdict = decode_verdict(content)
                except BrokenMessage as error:
                    return SandboxError(f"{said} ({error})")
                return Unexplained(said, verdict) if isinstance(verdict, Refused) else SandboxError(said)
            case _:
                return SandboxError(said)
