"""Scores what a run submitted once more, on hidden data and with training seeds that no search has seen.

A search climbs the hidden validation score of the seed set `search`, so its winner owes something to luck: of the
trainings, and of the data. The seed set `final` shares the train split and nothing else. Submissions are evaluated
from nothing, so a module or a script is trained again, and no search can read what comes of it.

Not covered: the search (`launch`), and how the figures are shown (`aira_bench.boards`).
"""

import contextlib
import os
import threading
from collections.abc import Callable, Sequence
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass, replace
from functools import partial

from aira_bench.deadline import Deadline
from aira_bench.errors import AskedInVain, RunStateError, SandboxError, UsageError
from aira_bench.evaluation.catalog import open_evaluator
from aira_bench.evaluation.submission import Submission
from aira_bench.evaluation.submission_evaluator import EvaluationSetting, SubmissionEvaluator
from aira_bench.evaluation.verdict import Scored, Unexplained, Verdict, trusted_score
from aira_bench.files import Unacceptable, read_recorded
from aira_bench.hidden_keys import HiddenKey
from aira_bench.record.attempts import keep_attempt
from aira_bench.record.confirmations import add_confirmation
from aira_bench.record.folder import SeedFolder
from aira_bench.record.run_record import RunRecord
from aira_bench.record.trust import require_unmoved
from aira_bench.runs.devices import on_devices_of
from aira_bench.runs.extensions_used import evaluator_of, require_same
from aira_bench.runs.host import Host, Note, clean_up, place_limits, stand, wanted_of
from aira_bench.runs.line import Line
from aira_bench.runs.places import places_of
from aira_bench.runs.resolve import reopen
from aira_bench.runs.retries import ATTEMPTS, Doubt
from aira_bench.runs.slots import SlotPool
from aira_bench.sandbox.patience import EnginePauses, is_away
from aira_bench.tasks.metadata import ArtifactSpec
from aira_bench.waiting import Waits
from aira_contract.settings import SeedSet

SEED_SET: SeedSet = "final"


@dataclass(frozen=True)
class Submitted:
    """What one seed submitted."""

    seed: int
    step: int
    folder: SeedFolder
    artifact_sha256: str

    @property
    def where(self) -> str:
        """Seed and step, for messages."""
        return f"seed {self.seed} step {self.step}"


def confirm(host: Host, record: RunRecord, note: Note, hidden_key: HiddenKey | None = None) -> list[Submitted]:
    """Score every submitted node that has no score on the final seed set yet; returns those that were refused.

    The record is one that `read_confirmable` has read and checked. Scores go to each seed's `confirmed` file as they
    come, so a stopped confirmation goes on where it was.

    Args:
        host: the machine.
        record: of the run.
        note: told what is done.
        hidden_key: what the hidden data is derived from; None for what the search's is. Under a key that the searching
            machine never had, nobody can have searched for these scores. A run is confirmed under one key.

    Raises:
        UsageError: the task has one set of hidden data, or the run has submitted nothing.
        RunStateError: a submitted artifact is not the one that was scored; task, data or images are no longer those the
            run began with; or a process works on the run.
        PrerequisiteError: the machine lacks something, or its sandbox does not hold.
        SandboxError: the engine or an evaluation failed.
    """
    folder, manifest = record.folder, record.manifest
    found = reopen(manifest.plan, host.paths)
    if hidden_key is not None:
        found = replace(found, hidden_key=hidden_key)
    plan, task, under = found.plan, found.task, found.hidden_key
    other = None if under is None or under.sha256 == plan.hidden_key else under.sha256
    if not task.metadata.aira.hidden_validation:
        raise UsageError(f"Task {task.title} has one set of hidden data, which the run was scored on already.")
    submitted = _submitted(record)
    waiting = [each for each in submitted if each.step not in record.seed(each.seed).confirmed]
    _require_one_key(record, other)
    if not waiting:
        return []
    scorer = evaluator_of(plan, task)
    require_same(record, {} if scorer is None else {"evaluator": scorer.record()}, ["evaluator"])
    with contextlib.ExitStack() as closing, contextlib.ExitStack() as stack:  # leases go last, after all containers
        stack.callback(os.close, folder.lock())
        require_unmoved(record, host.keys.ring())
        host = on_devices_of(host, manifest, note)
        ground = stand(host, found, "evaluator", note, record)
        host.sandbox.sweep(manifest.run_id)
        stack.callback(clean_up, host, manifest.run_id, note)
        setting = EvaluationSetting(
            task, plan.profile, ground.data, ground.images, manifest.run_id, SEED_SET,
            public_sha256=str(manifest.data["public"]["sha256"]), evaluator=plan.evaluator,
            draw_secret=(under or host.keys.machine_key()).draw_secret,
        )  # fmt: skip
        stop = threading.Event()
        waits = Waits(stop, tell=lambda _, text: note(text))
        wanted = wanted_of(host, plan, all_gpus=True)
        line = Line(places_of(wanted), most=min(wanted.most, len(waiting)))
        closing.callback(line.close)
        limits = place_limits(plan, task, line.places)
        slots = SlotPool(
            host.sandbox, line, lambda index, ahead: open_evaluator(setting, host.sandbox, limits[index], ahead)
        )
        stack.callback(slots.close)
        keeper = host.keeper(record)

        def scored(each: Submitted) -> bool:
            with slots.slot(waits) as evaluator:
                note(f"{each.where}: scoring once more")
                verdict = _evaluated(
                    evaluator, each, task.metadata.aira.artifact, plan.evaluation_timeout_s, waits, note
                )
            if isinstance(verdict, Scored):
                score = trusted_score(each.step, verdict, ground.images.evaluator, synthetic=manifest.synthetic)
                add_confirmation(keeper, each.seed, each.artifact_sha256, score, other)
            for remark in _remarks(verdict):
                note(f"{each.where}: {remark}")
            return isinstance(verdict, Scored)

        answers = _in_all_slots(scored, waiting, line.most, stop, partial(host.sandbox.sweep, manifest.run_id))
        return [each for each, found in zip(waiting, answers, strict=True) if not found]


