"""Collects scored architectures from run folders: every step that the judge scored.

A dataset is what a board's section is: task, profile, data, evaluator image, seed set; so scores that do not compare
are never ranked together. Steps without an architecture (other tasks) are no error here, a run without any is.
"""

import json
from collections.abc import Sequence
from typing import Literal

from aira_bench.errors import UsageError
from aira_bench.runs.folder import RunFolder
from aira_bench.runs.journal import StepEnded, read_events
from aira_bench.runs.manifest import Manifest
from aira_bench.runs.scores import TrustedScore
from aira_bench.scaling.aggregate import ScoredArchitecture
from aira_bench.scaling.notation import NotationError, read_pattern

Split = Literal["validation", "test"]


def collect_scores(runs: Sequence[RunFolder], split: Split = "validation") -> list[ScoredArchitecture]:
    """Scored architectures of all seeds of all runs.

    Args:
        runs: finished or unfinished runs.
        split: hidden validation, or test. Selecting on test scores makes them useless as an estimate.

    Raises:
        UsageError: a run has no scored architecture, its task has no hidden validation, its submissions are something
            else than layers, or some of the runs are on synthetic data and some are not.
        RunStateError: a run's files are damaged.
    """
    scored: list[ScoredArchitecture] = []
    synthetic = [run.path.name for run in runs if run.manifest.synthetic]
    if synthetic and len(synthetic) < len(runs):
        raise UsageError(
            f"Runs on synthetic data ({', '.join(synthetic)}) and on real data do not vote together.",
            hint="aira-bench status",
        )
    for run in runs:
        found = _collect_run(run, split)
        if not found:
            raise UsageError(
                f"Run {run.path.name} has no scored architecture.", hint=f"aira-bench status {run.path.name}"
            )
        scored += found
    return scored


def _collect_run(run: RunFolder, split: Split) -> list[ScoredArchitecture]:
    manifest = run.manifest
    scored = []
    for seed in manifest.plan.seeds:
        folder = run.seed(seed)
        if not folder.journal.exists():
            continue
        scores = folder.scores.read()
        events, _, _ = read_events(folder.journal)
        for event in events:
            if not isinstance(event, StepEnded) or event.node.canonical is None or event.node.step not in scores:
                continue
            score = scores[event.node.step]
            if score.unranked:
                continue
            scored.append(
                ScoredArchitecture(
                    dataset=_dataset(manifest, score),
                    architecture=_pattern(event.node.canonical, run, seed, event.node.step),
                    score=_value(score, split, run),
                    lower_is_better=manifest.lower_is_better,
                )
            )
    return scored


def _dataset(manifest: Manifest, score: TrustedScore) -> str:
    data = json.dumps(manifest.data, sort_keys=True, separators=(",", ":"))
    plan = manifest.plan
    marked = "SYNTHETIC DATA, " if manifest.synthetic else ""
    return f"{marked}{manifest.task_name}, profile {plan.profile}, {score.image}, seeds {plan.seed_set}, data {data}"


def _pattern(canonical: str, run: RunFolder, seed: int, step: int) -> tuple[str, ...]:
    try:
        return read_pattern(canonical)
    except NotationError as error:
        where = f"Run {run.path.name}, seed {seed}, step {step}"
        raise UsageError(f"{where}: the submission is no pattern of layers. {error.message}") from error


def _value(score: TrustedScore, split: Split, run: RunFolder) -> float:
    if split == "test":
        return score.test
    if score.validation is None:
        raise UsageError(f"The task of run {run.path.name} has no hidden validation scores.", hint="--split test")
    return score.validation
