"""What a judge can say about a submission, and how the end of its script becomes that.

Only the judge's own output is read here, never an agent's. The score block is the last one printed, because a task's
script may echo parts of a submission before it.
"""

import builtins
import json
import math
import re
import signal
from collections.abc import Mapping
from dataclasses import dataclass, field
from typing import Annotated, Any, Self

from pydantic import BaseModel, ConfigDict, Field, ValidationError, model_validator

from aira_bench.errors import EvaluationFailed, SandboxError
from aira_bench.excerpts import PROBLEM_CHARS, VALUE_CHARS
from aira_bench.gpus.use import GpuUse
from aira_bench.record.scores import TrustedScore
from aira_bench.sandbox.sandbox import StepLost
from aira_bench.tasks.task import Task
from aira_contract.invocation import DONE, REFUSED
from aira_contract.reports import REPORT_SCHEMA, RESULT_MARKER
from aira_contract.training_series import Series, require_series

Flag = Annotated[str, Field(pattern=r"^[a-z][a-z0-9_]{0,39}$")]
StandardError = Annotated[float | None, Field(ge=0, allow_inf_nan=False)]
"""Of an estimated score, in the score's own unit; None where a score is computed, not estimated."""
Remark = Annotated[str, Field(min_length=1, max_length=300, pattern=r"^[ -~]+$")]
_EXCEPTIONS = {"EmptyDataError", "JSONDecodeError", "ParserError"} | {
    name for name, value in vars(builtins).items() if isinstance(value, type) and issubclass(value, BaseException)
}
"""Python's own and those of the parsers that upstream's scripts use: a closed list, so that no label can be one."""
_BLOCK = re.compile(r"\s*(\{[^{}]*\})")


class CheckedReport(BaseModel):
    """`aira_contract.reports.Report`, checked: the file of a task that writes one (docs/architecture.md)."""

    model_config = ConfigDict(extra="forbid", frozen=True)

    schema_version: int = Field(alias="schema", strict=True, ge=REPORT_SCHEMA, le=REPORT_SCHEMA)
    canonical: str | None = None
    validation: float | None = Field(default=None, allow_inf_nan=False)
    test: float = Field(allow_inf_nan=False)
    public: float | None = Field(default=None, allow_inf_nan=False)
    """On the public validation rows."""
    validation_standard_error: StandardError = None
    test_standard_error: StandardError = None
    public_standard_error: StandardError = None
    claimed: float | None = Field(default=None, allow_inf_nan=False)
    """What the submission said of itself, where its own code computes a score."""
    flags: tuple[Flag, ...] = ()
    """What the evaluation's checks noticed about a valid submission."""
    unranked: tuple[Flag, ...] = ()
    """Those of `flags` for which the score takes part in neither search nor ranking; it is still shown."""
    remarks: tuple[Remark, ...] = Field(default=(), max_length=8)
    """The figures that controls compared, in words."""
    series: Series = ()
    """How the training of the score went."""
    details: dict[str, Any] = Field(default_factory=dict)
    evaluator_version: str
    seed_set: str
    seconds: float = Field(ge=0, allow_inf_nan=False)

    @model_validator(mode="after")
    def _agrees_with_itself(self) -> Self:
        if unknown := sorted(set(self.unranked) - set(self.flags)):
            raise ValueError(f"unranked for {', '.join(unknown)}, which no flag names")
        require_series(self.series)
        return self


@dataclass(frozen=True)
class Scored:
    """The judge's verdict on a submission that it accepted: its scores, and what it noticed."""

    test: float
    validation: float | None
    canonical: str | None
    evaluator_version: str
    seconds: float
    details: dict[str, Any] = field(default_factory=dict)
    cached: bool = False
    claimed: float | None = None
    flags: tuple[str, ...] = ()
    unranked: tuple[str, ...] = ()
    """Those of `flags` for which the score takes part in neither search nor ranking."""
    validation_standard_error: float | None = None
    test_standard_error: float | None = None
    remarks: tuple[str, ...] = ()
    """The figures that controls compared, in words."""
    public: float | None = None
    """On the public validation rows, which a submission can claim a number on."""
    public_standard_error: float | None = None
    series: Series = ()
    """How the training of the score went, by the judge's own measure."""
    claimed_series: Series = ()
    """The same as a training script told it; nothing of it is checked but its form."""
    attempts: int = 1
    """How often it was evaluated for that, because infrastructure failed."""
    gpu: GpuUse | None = None
    """How the device of its training worked, where it had one."""


