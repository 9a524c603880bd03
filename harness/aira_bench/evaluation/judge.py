"""Scores one submission in a judge container.

What is judged enters as bounded files; a score leaves as the task's printed block and, where the task writes one, its
report. The container mounts hidden data and the task folder, and no byte of agent code.

An evaluation that is killed for its memory, its output or the whole of its time is a refusal: those are the
submission's to cause. What one that ends by itself says is read by `verdict`.

Not covered: judges that stay in their container (`resident`), and what comes before a judge where a submission is code
(`traced_module`, `served_script`).
"""

from collections.abc import Mapping, Sequence
from concurrent.futures import ThreadPoolExecutor
from dataclasses import replace
from pathlib import Path

from aira_bench.deadline import Deadline
from aira_bench.errors import SandboxError
from aira_bench.escaping import printable
from aira_bench.evaluation.submission import Submission
from aira_bench.evaluation.submission_evaluator import EvaluationSetting
from aira_bench.evaluation.verdict import Refused, ScriptEnd, Verdict, read_verdict
from aira_bench.output import last_line, last_lines_of
from aira_bench.sandbox.sandbox import (
    Artifact,
    ArtifactRequest,
    ContainerSpec,
    Limits,
    Mount,
    PreparedContainer,
    RejectedArtifact,
    Sandbox,
    StepOutcome,
)
from aira_bench.sandbox.warm import WarmContainer
from aira_bench.tasks.task import Task
from aira_contract.containers import DATA, HIDDEN, TASK
from aira_contract.files import EVALUATE_SCRIPT, REPORT_FILE
from aira_contract.invocation import REPORT_OPTION, SUBMISSION_OPTION
from aira_contract.settings import TRAINING_VARIABLE

_REPORT = ArtifactRequest(REPORT_FILE, 1 << 20)
# Shows the hidden data as ./data beside the submission, then becomes the task's evaluator.
_ENTRY = f"""
import os, sys
os.environ["{TRAINING_VARIABLE}"] = sys.argv.pop(1)
for name in os.listdir("{HIDDEN}"):
    if not os.path.lexists("{DATA}/" + name):
        os.symlink("{HIDDEN}/" + name, "{DATA}/" + name)
os.execv(sys.executable, [sys.executable, "{TASK / EVALUATE_SCRIPT}", *sys.argv[1:]])
"""


class JudgeAlone:
    """Scores submissions that are data: each in a judge container of its own, started ahead."""

    def __init__(self, setting: EvaluationSetting, sandbox: Sandbox, limits: Limits, ahead: ThreadPoolExecutor) -> None:
        """Begin starting the first judge container."""
        self._setting = setting
        self._judges = WarmContainer(sandbox, judge_spec(setting, limits), ahead)

    def evaluate(self, submission: Submission, *, deadline: Deadline, destination: Path) -> Verdict:
        """Score one submission (`SubmissionEvaluator.evaluate`)."""
        return judge_in(self._judges, self._setting, submission, deadline, destination)

    def close(self) -> None:
        """Remove the container started ahead."""
        self._judges.close()


def judge_spec(setting: EvaluationSetting, limits: Limits) -> ContainerSpec:
    """Return the container a judge runs in: the task folder and the hidden data, nothing of an agent's."""
    return ContainerSpec(
        image=setting.images.evaluator,
        role="judge",
        run_id=setting.run_id,
        limits=limits,
        mounts=(
            Mount(setting.data.task, TASK),
            Mount(setting.data.hidden, HIDDEN),
        ),
        environment=setting.environment,
    )


def judge_in(
    containers: WarmContainer, setting: EvaluationSetting, submission: Submission, deadline: Deadline, destination: Path
) -> Verdict:
    """Score a submission that is data in the next of some containers; arguments as of `SubmissionEvaluator.evaluate`.

    Raises:
        SandboxError: the engine or the evaluation itself failed; there is no verdict.
    """
    files = {f"{DATA}/{setting.task.metadata.aira.artifact.name}": submission.content}
    container = containers.take()
    try:
        return judge(
            setting, files, container, deadline=deadline, destination=destination, training=submission.training
        )
    finally:
        container.close()


