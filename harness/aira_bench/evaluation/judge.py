"""Scores one submission in a judge container.

What is judged enters as bounded files; a score leaves as the task's printed block and, where the task writes one, its
report. The container mounts hidden data and the task folder, and no byte of agent code.

Verdicts: exit status 0 with a good block is a score, 2 is a refusal (upstream contract). An evaluation that is killed
for its memory, its output or the whole of its time is a refusal too: those are the submission's to cause. Any other
failure is the evaluation's own, an infrastructure error, except in upstream folders, whose scripts also crash on bad
submissions.
"""

from collections.abc import Mapping
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path

from aira_bench.errors import SandboxError
from aira_bench.escaping import printable
from aira_bench.evaluation.protocol import EvaluationSetting
from aira_bench.evaluation.verdict import Refused, Scored, Verdict, parse_report, parse_score_block
from aira_bench.output import last_line
from aira_bench.sandbox.protocol import (
    Artifact,
    ArtifactRequest,
    ContainerSpec,
    Limits,
    Mount,
    PreparedContainer,
    Sandbox,
    StepOutcome,
)
from aira_bench.sandbox.warm import WarmContainer
from aira_contract.containers import DATA, HIDDEN, TASK
from aira_contract.files import EVALUATE_SCRIPT, MAX_PROGRAMS_FILE_BYTES, PROGRAMS_FILE, REPORT_FILE
from aira_contract.invocation import DONE, PROGRAMS_OPTION, REFUSED, REPORT_OPTION, SUBMISSION_OPTION

_REPORT = ArtifactRequest(REPORT_FILE, 1 << 20)
PROGRAMS = ArtifactRequest(PROGRAMS_FILE, MAX_PROGRAMS_FILE_BYTES)
"""What a judge that compiles leaves for the next one (`aira_bench.record.compiled_programs`)."""
# Shows the hidden data as ./data beside the submission, then becomes the task's evaluator.
_ENTRY = f"""
import os, sys
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

    def evaluate(self, submission: bytes, *, timeout_s: float, destination: Path) -> Verdict:
        """Score one submission (`SubmissionEvaluator.evaluate`)."""
        name = self._setting.task.metadata.aira.artifact.name
        container = self._judges.take()
        try:
            return judge(
                self._setting, name, {name: submission}, container, timeout_s=timeout_s, destination=destination
            )
        finally:
            container.close()

    def close(self) -> None:
        """Remove the container started ahead."""
        self._judges.close()


def judge_spec(setting: EvaluationSetting, limits: Limits) -> ContainerSpec:
    """The container a judge runs in: the task folder and the hidden data, nothing of an agent's."""
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


def judge(
    setting: EvaluationSetting,
    submission: str,
    files: Mapping[str, bytes],
    container: PreparedContainer,
    *,
    timeout_s: float,
    destination: Path,
) -> Verdict:
    """Run the task's `evaluate.py` and read its verdict.

    The arguments are those of `run_judge`.

    Raises:
        SandboxError: the engine or the evaluation itself failed; there is no verdict.
    """
    outcome = run_judge(setting, submission, files, container, timeout_s=timeout_s, destination=destination)
    return read_verdict(setting, outcome, timeout_s=timeout_s)


def run_judge(
    setting: EvaluationSetting,
    submission: str,
    files: Mapping[str, bytes],
    container: PreparedContainer,
    *,
    timeout_s: float,
    destination: Path,
    programs: bytes | None = None,
) -> StepOutcome:
    """Run the task's `evaluate.py`; its report and output are kept under `destination`.

    Args:
        setting: of the run.
        submission: which of the files `--submission-file` names.
        files: what lies in `./data` beside the hidden data, by name.
        container: a fresh one, made from `judge_spec`.
        timeout_s: for the whole command.
        destination: a host folder; made if absent.
        programs: compiled programs of an earlier judge, or empty; then those of this one are copied out as well.

    Raises:
        SandboxError: the engine failed.
    """
    arguments = [SUBMISSION_OPTION, f"./{DATA}/{submission}"]
    entering = {f"{DATA}/{name}": content for name, content in files.items()}
    artifacts = []
    if setting.task.metadata.aira.report:
        arguments += [REPORT_OPTION, _REPORT.name]
        artifacts.append(_REPORT)
    if programs is not None:
        arguments += [PROGRAMS_OPTION, PROGRAMS.name]
        artifacts.append(PROGRAMS)
        entering |= {PROGRAMS.name: programs} if programs else {}
    destination.mkdir(parents=True, exist_ok=True)
    outcome = container.run(
        ["python3", "-c", _ENTRY, *arguments],
        files=entering,
        timeout_s=timeout_s,
        artifacts=artifacts,
        destination=destination,
    )
    for stream, output in (("stdout", outcome.stdout), ("stderr", outcome.stderr)):
        text = printable(output.head + output.tail)
        (destination / f"{stream}.txt").write_text(text, encoding="utf-8")
    return outcome