@dataclass(frozen=True)
class Refused:
    """An invalid submission; `reason` is one line, written by trusted code."""

    reason: str
    seconds: float = 0.0
    attempts: int = 1
    """As of a valid one."""
    gpu: GpuUse | None = None


Verdict = Scored | Refused
_MOST_PARTS = 32


def validation_parts(details: Mapping[str, Any], decimals: int) -> dict[str, float]:
    """Return the scores whose mean the hidden validation score is, by name and rounded as that is shown to a search.

    Nothing else of a report's details is ever shown: they hold the same of the hidden test data.
    """
    validation = details.get("validation")
    parts = validation.get("tasks") if isinstance(validation, Mapping) else None
    if not isinstance(parts, Mapping) or len(parts) > _MOST_PARTS:
        return {}
    found: dict[str, float] = {}
    for name, score in parts.items():
        value = score.get("micro") if isinstance(score, Mapping) else score
        if isinstance(value, int | float) and not isinstance(value, bool) and math.isfinite(value):
            found[str(name)[:VALUE_CHARS]] = round(float(value), decimals)
    return found


class Unexplained(StepLost):
    """An evaluation was cut short by a kill of which the engine knows nothing, or by a crash.

    It is done again once. If it ends so again, that is the submission's doing, and `verdict` what it comes to.
    """

    def __init__(self, message: str, verdict: Refused) -> None:
        super().__init__(message, why="unexplained")
        self.verdict = verdict


CRASHES = frozenset({signal.SIGILL, signal.SIGABRT, signal.SIGBUS, signal.SIGFPE, signal.SIGSEGV})
"""Signals of a process that ended by a fault of its own. What a judge runs is the task's code and the submission, the
same every time."""
_SIGNALLED = 128


def trusted_score(step: int, scored: Scored, image: str, *, synthetic: bool) -> TrustedScore:
    """Return what is kept of a verdict; `image` is the evaluator's."""
    return TrustedScore(
        step, scored.test, scored.validation, scored.evaluator_version, image, scored.seconds, scored.cached,
        scored.claimed, scored.flags, synthetic, scored.unranked, scored.validation_standard_error,
        scored.test_standard_error, scored.remarks, scored.public, scored.public_standard_error, scored.series,
        scored.claimed_series,
    )  # fmt: skip


@dataclass(frozen=True)
class ScriptEnd:
    """How a task's `evaluate.py` ended by itself, wherever it ran."""

    status: int
    stdout: str
    """What was kept of it."""
    last_words: str
    """The last line of its standard error, escaped."""
    report: bytes | None
    seconds: float
    no_report: str = "missing"
    """Why there is no report where one is due."""
    kept_in: str = "its output"
    """Where a user finds what it said in full."""
    last_lines: str = ""
    """The last lines of its standard error, as one, for whoever wrote the script."""


