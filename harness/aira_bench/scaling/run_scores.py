"""Collects scored architectures from run folders: every step that the judge scored.

A dataset is what a board's section is: scores made under the same conditions (`aira_bench.record.conditions`), so that
those that do not compare are never ranked together. Steps without an architecture (other tasks) are no error here, a
run without any is.
"""

from collections.abc import Sequence
from shlex import quote
from typing import Literal

from aira_bench.errors import UsageError
from aira_bench.record.conditions import comparable_with
from aira_bench.record.manifest import Manifest
from aira_bench.record.run_record import RunRecord
from aira_bench.record.scores import TrustedScore
from aira_bench.scaling.aggregate import ScoredArchitecture
from aira_bench.scaling.notation import NotationError, read_pattern

Split = Literal["validation", "test"]


def collect_scores(runs: Sequence[RunRecord], split: Split = "validation") -> list[ScoredArchitecture]:
    """Collect the scored architectures of all seeds of all runs.

    Args:
        runs: finished or unfinished runs.
        split: hidden validation, or test. Selecting on test scores makes them useless as an estimate.

    Raises:
        UsageError: a run has no scored architecture, its task has no hidden validation, its submissions are something
            else than layers, or some of the runs are on synthetic data and some are not.
    """
    scored: list[ScoredArchitecture] = []
    synthetic = [run.name for run in runs if run.manifest.synthetic]
    if synthetic and len(synthetic) < len(runs):
        raise UsageError(
            f"Runs on synthetic data ({', '.join(synthetic)}) and on real data do not vote together.",
            hint="aira-bench status",
        )
    for run in runs:
        found = _collect_run(run, split)
        if not found:
            raise UsageError(f"Run {run.name} has no scored architecture.", hint=f"aira-bench status {quote(run.name)}")
        scored += found
    return scored


def _collect_run(run: RunRecord, split: Split) -> list[ScoredArchitecture]:
    manifest = run.manifest
    scored = []
    for seed in run.seeds:
        for node in seed.nodes:
            score = seed.scores.get(node.step)
            if node.canonical is None or score is None or score.unranked:
                continue
            scored.append(
                ScoredArchitecture(
                    dataset=_dataset(manifest),
                    architecture=_pattern(node.canonical, run, seed.seed, node.step),
                    score=_value(score, split, run),
                    lower_is_better=manifest.lower_is_better,
                )
            )
    return scored


def _dataset(manifest: Manifest) -> str:
    """A name that no two datasets share: it spells out the conditions whole."""
    conditions = comparable_with(manifest)
    marked = "SYNTHETIC DATA, " if manifest.synthetic else ""
    return (
        f"{marked}{conditions.task}, profile {conditions.profile}, {conditions.evaluator}, "
        f"seeds {conditions.seed_set}, data {conditions.data}, hidden data of {conditions.hidden_key or 'the task'}, "
        f"{conditions.hardware}"
    )


def _pattern(canonical: str, run: RunRecord, seed: int, step: int) -> tuple[str, ...]:
    try:
        return read_pattern(canonical)
    except NotationError as error:
        where = f"Run {run.name}, seed {seed}, step {step}"
        raise UsageError(f"{where}: the submission is no pattern of layers. {error.message}") from error


def _value(score: TrustedScore, split: Split, run: RunRecord) -> float:
    if split == "test":
        return score.test
    if score.validation is None:
        raise UsageError(f"The task of run {run.name} has no hidden validation scores.", hint="--split test")
    return score.validation
