"""Scores one submission in a judge container.

The submission enters as one bounded file; a score leaves as the task's printed block and, where the task writes one,
its report. The container mounts hidden data and the task folder, and no byte of agent code.

Verdicts: exit status 0 with a good block is a score, 2 is a refusal (upstream contract); any other failure is the
evaluation's own, an infrastructure error, except in upstream folders, whose scripts also crash on bad submissions.
"""

from dataclasses import dataclass
from pathlib import Path, PurePosixPath

from aira_bench.errors import SandboxError
from aira_bench.evaluation.verdict import Refused, Scored, Verdict, parse_report, parse_score_block
from aira_bench.output import last_line, printable
from aira_bench.sandbox.protocol import (
    Artifact,
    ArtifactRequest,
    ContainerSpec,
    Limits,
    Mount,
    PreparedContainer,
    StepOutcome,
)
from aira_bench.tasks.store import TaskData
from aira_bench.tasks.task import Task

_REPORT = ArtifactRequest("report.json", 1 << 20)
# Shows the hidden data as ./data beside the submission, then becomes the task's evaluator.
_ENTRY = """
import os, sys
for name in os.listdir("/hidden"):
    if not os.path.lexists("data/" + name):
        os.symlink("/hidden/" + name, "data/" + name)
os.execv(sys.executable, [sys.executable, "/task/evaluate.py", *sys.argv[1:]])
"""


@dataclass(frozen=True)
class Judge:
    """Everything that stays the same from one evaluation of a run to the next."""

    task: Task
    profile: str
    data: TaskData
    image: str
    seed_set: str = "search"

    def spec(self, run_id: str, limits: Limits) -> ContainerSpec:
        """The container one evaluation runs in."""
        return ContainerSpec(
            image=self.image,
            role="judge",
            run_id=run_id,
            limits=limits,
            mounts=(
                Mount(self.data.task, PurePosixPath("/task")),
                Mount(self.data.hidden, PurePosixPath("/hidden")),
            ),
            environment={"AIRA_PROFILE": self.profile, "AIRA_SEED_SET": self.seed_set},
        )

    def evaluate(
        self, submission: bytes, container: PreparedContainer, *, timeout_s: float, destination: Path
    ) -> Verdict:
        """Score `submission`; the evaluator's report and output are kept under `destination`.

        Raises:
            SandboxError: the engine or the evaluation itself failed; the submission has no verdict.
        """
        name = self.task.metadata.aira.artifact.name
        reports = self.task.metadata.aira.report
        arguments = ["--submission-file", f"./data/{name}", *(["--report-file", _REPORT.name] if reports else [])]
        destination.mkdir(parents=True, exist_ok=True)
        outcome = container.run(
            ["python3", "-c", _ENTRY, *arguments],
            files={f"data/{name}": submission},
            timeout_s=timeout_s,
            artifacts=[_REPORT] if reports else [],
            destination=destination,
        )
        for stream, output in (("stdout", outcome.stdout), ("stderr", outcome.stderr)):
            text = printable(output.head + output.tail)
            (destination / f"{stream}.txt").write_text(text, encoding="utf-8")
        return self._verdict(outcome)

    def _verdict(self, outcome: StepOutcome) -> Verdict:
        reports = self.task.metadata.aira.report
        if outcome.ended != "exited":
            raise SandboxError(f"The evaluation of {self.task.title} ended by {outcome.ended.replace('_', ' ')}.")
        if outcome.exit_code == 2 or (outcome.exit_code != 0 and not reports):
            return Refused(self._refusal(outcome), outcome.wall_s)
        if outcome.exit_code != 0:
            raise SandboxError(
                f"The evaluation of {self.task.title} failed with exit status {outcome.exit_code}: "
                f"{last_line(outcome.stderr) or 'no message'}"
            )
        try:
            test = parse_score_block((outcome.stdout.head + outcome.stdout.tail).decode("utf-8", "replace"),
                                     self.task.metric)  # fmt: skip
        except ValueError as error:
            if reports:
                raise SandboxError(f"The evaluation of {self.task.title} gave no score: {error}.") from error
            return Refused(str(error), outcome.wall_s)
        if not reports:
            return Scored(test, None, None, evaluator_version="task", seconds=outcome.wall_s)
        return self._reported(outcome, test)

    def _reported(self, outcome: StepOutcome, test: float) -> Scored:
        file = outcome.artifacts[_REPORT.name]
        if not isinstance(file, Artifact):
            raise SandboxError(f"The evaluation of {self.task.title} left no report ({file.reason}).")
        report = parse_report(file.path.read_bytes())
        if report.test != test:
            raise SandboxError(f"The evaluation printed {test} and reported {report.test}; they must be equal.")
        if self.task.metadata.aira.hidden_validation and report.validation is None:
            raise SandboxError(f"The evaluation of {self.task.title} reported no hidden validation score.")
        return Scored(
            test, report.validation, report.canonical, report.evaluator_version, report.seconds, dict(report.details)
        )

    def _refusal(self, outcome: StepOutcome) -> str:
        """Our own evaluators word refusals for agents; other tasks' messages may quote labels, so they stay here."""
        if not self.task.metadata.aira.report:
            return "the task's evaluate.py refused the submission"
        line = last_line(outcome.stderr) or "the submission cannot be read"
        return line.split("error: ", 1)[-1]