def _require_one_key(record: RunRecord, other: str | None) -> None:
    """Raises UsageError where a seed of the run is confirmed under another key already."""
    known = {seed.confirmed_under for seed in record.seeds if seed.confirmed}
    if known - {other}:
        said = [each[:12] if each else "of its search" for each in (*known, other)]
        raise UsageError(f"Run {record.name} is confirmed on hidden data of the key {said[0]}, not {said[1]}.")


def _in_all_slots(
    scored: Callable[[Submitted], bool],
    waiting: Sequence[Submitted],
    slots: int,
    stop: threading.Event,
    sweep: Callable[[], object],
) -> list[bool]:
    """Score submissions as many at a time as there are slots; one that fails, or a signal, ends the others: they stop,
    and `sweep` ends the containers that they wait for.
    """
    with ThreadPoolExecutor(slots, thread_name_prefix="confirm") as pool:
        running = [pool.submit(scored, each) for each in waiting]
        try:
            return [future.result() for future in running]
        except BaseException:
            stop.set()
            pool.shutdown(wait=False, cancel_futures=True)
            sweep()
            raise


def _remarks(verdict: Verdict) -> Sequence[str]:
    """What is worth telling of a verdict."""
    return verdict.remarks if isinstance(verdict, Scored) else [f"refused: {verdict.reason}"]


def _submitted(record: RunRecord) -> list[Submitted]:
    found = [
        Submitted(seed.seed, node.step, seed.folder, node.artifact_sha256)
        for seed in record.seeds
        if (node := seed.submitted) is not None and node.artifact_sha256 is not None
    ]
    if not found:
        raise UsageError(f"No seed of {record.name} has submitted anything.", hint=record.folder.command("status"))
    return found


def _evaluated(
    evaluator: SubmissionEvaluator,
    submitted: Submitted,
    artifact: ArtifactSpec,
    timeout_s: float,
    waits: Waits,
    note: Note,
) -> Verdict:
    """The verdict, tried again where infrastructure fails; an engine that is away is waited for.

    Raises:
        Stopped: the confirmation is over; whatever failed did so because its container was swept away.
    """
    submission = _submission(submitted, artifact)
    destination = submitted.folder.confirmation(submitted.step)
    attempt, doubt, patience = 1, Doubt(), EnginePauses()
    while True:
        try:
            deadline = Deadline.after(timeout_s, "evaluation")
            return evaluator.evaluate(submission, deadline=deadline, destination=destination)
        except SandboxError as error:
            if isinstance(error, Unexplained) and not doubt.spend():
                return error.verdict
            failure = error
        waits.check_stop()
        pause_s = patience.pause_s() if is_away(failure) else None
        if pause_s is not None:
            said = f"the container engine is away, next try in {pause_s:.0f} s: {failure.message}"
            waits.pause(pause_s, "engine", said)
            continue
        note(f"infrastructure failed, attempt {attempt} of {ATTEMPTS}: {failure.message}")
        keep_attempt(destination, failure)
        if isinstance(failure, AskedInVain) or is_away(failure) or attempt == ATTEMPTS:
            raise failure
        attempt += 1


def _submission(submitted: Submitted, artifact: ArtifactSpec) -> Submission:
    """The submitted bytes, which are those that the search scored."""
    where = f"{submitted.where.capitalize()}: {artifact.name}"
    try:
        name = f"nodes/{submitted.step:04d}/{artifact.name}"
        content = read_recorded(submitted.folder.path, name, artifact.max_kib * 1024, submitted.artifact_sha256)
    except Unacceptable as error:
        raise RunStateError(f"{where}: {error}.") from error
    return Submission.of(artifact, content)