def judge(
    setting: EvaluationSetting,
    files: Mapping[str, bytes],
    container: PreparedContainer,
    *,
    deadline: Deadline,
    destination: Path,
    training: int = 0,
) -> Verdict:
    """Run the task's `evaluate.py` and read its verdict; the arguments are those of `run_judge`.

    Raises:
        SandboxError: the engine or the evaluation itself failed; there is no verdict.
    """
    outcome = run_judge(
        setting, files, container, timeout_s=deadline.limit_s, destination=destination, training=training
    )
    deadline.lose(outcome.lost_s)
    return replace(verdict_of(setting, outcome, deadline, destination), gpu=outcome.gpu)


def run_judge(
    setting: EvaluationSetting,
    files: Mapping[str, bytes],
    container: PreparedContainer,
    *,
    timeout_s: float,
    destination: Path,
    options: Sequence[str] = (),
    artifacts: Sequence[ArtifactRequest] = (),
    training: int = 0,
) -> StepOutcome:
    """Run the task's `evaluate.py`; its report and output are kept under `destination`.

    Args:
        setting: of the run.
        files: what the workspace holds, by path. The first is the submission, in `data/` beside the hidden data.
        container: a fresh one, made from `judge_spec`.
        timeout_s: for the whole command.
        destination: a host folder; made if absent.
        options: of this task's `evaluate.py` beyond those of all.
        artifacts: what is copied out besides the report.
        training: which of the submission, counted from 0.

    Raises:
        SandboxError: the engine failed.
    """
    arguments = [SUBMISSION_OPTION, f"./{next(iter(files))}"]
    reports = [_REPORT] if setting.task.metadata.aira.report else []
    for report in reports:
        arguments += [REPORT_OPTION, report.name]
    destination.mkdir(parents=True, exist_ok=True)
    outcome = container.run(
        ["python3", "-c", _ENTRY, str(training), *arguments, *options],
        files=files,
        timeout_s=timeout_s,
        artifacts=[*reports, *artifacts],
        destination=destination,
    )
    for stream, output in (("stdout", outcome.stdout), ("stderr", outcome.stderr)):
        text = printable(output.head + output.tail)
        (destination / f"{stream}.txt").write_text(text, encoding="utf-8")
    return outcome


def timed_out(task: Task, deadline: Deadline) -> Refused:
    """Return the verdict on a submission whose evaluation did not end by its deadline.

    Raises:
        SandboxError: the deadline was not the evaluation's own, and so not the submission's to keep.
    """
    if deadline.owner != "evaluation":
        raise SandboxError(f"The time of the run ended during the evaluation of {task.title}.")
    return Refused(f"its evaluation did not end within {deadline.limit_s:.0f} s", deadline.limit_s)


def where_kept(folder: Path) -> str:
    """Return where a user finds what a judge said in full, from the folder of a seed."""
    return f"{folder.parent.name}/{folder.name}/stderr.txt"


def verdict_of(
    setting: EvaluationSetting, outcome: StepOutcome, deadline: Deadline, kept: Path | None = None
) -> Verdict:
    """Return what the ending of a judge's container says; `kept` is the folder that has its output.

    Raises:
        SandboxError: the evaluation failed, or ran out of time that was not its own.
    """
    if outcome.ended == "timeout":
        return timed_out(setting.task, deadline)
    if outcome.ended != "exited":
        return Refused(f"its evaluation was killed above {outcome.above}", outcome.wall_s)
    if outcome.exit_code is None:
        raise SandboxError(f"The evaluation of {setting.task.title} ended without an exit status.")
    report = outcome.artifacts.get(_REPORT.name)
    end = ScriptEnd(
        outcome.exit_code,
        (outcome.stdout.head + outcome.stdout.tail).decode("utf-8", "replace"),
        last_line(outcome.stderr),
        report.path.read_bytes() if isinstance(report, Artifact) else None,
        outcome.wall_s,
        report.reason if isinstance(report, RejectedArtifact) else "missing",
        "its output" if kept is None else where_kept(kept),
        last_lines_of(outcome.stderr.tail or outcome.stderr.head),
    )
    return read_verdict(setting.task, end)
