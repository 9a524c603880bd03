"""Trains what a run submitted again, on hidden data and from seeds that no search has seen.

A search climbs the hidden validation score of the seed set `search`, so its winner owes something to luck: of the
training, and of the data. The seed set `final` shares the train split and nothing else. Each submission is evaluated
from nothing several times, each time from fresh seeds; the mean is what boards order by. No search can read what comes
of it. A run does this at its end (`confirm_at_end`), and `aira-bench confirm` for one that did not or was cut short
(`confirm`): both do what is missing, one training after the other on each of the run's devices.

A training that is refused, of what a search's judge had scored, is recorded like a score; its submission is then no
valid one, and is not trained again.

Not covered: the search (`launch`), and how the figures are shown (`aira_bench.boards`).
"""

import contextlib
import os
import threading
from collections.abc import Callable, Sequence
from concurrent.futures import FIRST_EXCEPTION, ThreadPoolExecutor, wait
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
from aira_bench.record.confirmations import add_confirmation, add_refusal
from aira_bench.record.folder import RunFolder, SeedFolder
from aira_bench.record.run_record import RunRecord, SeedRecord, read_run
from aira_bench.record.trust import require_unmoved
from aira_bench.runs.devices import on_devices_of
from aira_bench.runs.extensions_used import evaluator_of, require_same
from aira_bench.runs.host import Ground, Host, Note, clean_up, place_limits, stand, wanted_of
from aira_bench.runs.line import Line
from aira_bench.runs.places import places_of
from aira_bench.runs.resolve import ResolvedTask, reopen, trainings_of
from aira_bench.runs.retries import ATTEMPTS, Doubt
from aira_bench.runs.session import Progress
from aira_bench.runs.slots import SlotPool
from aira_bench.sandbox.patience import EnginePauses, is_away
from aira_bench.tasks.metadata import ArtifactSpec
from aira_bench.waiting import Waits
from aira_contract.settings import SeedSet

SEED_SET: SeedSet = "final"
Watch = Callable[[Progress], None]


def _nobody(progress: Progress) -> None:
    """Watches."""


@dataclass(frozen=True)
class Retraining:
    """One training of what a seed submitted."""

    seed: int
    step: int
    folder: SeedFolder
    artifact_sha256: str
    number: int
    """Which of its trainings, counted from 0."""
    of: int
    """How many there are to be."""

    @property
    def where(self) -> str:
        """Seed, step and training, for messages."""
        return f"seed {self.seed} step {self.step}, training {self.number + 1} of {self.of}"


def confirm(
    host: Host,
    record: RunRecord,
    note: Note,
    hidden_key: HiddenKey | None = None,
    *,
    trainings: int | None = None,
    watch: Watch = _nobody,
) -> RunFolder:
    """Train every submitted node as often as its task's profile asks for; what was done before is not done again.

    The record is one that `read_confirmable` has read and checked. What trainings come to goes to each seed's
    `confirmed` file as it comes, so a stopped confirmation goes on where it was.

    Args:
        host: the machine.
        record: of the run.
        note: told what is done.
        hidden_key: what the hidden data is derived from; None for what the search's is. Under a key that the searching
            machine never had, nobody can have searched for these scores, and they take the place of those that are not.
        trainings: of each submission; None for what the run's task asked for when it began.
        watch: told which training each seed is at.

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
    plan, task = found.plan, found.task
    wanted = trainings or manifest.trainings or trainings_of(task, plan.profile)
    if not wanted:
        raise UsageError(f"Task {task.title} has one set of hidden data, which the run was scored on already.")
    if not any(seed.submitted for seed in record.seeds):
        raise UsageError(f"No seed of {record.name} has submitted anything.", hint=folder.command("status"))
    _require_one_key(record, _other_key(found))
    missing = _missing(record, wanted, _other_key(found))
    if not missing:
        return folder
    scorer = evaluator_of(plan, task)
    require_same(record, {} if scorer is None else {"evaluator": scorer.record()}, ["evaluator"])
    with contextlib.ExitStack() as stack:
        stack.callback(os.close, folder.lock())
        require_unmoved(record, host.keys.ring())
        host = on_devices_of(host, manifest, note)
        ground = stand(host, found, "evaluator", note, record)
        _train_again(host, record, found, ground, note, watch, missing)
    return folder


def confirm_at_end(
    host: Host, folder: RunFolder, found: ResolvedTask, ground: Ground, note: Note, watch: Watch
) -> None:
    """Train what a run submitted, if its plan says so and its task has data for it; the process has the run's lock.

    Args:
        host: the machine, with the devices of the run.
        folder: of the run, all of whose seeds have ended.
        found: its plan, task and hidden key.
        ground: what its search stood on.
        note: told what is done.
        watch: told which training each seed is at.

    Raises:
        RunStateError: a submitted artifact is not the one that was scored.
        SandboxError: the engine or an evaluation failed; what is missing can be done later.
    """
    wanted = folder.manifest.trainings
    if not found.plan.confirm or not wanted:
        return
    record = read_run(folder, host.keys.ring(), "records")
    if missing := _missing(record, wanted, None):
        _train_again(host, record, found, ground, note, watch, missing)


def _other_key(found: ResolvedTask) -> str | None:
    """Hash of the key behind the hidden data, where that is another than the search's."""
    under = found.hidden_key
    return None if under is None or under.sha256 == found.plan.hidden_key else under.sha256


def _require_one_key(record: RunRecord, other: str | None) -> None:
    """Raises UsageError where a seed of the run is confirmed under a key that is neither this one nor its search's."""
    known = {key for seed in record.seeds if (key := seed.confirmations.hidden_key) is not None}
    if known - {other}:
        said = [each[:12] if each else "of its search" for each in (*known, other)]
        raise UsageError(f"Run {record.name} is confirmed on hidden data of the key {said[0]}, not {said[1]}.")


