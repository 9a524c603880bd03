"""All that is known of one step, gathered for a look: what it submitted, what it scored, what it cost, its files.

Not covered: how it is shown (`pages`), and single files in full (`opened`).
"""

from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any

from aira_bench.boards.replicates import overclaim
from aira_bench.files import Unacceptable, parse_json, read_file
from aira_bench.looking.artifact import ArtifactView, artifact_view
from aira_bench.looking.comparison import ParentDifference, parent_differences
from aira_bench.looking.step_files import StepFile, artifact_of, step_files
from aira_bench.record.confirmations import deviation_of, mean_of
from aira_bench.record.journal import StepEnded
from aira_bench.record.node import Node
from aira_bench.record.salvage import RunRemains, SeedRemains
from aira_bench.record.scores import TrustedScore
from aira_contract.files import REPORT_FILE
from aira_contract.training_series import Series

_MOST_REPORT_BYTES = 4 * 2**20
MOST_TASKS = 100
"""Parts of a score that are listed."""


@dataclass(frozen=True)
class StepScores:
    """What was found of a step, and what it says of itself, each where it is known."""

    search: float | None
    """What drove the search, rounded as it was."""
    search_error: float | None
    """Standard error of that number, where it is an estimate."""
    validation: float | None
    """The judge's, on hidden validation data, unrounded."""
    test: float | None
    test_error: float | None
    trainings: tuple[float, ...]
    """Test scores of the trainings that confirm it, each from fresh seeds on hidden data of its own."""
    training_errors: tuple[float | None, ...]
    refused: tuple[str, ...]
    """Why trainings that were to confirm it were refused."""
    claimed: float | None
    public: float | None
    """The judge's number on the public rows that the claim is about."""
    overclaim: float | None
    """How much better the claim is than that number; above 0 where it is too good, for all metrics."""
    flags: tuple[str, ...]
    unranked: tuple[str, ...]
    remarks: tuple[str, ...]
    series: Series
    """How the search's training of it went, by the judge's measure; empty where that is not known."""
    claimed_series: Series
    """The same as a training script told it."""

    @property
    def confirmed(self) -> float | None:
        """Mean over its trainings, however many are done."""
        return mean_of(self.trainings)

    @property
    def confirmed_deviation(self) -> float | None:
        """Sample standard deviation of its trainings."""
        return deviation_of(self.trainings)


@dataclass(frozen=True)
class StepView:
    """One step of one seed."""

    seed: SeedRemains
    step: StepEnded
    submitted: bool
    artifact: ArtifactView | None
    scores: StepScores
    parts: Mapping[str, tuple[float | None, float | None]]
    """Of what a score is the mean of: validation and test, by name."""
    differences: tuple[ParentDifference, ...]
    files: tuple[StepFile, ...]
    faults: tuple[str, ...]
    """What could not be read, a line each."""

    @property
    def node(self) -> Node:
        """The step as its search knows it."""
        return self.step.node


def step_view(run: RunRemains, seed: SeedRemains, step: StepEnded) -> StepView:
    """Gather what is known of a finished step.

    Args:
        run: the run, sound or not.
        seed: one of its seeds.
        step: one of its steps.
    """
    node = step.node
    files, faults = step_files(seed, step)
    file = artifact_of(seed, step, files)
    if node.artifact_sha256 is not None and file is None:
        faults.append(f"Seed {seed.seed} step {node.step}: what it submitted is not among its files.")
    for each in files:
        if each.state in _WRONG:
            detail = f": {each.detail}" if each.detail else ""
            faults.append(f"Seed {seed.seed} step {node.step}: {each.path} {_WRONG[each.state]}{detail}.")
    return StepView(
        seed=seed,
        step=step,
        submitted=seed.ended is not None and seed.ended.submitted == node.step,
        artifact=artifact_view(seed, node, file),
        scores=_scores(run, seed, node),
        parts=_parts(seed, node, files),
        differences=tuple(parent_differences(seed, step, file)),
        files=tuple(files),
        faults=tuple(faults),
    )


_WRONG = {
    "replaced": "was replaced: its hash is not the recorded one",
    "missing": "is missing",
    "unreadable": "cannot be read",
}


def _scores(run: RunRemains, seed: SeedRemains, node: Node) -> StepScores:
    score: TrustedScore | None = seed.scores.get(node.step)
    trainings = seed.confirmations.scores.get(node.step, ())
    judged = [each for each in (score, *trainings) if each is not None]
    return StepScores(
        search=node.fitness,
        search_error=node.fitness_standard_error,
        validation=score.validation if score else None,
        test=score.test if score else None,
        test_error=score.test_standard_error if score else None,
        trainings=tuple(each.test for each in trainings),
        training_errors=tuple(each.test_standard_error for each in trainings),
        refused=seed.confirmations.refused.get(node.step, ()),
        claimed=node.claimed,
        public=score.public if score else None,
        overclaim=overclaim(node.claimed, score, run.manifest) if run.manifest else None,
        flags=tuple(dict.fromkeys(flag for each in judged for flag in each.flags)),
        unranked=tuple(dict.fromkeys(flag for each in judged for flag in each.unranked)),
        remarks=tuple(dict.fromkeys(remark for each in judged for remark in each.remarks)),
        series=score.series if score else (),
        claimed_series=score.claimed_series if score else (),
    )


def _parts(seed: SeedRemains, node: Node, files: list[StepFile]) -> dict[str, tuple[float | None, float | None]]:
    """Validation of each part as the node has it, and test as the judge's report has it, where that is as recorded."""
    test: dict[str, float] = {}
    path = f"hidden/{node.step:04d}/{REPORT_FILE}"
    if any(each.path == path and each.state in ("as recorded", "not recorded") for each in files):
        try:
            test = _tasks_of(parse_json(read_file(seed.folder.path, path, _MOST_REPORT_BYTES)), "test")
        except (Unacceptable, FileNotFoundError):
            test = {}
    names = list(dict.fromkeys([*node.parts, *test]))[:MOST_TASKS]
    return {name: (node.parts.get(name), test.get(name)) for name in names}


def _tasks_of(report: Any, split: str) -> dict[str, float]:  # noqa: ANN401
    """What a report says of each task of a split: its one number, or `micro` of several, which is what is averaged."""
    value = report
    for key in ("details", split, "tasks"):
        value = value.get(key) if isinstance(value, dict) else None
    if not isinstance(value, dict):
        return {}
    numbers = {name: each.get("micro") if isinstance(each, dict) else each for name, each in value.items()}
    return {name: float(each) for name, each in numbers.items() if isinstance(each, int | float)}
