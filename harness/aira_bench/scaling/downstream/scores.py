"""Means over the tasks of a suite, with standard errors, and the published rows they stand beside.

All in percent, as the paper prints. Tasks are independent, so a mean's standard error is that of a sum; it is of the
examples alone, not of the training's seed. Not covered: tests of differences.
"""

import math
from collections.abc import Sequence
from dataclasses import dataclass, replace

from aira_bench.errors import RunStateError
from aira_bench.published_tables import read_table
from aira_bench.scaling.downstream.evaluated import StoredEvaluation
from aira_bench.scaling.downstream.suites import DownstreamSuite, SuiteTask
from aira_contract.downstream import MetricEstimate

PRINTED_SLACK = 0.1
"""Half a digit of the printed average, and as much of the scores that it is of."""


@dataclass(frozen=True)
class ScoreRow:
    """One model's scores, or those that the paper prints of one."""

    name: str
    published: str | None
    """The table it is printed in; None of what was evaluated here."""
    scores: dict[str, MetricEstimate]
    """By the task's name."""
    normalized: dict[str, MetricEstimate]
    average: MetricEstimate | None
    """None where a task is missing."""
    normalized_average: MetricEstimate | None
    centred: MetricEstimate | None
    """The mean of how far each score is on the way from chance to all."""
    printed: tuple[float | None, float | None] = (None, None)
    """Both averages as the paper prints them beside the scores."""

    @property
    def printed_otherwise(self) -> bool:
        """Whether an average was printed that is not that of the printed scores, rounding allowed for."""
        both = zip((self.average, self.normalized_average), self.printed, strict=True)
        return any(
            own is not None and printed is not None and abs(own.value - printed) > PRINTED_SLACK
            for own, printed in both
        )


def mean(estimates: Sequence[MetricEstimate]) -> MetricEstimate:
    """Return the mean of estimates of independent tasks; without a standard error where one has none."""
    errors = [each.stderr for each in estimates]
    known = [error for error in errors if error is not None]
    return MetricEstimate(
        sum(each.value for each in estimates) / len(estimates),
        math.hypot(*known) / len(estimates) if len(known) == len(errors) else None,
    )


def centred(estimate: MetricEstimate, task: SuiteTask) -> MetricEstimate:
    """Return a score in percent as a share of the way from chance (0) to all (100)."""
    way = 1 - task.chance
    return MetricEstimate(
        (estimate.value - 100 * task.chance) / way, None if estimate.stderr is None else estimate.stderr / way
    )


def evaluated_row(name: str, suite: DownstreamSuite, evaluation: StoredEvaluation) -> ScoreRow:
    """Return the row of an evaluation.

    Raises:
        RunStateError: a task's scores lack a metric.
    """
    scores: dict[str, MetricEstimate] = {}
    normalized: dict[str, MetricEstimate] = {}
    for task in suite.tasks:
        found = evaluation.of(task.lm_eval)
        if found is None:
            continue
        if lacking := [metric for metric in task.metrics if metric not in found.metrics]:
            raise RunStateError(
                f"The evaluation of {name} has no {lacking[0]} of {task.lm_eval}.",
                hint="without its file, aira-bench scale evaluate makes it anew",
            )
        scores[task.name] = _percent(found.metrics[task.metric], task)
        if task.normalized is not None:
            normalized[task.name] = _percent(found.metrics[task.normalized], task)
    return _row(name, None, suite, scores, normalized)


def published_rows(suite: DownstreamSuite) -> list[ScoreRow]:
    """Return the scores that the paper prints of the suite, averaged here as those that were evaluated are."""
    rows = []
    averages = [name for name in (suite.average, suite.normalized_average) if name]
    columns = [name for task in suite.tasks for name in (task.column, task.normalized_column) if name]
    for table in suite.published:
        for printed in read_table(table, ("architecture", *columns, *averages)):
            found = {name: MetricEstimate(float(printed[name]), None) for name in columns}
            row = _row(
                printed["architecture"], table, suite,
                {task.name: found[task.column] for task in suite.tasks if task.column},
                {task.name: found[task.normalized_column] for task in suite.tasks if task.normalized_column},
            )  # fmt: skip
            plain, normalized = (
                float(printed[name]) if name else None for name in (suite.average, suite.normalized_average)
            )
            rows.append(replace(row, printed=(plain, normalized)))
    return rows


def _percent(estimate: MetricEstimate, task: SuiteTask) -> MetricEstimate:
    factor = 100 * task.unit
    return MetricEstimate(estimate.value * factor, None if estimate.stderr is None else estimate.stderr * factor)


def _row(
    name: str,
    published: str | None,
    suite: DownstreamSuite,
    scores: dict[str, MetricEstimate],
    normalized: dict[str, MetricEstimate],
) -> ScoreRow:
    whole = len(scores) == len(suite.tasks)
    return ScoreRow(
        name, published, scores, normalized,
        mean(list(scores.values())) if whole else None,
        mean(list(normalized.values())) if whole and normalized else None,
        mean([centred(scores[task.name], task) for task in suite.tasks]) if whole else None,
    )  # fmt: skip
