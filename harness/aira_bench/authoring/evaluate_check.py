"""Has a task's evaluation score submissions, and tells its failures from refusals.

Of a CSV file or an architecture `evaluate.py` has to print one finite number, to refuse an empty file, and should do
the same twice. Code (`module`, `script`) goes through all the containers in which a run would have it scored.

Not covered: whether the score measures what the task is about.
"""

import re
from concurrent.futures import ThreadPoolExecutor

from aira_bench.authoring.findings import Finding
from aira_bench.authoring.place import CheckedTask
from aira_bench.deadline import Deadline
from aira_bench.errors import EvaluationFailed, TaskError
from aira_bench.evaluation.catalog import open_evaluator
from aira_bench.evaluation.judge import judge_spec, run_judge, verdict_of
from aira_bench.evaluation.submission import Submission
from aira_bench.evaluation.verdict import Refused
from aira_bench.output import last_line
from aira_bench.sandbox.sandbox import StepOutcome
from aira_contract.files import EVALUATE_SCRIPT
from aira_contract.invocation import DONE, REFUSED
from aira_contract.reports import RESULT_MARKER

_CUT_LINES = 4
"""A submission of fewer lines is not cut in half to see whether that is noticed."""
_BLOCK = re.compile(re.escape(RESULT_MARKER) + r"\s*\{")
_JUDGED_ALONE = ("csv", "architecture")


def score_submission(place: CheckedTask, submission: bytes, name: str) -> float:
    """Return the test score of a submission; tells it, and remarks on it.

    Args:
        place: the task with its data.
        submission: the artifact's bytes.
        name: of the submission, as messages have it.

    Raises:
        TaskError: there is no score, or one beyond the optimum.
        SandboxError: the engine failed.
    """
    alone = is_judged_alone(place)
    score = _judge(place, submission, name) if alone else _evaluate(place, submission, name)
    _check_bounds(place, name, score)
    place.tell(Finding(EVALUATE_SCRIPT, f"{name} has {place.task.metric} {score:g}"))
    return score


def is_judged_alone(place: CheckedTask) -> bool:
    """Whether `evaluate.py` reads the submission itself, with no container in between."""
    return place.task.metadata.aira.artifact.kind in _JUDGED_ALONE


def _evaluate(place: CheckedTask, submission: bytes, name: str) -> float:
    """The score that a run would give code, in all the containers that takes."""
    scored = Submission.of(place.task.metadata.aira.artifact, submission)
    deadline = Deadline.after(place.task.profile(place.profile).evaluation_timeout_s, "evaluation")
    with ThreadPoolExecutor(max_workers=2) as ahead:
        evaluator = open_evaluator(place.setting, place.host.sandbox, place.limits, ahead)
        try:
            verdict = evaluator.evaluate(scored, deadline=deadline, destination=place.scratch / "verdict")
        except EvaluationFailed as error:
            raise TaskError(f"{place.file(EVALUATE_SCRIPT)}: {error.message}") from error
        finally:
            evaluator.close()
    if isinstance(verdict, Refused):
        raise TaskError(f"{place.file(EVALUATE_SCRIPT)} refused {name}: {verdict.reason}.")
    return verdict.test


def _judge(place: CheckedTask, submission: bytes, name: str) -> float:
    """The score that `evaluate.py` prints.

    Raises:
        TaskError: it fails, or prints anything but one score.
    """
    script = place.file(EVALUATE_SCRIPT)
    deadline = Deadline.after(place.task.profile(place.profile).evaluation_timeout_s, "evaluation")
    outcome = _run_evaluate(place, submission)
    if outcome.ended == "exited" and outcome.exit_code != 0:
        words = last_line(outcome.stderr) or "no message"
        raise TaskError(f"{script} did not score {name}: exit status {outcome.exit_code}, expected 0: {words}")
    printed = (outcome.stdout.head + outcome.stdout.tail).decode("utf-8", "replace")
    blocks = len(_BLOCK.findall(printed))
    if outcome.ended == "exited" and blocks != 1:
        raise TaskError(
            f"{script} printed {blocks} score blocks for {name}, expected one: a line {RESULT_MARKER!r}, then "
            f'{{"{place.task.metric}": <number>}}.'
        )
    try:
        verdict = verdict_of(place.setting, outcome, deadline)
    except EvaluationFailed as error:
        raise TaskError(f"{script}: {error.message}") from error
    if isinstance(verdict, Refused):
        raise TaskError(f"{script} did not score {name}: {verdict.reason}.")
    if verdict.unranked:
        place.tell(Finding(EVALUATE_SCRIPT, f"{name} is out of ranking: {', '.join(verdict.unranked)}", is_remark=True))
    return verdict.test


def _run_evaluate(place: CheckedTask, submission: bytes) -> StepOutcome:
    profile = place.task.profile(place.profile)
    name = place.task.metadata.aira.artifact.name
    container = place.host.sandbox.prepare(judge_spec(place.setting, place.limits))
    try:
        return run_judge(
            place.setting, {f"data/{name}": submission}, container, timeout_s=profile.evaluation_timeout_s,
            destination=place.scratch / "verdict",
        )  # fmt: skip
    finally:
        container.close()


def _check_bounds(place: CheckedTask, name: str, score: float) -> None:
    info, lower = place.task.metadata.logging_info, place.task.lower_is_better
    optimum, worst = info.optimal_score, info.estimated_worst_score
    slack = 1e-9 * max(1.0, abs(score))
    if optimum is not None and (optimum - score if lower else score - optimum) > slack:
        raise TaskError(
            f"{place.file('evaluate.py')} gave {name} {place.task.metric} {score:g}, better than "
            f"logging_info.optimal_score {optimum:g} where {'lower' if lower else 'higher'} is better."
        )
    if worst is not None and (score - worst if lower else worst - score) > slack:
        seen = f"{name} has {place.task.metric} {score:g}, worse than estimated_worst_score {worst:g}"
        place.tell(Finding("metadata.yaml", seen, is_remark=True))


def check_refusals(place: CheckedTask, submission: bytes, score: float) -> None:
    """An empty submission has to be refused, a cut one should be, and the same one should have the same score.

    Raises:
        TaskError: the empty one has a score, or is taken for a failure of the evaluation.
    """
    script, reports = place.file(EVALUATE_SCRIPT), place.task.metadata.aira.report
    name = place.task.metadata.aira.artifact.name
    empty = _run_evaluate(place, b"")
    if empty.ended != "exited" or empty.exit_code == DONE or (reports and empty.exit_code != REFUSED):
        ended = f"exit status {empty.exit_code}" if empty.ended == "exited" else empty.ended.replace("_", " ")
        raise TaskError(
            f"{script} ended with {ended} for an empty {name}, expected 2: what cannot be read has to be refused."
        )
    place.tell(Finding(EVALUATE_SCRIPT, f"an empty {name} is refused"))
    lines = submission.splitlines(keepends=True)
    if len(lines) >= _CUT_LINES:
        cut = _run_evaluate(place, b"".join(lines[: len(lines) // 2]))
        if cut.exit_code == 0:
            place.tell(Finding(EVALUATE_SCRIPT, f"scored a {name} cut to half its lines", is_remark=True))
    if place.task.metadata.aira.artifact.kind == "csv":
        again = _judge(place, submission, name)
        if again != score:
            seen = f"gave the same {name} {score:g} and then {again:g}"
            place.tell(Finding(EVALUATE_SCRIPT, seen, is_remark=True))