def _missing(record: RunRecord, wanted: int, key: str | None) -> list[Retraining]:
    """The trainings under a key that are not done, the first of every seed before the second of any."""
    found = [each for seed in record.seeds for each in _missing_of(seed, wanted, key)]
    return sorted(found, key=lambda each: (each.number, each.seed))


def _missing_of(seed: SeedRecord, wanted: int, key: str | None) -> list[Retraining]:
    node, known = seed.submitted, seed.confirmations
    if node is None or node.artifact_sha256 is None or known.refused.get(node.step):
        return []
    if known.hidden_key not in (None, key):  # what is made under another key than that one counts no more
        return []
    return [
        Retraining(seed.seed, node.step, seed.folder, node.artifact_sha256, number, wanted)
        for number in range(wanted)
        if (key, node.step, number) not in known.done
    ]


def _train_again(
    host: Host,
    record: RunRecord,
    found: ResolvedTask,
    ground: Ground,
    note: Note,
    watch: Watch,
    missing: Sequence[Retraining],
) -> None:
    """Do the trainings that are missing, as many at a time as the run has places; the process has the run's lock."""
    plan, task, manifest = found.plan, found.task, record.manifest
    with contextlib.ExitStack() as closing, contextlib.ExitStack() as stack:  # leases go last, after all containers
        host.sandbox.sweep(manifest.run_id)
        stack.callback(clean_up, host, manifest.run_id, note)
        setting = EvaluationSetting(
            task, plan.profile, ground.data, ground.images, manifest.run_id, SEED_SET,
            public_sha256=str(manifest.data["public"]["sha256"]), evaluator=plan.evaluator,
            draw_secret=(found.hidden_key or host.keys.machine_key()).draw_secret,
        )  # fmt: skip
        stop = threading.Event()
        waits = Waits(stop, tell=lambda _, text: note(text))
        wanted = wanted_of(host, plan, all_gpus=True)
        line = Line(places_of(wanted), most=min(wanted.most, len(missing)))
        closing.callback(line.close)
        limits = place_limits(plan, task, line.places)
        slots = SlotPool(
            host.sandbox, line, lambda index, ahead: open_evaluator(setting, host.sandbox, limits[index], ahead)
        )
        stack.callback(slots.close)
        keeper, other, writing = host.keeper(record), _other_key(found), threading.Lock()

        def train(each: Retraining) -> None:
            with slots.slot(waits) as evaluator:
                watch(Progress(each.seed, each.step, f"training {each.number + 1} of {each.of} again", confirming=True))
                verdict = _evaluated(
                    evaluator, each, task.metadata.aira.artifact, plan.evaluation_timeout_s, waits, note, other
                )
            with writing:
                if isinstance(verdict, Scored):
                    score = trusted_score(each.step, verdict, ground.images.evaluator, synthetic=manifest.synthetic)
                    add_confirmation(keeper, each.seed, each.artifact_sha256, score, other, each.number)
                else:
                    add_refusal(
                        keeper, each.seed, each.artifact_sha256, each.step, verdict.reason, other, each.number
                    )  # fmt: skip
            for remark in _remarks(verdict):
                note(f"{each.where}: {remark}")

        note(
            f"training what was submitted again, from fresh seeds, on hidden data of its own: {len(missing)} trainings"
        )
        _in_all_slots(train, missing, line.most, stop, partial(host.sandbox.sweep, manifest.run_id))


def _in_all_slots(
    train: Callable[[Retraining], None],
    missing: Sequence[Retraining],
    slots: int,
    stop: threading.Event,
    sweep: Callable[[], object],
) -> None:
    """Train as many at a time as there are slots; one that fails, or a signal, ends the others: they stop, and `sweep`
    ends the containers that they wait for.
    """
    with ThreadPoolExecutor(slots, thread_name_prefix="confirm") as pool:
        running = [pool.submit(train, each) for each in missing]
        try:
            for future in wait(running, return_when=FIRST_EXCEPTION).done:
                future.result()
        except BaseException:
            stop.set()
            pool.shutdown(wait=False, cancel_futures=True)
            sweep()
            raise


def _remarks(verdict: Verdict) -> Sequence[str]:
    """What is worth telling of a verdict."""
    return [f"{verdict.test:.4f}", *verdict.remarks] if isinstance(verdict, Scored) else [f"refused: {verdict.reason}"]


def _evaluated(
    evaluator: SubmissionEvaluator,
    each: Retraining,
    artifact: ArtifactSpec,
    timeout_s: float,
    waits: Waits,
    note: Note,
    key: str | None,
) -> Verdict:
    """The verdict, tried again where infrastructure fails; an engine that is away is waited for.

    Raises:
        Stopped: the confirmation is over; whatever failed did so because its container was swept away.
    """
    submission = _submission(each, artifact)
    destination = each.folder.confirmation(each.step, each.number, key)
    if destination.is_dir() and any(destination.iterdir()):  # of a confirmation that was cut short
        keep_attempt(destination)
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


def _submission(each: Retraining, artifact: ArtifactSpec) -> Submission:
    """The submitted bytes, which are those that the search scored."""
    where = f"Seed {each.seed} step {each.step}: {artifact.name}"
    try:
        name = f"nodes/{each.step:04d}/{artifact.name}"
        content = read_recorded(each.folder.path, name, artifact.max_kib * 1024, each.artifact_sha256)
    except Unacceptable as error:
        raise RunStateError(f"{where}: {error}.") from error
    return Submission.of(artifact, content, each.number)
