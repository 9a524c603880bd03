"""Downstream scores of a growth's models: what `aira-bench scale evaluate` has left beside their trainings.

Those of the final weights on a shipped suite make rows; a suite of one's own is named, since where it lies is not known
here. Not covered: evaluating, and intervals over seeds.
"""

from collections.abc import Sequence
from dataclasses import dataclass

from aira_bench.scaling.downstream import evaluated
from aira_bench.scaling.downstream.render import row_record
from aira_bench.scaling.downstream.scores import ScoreRow, evaluated_row
from aira_bench.scaling.downstream.suites import DownstreamSuite, find_suite, shipped_suites
from aira_bench.scaling.plan.trainings import SeedTraining


@dataclass(frozen=True)
class DownstreamScores:
    """What was evaluated of the models of a growth."""

    suites: tuple[tuple[DownstreamSuite, tuple[ScoreRow, ...]], ...]
    """Each shipped suite that any was evaluated on, with a row for each training."""
    others: tuple[str, ...]
    """Names of the suites of one's own that any was evaluated on."""

    def record(self) -> list[dict[str, object]]:
        """Return the rows as JSON values."""
        return [{"suite": suite.name, "rows": [row_record(row) for row in rows]} for suite, rows in self.suites]


def downstream_scores(trainings: Sequence[SeedTraining]) -> DownstreamScores:
    """Return the scores that lie beside trainings.

    Raises:
        RunStateError: a file cannot be read.
    """
    shipped = {suite.sha256: suite for suite in map(find_suite, shipped_suites())}
    rows: dict[str, list[ScoreRow]] = {}
    others: set[str] = set()
    for run in trainings:
        for each in evaluated.stored(run.folder):
            if each.model.step != run.planned.steps.steps:
                continue
            if (suite := shipped.get(each.suite_sha256)) is None:
                others.add(each.suite)
                continue
            limited = "" if each.model.limit is None else f", {each.model.limit} examples"
            name = f"{run.planned.model.name}, seed {run.seed}{limited}"
            rows.setdefault(suite.sha256, []).append(evaluated_row(name, suite, each))
    found = ((suite, tuple(rows[sha256])) for sha256, suite in shipped.items() if sha256 in rows)
    return DownstreamScores(tuple(found), tuple(sorted(others)))
