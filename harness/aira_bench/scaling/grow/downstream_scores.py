"""Downstream scores of a growth's models: made here, or left beside their trainings by `aira-bench scale evaluate`.

Those of the final weights make rows, on shipped suites and on the one that is asked for; another of one's own is named,
since where it lies is not known here. Not covered: intervals over seeds.
"""

from collections.abc import Callable, Sequence
from dataclasses import dataclass
from pathlib import Path

from aira_bench.scaling.downstream import evaluated
from aira_bench.scaling.downstream.evaluation_process import EvaluationSettings, evaluate
from aira_bench.scaling.downstream.render import row_record
from aira_bench.scaling.downstream.scores import ScoreRow, evaluated_row
from aira_bench.scaling.downstream.suites import DownstreamSuite, find_suite, shipped_suites
from aira_bench.scaling.plan.trainings import SeedTraining
from aira_contract.downstream import NotEvaluated


@dataclass(frozen=True)
class DownstreamScores:
    """What was evaluated of the models of a growth."""

    suites: tuple[tuple[DownstreamSuite, tuple[ScoreRow, ...]], ...]
    """Each suite that any was evaluated on, with a row for each training."""
    others: tuple[str, ...]
    """Names of the suites that any was evaluated on, and that are known by no more than that."""

    def record(self) -> list[dict[str, object]]:
        """Return the rows as JSON values."""
        return [{"suite": suite.name, "rows": [row_record(row) for row in rows]} for suite, rows in self.suites]


def evaluate_trainings(
    trainings: Sequence[SeedTraining],
    suite: DownstreamSuite,
    settings: EvaluationSettings,
    tell: Callable[[str], object],
) -> list[tuple[Path, NotEvaluated]]:
    """Evaluate final weights on what of a suite they have no scores of; return what could not be, by training.

    Raises:
        PrerequisiteError: there is no lm_eval, or a model cannot be had.
        RunStateError: an earlier evaluation cannot be read.
    """
    return [(run.folder, each) for run in trainings for each in evaluate(run.folder, suite, settings, tell)[1]]


def downstream_scores(trainings: Sequence[SeedTraining], asked: DownstreamSuite | None = None) -> DownstreamScores:
    """Return the scores that lie beside trainings, on shipped suites and the one that is asked for.

    Raises:
        RunStateError: a file cannot be read.
    """
    known = [*map(find_suite, shipped_suites()), *([asked] if asked else [])]
    suites = {suite.sha256: suite for suite in known}
    rows: dict[str, list[ScoreRow]] = {}
    others: set[str] = set()
    for run in trainings:
        for each in evaluated.stored(run.folder):
            if each.model.step != run.planned.steps.steps:
                continue
            if (suite := suites.get(each.suite_sha256)) is None:
                others.add(each.suite)
                continue
            limited = "" if each.model.limit is None else f", {each.model.limit} examples"
            name = f"{run.planned.model.name}, seed {run.seed}{limited}"
            rows.setdefault(suite.sha256, []).append(evaluated_row(name, suite, each))
    found = ((suite, tuple(rows[sha256])) for sha256, suite in suites.items() if sha256 in rows)
    return DownstreamScores(tuple(found), tuple(sorted(others)))
