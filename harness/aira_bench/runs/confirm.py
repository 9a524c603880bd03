"""Scores what a run submitted once more, on hidden data and with training seeds that no search has seen.

A search climbs the hidden validation score of the seed set `search`, so its winner owes something to luck: of the
trainings, and of the data. The seed set `final` shares the train split and nothing else. Submissions are evaluated
from nothing, so a module or a script is trained again, and no search can read what comes of it.

Not covered: the search (`launch`), and how the figures are shown (`aira_bench.leaderboard`).
"""

import contextlib
import os
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass

from aira_bench.errors import RunStateError, SandboxError, UsageError
from aira_bench.evaluation.catalog import open_evaluator
from aira_bench.evaluation.protocol import EvaluationSetting, SubmissionEvaluator
from aira_bench.evaluation.verdict import Scored, Verdict
from aira_bench.runs.folder import RunFolder, SeedFolder
from aira_bench.runs.host import (
    Host,
    Note,
    gives_gpus,
    isolation_of,
    prepare,
    require_isolation,
    require_no_weaker,
    require_unchanged,
    slot_limits,
)
from aira_bench.runs.scores import trusted_score
from aira_bench.runs.step import ATTEMPTS
from aira_bench.tasks.sources import choose_source
from aira_bench.tasks.task import find_task

SEED_SET = "final"


@dataclass(frozen=True)
class Submitted:
    """What one seed submitted."""

    seed: int
    step: int
    folder: SeedFolder


def confirm(host: Host, folder: RunFolder, note: Note) -> list[Submitted]:
    """Score every submitted node that has no score on the final seed set yet; returns those that were refused.

    Scores go to each seed's `confirmed` file as they come, so a stopped confirmation goes on where it was.

    Raises:
        UsageError: the task has one set of hidden data, or the run has submitted nothing.
        RunStateError: task, data or images are no longer those the run began with, or a process works on the run.
        PrerequisiteError: the machine lacks something, or its sandbox does not hold.
        SandboxError: the engine or an evaluation failed.
    """
    manifest = folder.manifest
    plan, task = manifest.plan, find_task(manifest.plan.task)
    if not task.metadata.aira.hidden_validation:
        raise UsageError(f"Task {task.title} has one set of hidden data, which the run was scored on already.")
    submitted = _submitted(folder)
    waiting = [each for each in submitted if each.step not in each.folder.confirmed.read()]
    if not waiting:
        return []
    with contextlib.ExitStack() as stack:
        stack.callback(os.close, folder.lock())
        prepared = prepare(host, task, plan.profile, choose_source(task, plan.source), note)
        require_unchanged(folder, manifest, prepared)
        found = isolation_of(host.sandbox, prepared.images, gpu=gives_gpus(host, plan.profile), note=note)
        require_no_weaker(folder, manifest, found)
        note("probing the sandbox")
        require_isolation(host.sandbox, prepared.images.evaluator)
        host.sandbox.sweep(manifest.run_id)
        stack.callback(host.sandbox.sweep, manifest.run_id)
        setting = EvaluationSetting(task, plan.profile, prepared.data, prepared.images, manifest.run_id, SEED_SET)
        ahead = stack.enter_context(ThreadPoolExecutor(2, thread_name_prefix="containers"))
        evaluator = open_evaluator(setting, host.sandbox, slot_limits(host, manifest, prepared)[0], ahead)
        stack.callback(evaluator.close)
        refused = []
        for each in waiting:
            note(f"seed {each.seed} step {each.step}: scoring once more")
            verdict = _evaluated(evaluator, each, task.metadata.aira.artifact.name, plan.evaluation_timeout_s, note)
            if isinstance(verdict, Scored):
                image = prepared.images.evaluator
                each.folder.confirmed.append(trusted_score(each.step, verdict, image, synthetic=manifest.synthetic))
            else:
                note(f"seed {each.seed} step {each.step}: refused: {verdict.reason}")
                refused.append(each)
        return refused


def _submitted(folder: RunFolder) -> list[Submitted]:
    seeds = [(seed, folder.seed(seed)) for seed in folder.manifest.plan.seeds]
    found = [Submitted(seed, step, each) for seed, each in seeds if (step := each.submitted) is not None]
    if not found:
        raise UsageError(
            f"No seed of {folder.path.name} has submitted anything.", hint=f"aira-bench status {folder.path.name}"
        )
    return found


def _evaluated(
    evaluator: SubmissionEvaluator, submitted: Submitted, artifact: str, timeout_s: float, note: Note
) -> Verdict:
    """The verdict, tried again where infrastructure fails."""
    path = submitted.folder.node(submitted.step) / artifact
    try:
        submission = path.read_bytes()
    except OSError as error:
        raise RunStateError(f"{path} cannot be read: {error.strerror}.") from error
    destination = submitted.folder.confirmation(submitted.step)
    for attempt in range(1, ATTEMPTS + 1):
        try:
            return evaluator.evaluate(submission, timeout_s=timeout_s, destination=destination)
        except SandboxError as error:
            note(f"infrastructure failed, attempt {attempt} of {ATTEMPTS}: {error.message}")
            failure = error
    raise failure