def has_whole_time(setting: EvaluationSetting, timeout_s: float) -> bool:
    """Whether an evaluation has the profile's time: less is what the run has left, which no submission answers for."""
    return timeout_s >= setting.task.profile(setting.profile).evaluation_timeout_s


def timed_out(setting: EvaluationSetting, timeout_s: float) -> Refused:
    """The verdict on a submission whose evaluation did not end.

    Raises:
        SandboxError: it had less than the profile's time.
    """
    if not has_whole_time(setting, timeout_s):
        raise SandboxError(f"The time of the run ended during the evaluation of {setting.task.title}.")
    return Refused(f"its evaluation did not end within {timeout_s:.0f} s", timeout_s)


def read_verdict(setting: EvaluationSetting, outcome: StepOutcome, *, timeout_s: float) -> Verdict:
    """What a judge's ending, score block and report say; `timeout_s` is the time it had.

    Raises:
        SandboxError: the evaluation failed, or had less than its time and ran out of it.
    """
    reports = setting.task.metadata.aira.report
    if outcome.ended == "timeout":
        return timed_out(setting, timeout_s)
    if outcome.ended != "exited":
        return Refused(f"its evaluation was killed above {outcome.above}", outcome.wall_s)
    if outcome.exit_code == REFUSED or (outcome.exit_code != DONE and not reports):
        return Refused(_refusal(setting, outcome), outcome.wall_s)
    if outcome.exit_code != DONE:
        raise SandboxError(
            f"The evaluation of {setting.task.title} failed with exit status {outcome.exit_code}: "
            f"{last_line(outcome.stderr) or 'no message'}"
        )
    try:
        test = parse_score_block((outcome.stdout.head + outcome.stdout.tail).decode("utf-8", "replace"),
                                 setting.task.metric)  # fmt: skip
    except ValueError as error:
        if reports:
            raise SandboxError(f"The evaluation of {setting.task.title} gave no score: {error}.") from error
        return Refused(str(error), outcome.wall_s)
    if not reports:
        return Scored(test, None, None, evaluator_version="task", seconds=outcome.wall_s)
    return _reported(setting, outcome, test)


def _reported(setting: EvaluationSetting, outcome: StepOutcome, test: float) -> Scored:
    file = outcome.artifacts[_REPORT.name]
    if not isinstance(file, Artifact):
        raise SandboxError(f"The evaluation of {setting.task.title} left no report ({file.reason}).")
    report = parse_report(file.path.read_bytes())
    if report.test != test:
        raise SandboxError(f"The evaluation printed {test} and reported {report.test}; they must be equal.")
    if setting.task.metadata.aira.hidden_validation and report.validation is None:
        raise SandboxError(f"The evaluation of {setting.task.title} reported no hidden validation score.")
    return Scored(
        test,
        report.validation,
        report.canonical,
        report.evaluator_version,
        report.seconds,
        dict(report.details),
        claimed=report.claimed,
        flags=report.flags,
        unranked=report.unranked,
        remarks=report.remarks,
        validation_standard_error=report.validation_standard_error,
        test_standard_error=report.test_standard_error,
    )


def _refusal(setting: EvaluationSetting, outcome: StepOutcome) -> str:
    """Our own evaluators word refusals for agents; other tasks' messages may quote labels, so they stay here."""
    if not setting.task.metadata.aira.report:
        return "the task's evaluate.py refused the submission"
    line = last_line(outcome.stderr) or "the submission cannot be read"
    return line.split("error: ", 1)[-1]