def read_verdict(task: Task, end: ScriptEnd) -> Verdict:
    """Return what exit status, score block and report of `evaluate.py` say.

    Status 0 with a good block is a score, 2 a refusal (upstream contract). Anything else is a failure of the
    evaluation, except in upstream folders, which write no report and whose scripts also crash on bad submissions.
    An end by a signal is no word of the script's: there is no verdict.

    Raises:
        EvaluationFailed: the evaluation failed; there is no verdict.
        Unexplained: the script of an upstream folder crashed; that may be the submission's doing, if it does so again.
        SandboxError: the script was killed, by whomever.
    """
    reports = task.metadata.aira.report
    ended_by = signal_of(end.status)
    if ended_by is not None and not (reports and ended_by in CRASHES):
        words = f"The evaluation of {task.title} was ended by signal {ended_by}; there is no verdict."
        if ended_by in CRASHES:
            raise Unexplained(words, Refused(f"the task's evaluate.py crashes on the submission (signal {ended_by})"))
        raise SandboxError(words, hint="dmesg | grep -i 'killed process'")
    if end.status == REFUSED or (end.status != DONE and not reports):
        return Refused(_refusal(task, end), end.seconds)
    if end.status != DONE:
        raise EvaluationFailed(
            f"The evaluation of {task.title} failed with exit status {end.status}: "
            f"{end.last_lines or end.last_words or 'no message'} (see {end.kept_in})",
            crashed=ended_by is not None,
        )
    try:
        test = parse_score_block(end.stdout, task.metric)
    except ValueError as error:
        if reports:
            raise EvaluationFailed(f"The evaluation of {task.title} gave no score: {error}.") from error
        return Refused(f"{error} (see {end.kept_in})", end.seconds)
    if not reports:
        return Scored(test, None, None, evaluator_version="task", seconds=end.seconds)
    if end.report is None:
        raise EvaluationFailed(f"The evaluation of {task.title} left no report ({end.no_report}).")
    return _scored(task, parse_report(end.report), test)


def signal_of(status: int) -> int | None:
    """Return which signal ended a process, as its init tells of it in the exit status; None if none did."""
    number = status - _SIGNALLED
    return number if 0 < number < signal.NSIG else None


def _scored(task: Task, report: CheckedReport, test: float) -> Scored:
    if report.test != test:
        raise EvaluationFailed(f"The evaluation printed {test} and reported {report.test}; they must be equal.")
    if task.metadata.aira.hidden_validation and report.validation is None:
        raise EvaluationFailed(f"The evaluation of {task.title} reported no hidden validation score.")
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
        public=report.public,
        public_standard_error=report.public_standard_error,
        series=report.series,
    )


def _refusal(task: Task, end: ScriptEnd) -> str:
    """Our own evaluators word refusals for agents; other tasks' messages may quote labels, so of those only the kind of
    the exception is told, and where a user finds the rest.
    """
    if not task.metadata.aira.report:
        kind = end.last_words.partition(":")[0].rpartition(".")[2]
        cause = kind if kind in _EXCEPTIONS else f"exit status {end.status}"
        return f"the task's evaluate.py refused the submission: {cause} (see {end.kept_in})"
    return (end.last_words or "the submission cannot be read").split("error: ", 1)[-1]


def parse_score_block(text: str, metric: str) -> float:
    """Return the number under `metric` in the last score block of `text`.

    Raises:
        ValueError: no block, other keys, or a number that is not finite.
    """
    at = text.rfind(RESULT_MARKER)
    match = _BLOCK.match(text, at + len(RESULT_MARKER)) if at >= 0 else None
    if match is None:
        raise ValueError("no score block was printed")
    try:
        values = json.loads(match.group(1), parse_constant=float)
    except json.JSONDecodeError as error:
        raise ValueError(f"the score block is not JSON: {error.msg}") from error
    if list(values) != [metric]:
        raise ValueError(f"the score block has keys {list(values)}, expected only {metric!r}")
    value = values[metric]
    if isinstance(value, bool) or not isinstance(value, int | float) or not math.isfinite(value):
        raise ValueError(f"the score {metric} is {value!r}, expected a finite number")
    return float(value)


def parse_report(data: bytes) -> CheckedReport:
    """Read a judge's report file and check that it says what a verdict needs.

    Raises:
        EvaluationFailed: the evaluator wrote something else; that is its defect, never the submission's.
    """
    try:
        return CheckedReport.model_validate_json(data)
    except ValidationError as error:
        raise EvaluationFailed(f"The evaluator's report is broken: {str(error.errors()[0])[:PROBLEM_CHARS]}") from error
