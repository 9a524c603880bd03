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
from dataclasses import dataclass, replace

from aira_bench.errors import UsageError
from aira_bench.evaluation.submission_evaluator import EvaluationSetting
from aira_bench.evaluation.verdict import Scored, Verdict, trusted_score
from aira_bench.hidden_keys import HiddenKey
from aira_bench.paths import HostPaths
from aira_bench.record.confirmations import add_confirmation, add_refusal
from aira_bench.record.folder import RunFolder
from aira_bench.record.run_record import RunRecord, read_run
from aira_bench.record.sealing import Keeper
from aira_bench.record.seed_record import SeedRecord
from aira_bench.record.trust import require_unmoved
from aira_bench.runs.devices import on_devices_of
from aira_bench.runs.extensions_used import evaluator_of, require_same
from aira_bench.runs.host import Ground, Host, Note, stand
from aira_bench.runs.resolve import ResolvedTask, reopen, trainings_of
from aira_bench.runs.retraining import Retraining, retrainer
from aira_bench.runs.session import Progress
from aira_contract.settings import SeedSet

SEED_SET: SeedSet = "final"
Watch = Callable[[Progress], None]


def _nobody(progress: Progress) -> None:
    """Watches."""


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
    found = _reopened(record, host.paths, hidden_key)
    if host.judges is None:  # else their nodes say which key it is
        _require_one_key(record, _other_key(found))
        if not missing_trainings(record, found, trainings):
            return folder
    with contextlib.ExitStack() as stack:
        stack.callback(os.close, folder.lock())
        require_unmoved(record, host.keys.ring())
        host = on_devices_of(host, manifest, note)
        ground = stand(host, found, "evaluator", note, record)
        if ground.judges is not None:
            found = replace(found, hidden_key=ground.judges.hidden_key)
            _require_one_key(record, _other_key(found))
        if missing := missing_trainings(record, found, trainings):
            _train_again(host, record, found, ground, note, watch, missing)
    return folder


def reopen_to_confirm(record: RunRecord, paths: HostPaths, hidden_key: HiddenKey | None) -> ResolvedTask:
    """Return the task of a run whose submissions are to be trained again, on hidden data of a key.

    Raises:
        UsageError: the run is confirmed under another key already.
        RunStateError: its task is no longer the one it began with.
    """
    found = _reopened(record, paths, hidden_key)
    _require_one_key(record, _other_key(found))
    return found


def _reopened(record: RunRecord, paths: HostPaths, hidden_key: HiddenKey | None) -> ResolvedTask:
    found = reopen(record.manifest.plan, paths)
    return found if hidden_key is None else replace(found, hidden_key=hidden_key)


def missing_trainings(record: RunRecord, found: ResolvedTask, trainings: int | None = None) -> list[Retraining]:
    """Return the trainings that a run is to have, and that are not done.

    Args:
        record: of the run.
        found: as `reopen_to_confirm` returned it.
        trainings: of each submission; None for what the run's task asked for when it began.

    Raises:
        UsageError: the task has one set of hidden data, or the run has submitted nothing.
        RunStateError: some are missing, and the evaluator is no longer the one the run began with.
    """
    wanted = trainings or record.manifest.trainings or trainings_of(found.task, found.plan.profile)
    if not wanted:
        raise UsageError(f"Task {found.task.title} has one set of hidden data, which the run was scored on already.")
    if not any(seed.submitted for seed in record.seeds):
        hint = record.folder.command("status")
        raise UsageError(f"No seed of {record.name} has submitted anything.", hint=hint)
    missing = _missing(record, wanted, _other_key(found))
    if missing:
        scorer = evaluator_of(found.plan, found.task)
        require_same(record, {} if scorer is None else {"evaluator": scorer.record()}, ["evaluator"])
    return missing


def confirm_unit(
    host: Host,
    record: RunRecord,
    found: ResolvedTask,
    ground: Ground,
    note: Note,
    watch: Watch,
    unit: "ConfirmingUnit",
) -> None:
    """Do the trainings of one seed that are missing, whatever its run's plan says; the process has the seed's lease.

    Arguments and errors are those of `confirm_at_end`; `record` has that seed.
    """
    if record.seed(unit.seed).submitted and (missing := missing_trainings(record, found)):
        _train_again(host, record, found, ground, note, watch, missing, unit)


@dataclass(frozen=True)
class ConfirmingUnit:
    """A seed that a worker holds, as far as its confirmation goes."""

    seed: int
    keeper: Keeper
    label: str
    """Of its containers, and of no others on this machine."""
    stoppable: Callable[[Callable[[], None]], contextlib.AbstractContextManager[None]]
    """Has something called, while a block runs, when the worker is to stop."""


def confirm_at_end(
    host: Host,
    folder: RunFolder,
    found: ResolvedTask,
    ground: Ground,
    note: Note,
    watch: Watch,
    unit: ConfirmingUnit | None = None,
) -> None:
    """Train what a run submitted, if its plan says so and its task has data for it; the process has the run's lock, or
    the lease of a seed.

    Args:
        host: the machine, with the devices of the run.
        folder: of the run, all of whose seeds have ended.
        found: its plan, task and hidden key.
        ground: what its search stood on.
        note: told what is done.
        watch: told which training each seed is at.
        unit: the seed that a worker holds; None for all.

    Raises:
        RunStateError: a submitted artifact is not the one that was scored.
        SandboxError: the engine or an evaluation failed; what is missing can be done later.
    """
    wanted = folder.manifest.trainings
    if not found.plan.confirm or not wanted:
        return
    record = read_run(folder, host.keys.ring(), "records", only=None if unit is None else [unit.seed])
    if missing := _missing(record, wanted, None):
        _train_again(host, record, found, ground, note, watch, missing, unit)


def _other_key(found: ResolvedTask) -> str | None:
    """Hash of the key behind the hidden data, where that is another than the search's."""
    under = found.hidden_key
    return None if under is None or under.sha256 == found.plan.hidden_key else under.sha256


def _require_one_key(record: RunRecord, other: str | None) -> None:
    """Raises UsageError where a seed of the run is confirmed under a key that is neither this one nor its search's."""
    known = {key for seed in record.seeds if (key := seed.confirmations.hidden_key) is not None}
    if others := known - {other}:
        wanted = "that of its search" if other is None else other[:12]
        raise UsageError(
            f"Run {record.name} is confirmed on hidden data of the key {min(others)[:12]}, not {wanted}.",
            hint=f"{record.folder.command('confirm', '--hidden-key', 'FILE')}, the file of that key",
        )


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
    unit: ConfirmingUnit | None = None,
) -> None:
    """Do the trainings that are missing, as many at a time as the run has places; the process has the run's lock, or
    the lease of the one seed.
    """
    manifest, other = record.manifest, _other_key(found)
    label = manifest.run_id if unit is None else unit.label
    setting = EvaluationSetting(
        found.task, found.plan.profile, ground.data, ground.images, label, SEED_SET,
        public_sha256=str(manifest.data["public"]["sha256"]), evaluator=found.plan.evaluator, elsewhere=ground.judges,
        draw_secret=(found.hidden_key or host.keys.machine_key()).draw_secret,
    )  # fmt: skip
    with contextlib.ExitStack() as stack:
        trainer = stack.enter_context(retrainer(host, found.plan, setting, len(missing), note))
        keeper, writing = host.keeper(record) if unit is None else unit.keeper, threading.Lock()
        if unit is not None:
            stack.enter_context(unit.stoppable(trainer.end))

        def train(each: Retraining) -> None:
            doing = Progress(each.seed, each.step, f"training {each.number + 1} of {each.of} again", confirming=True)
            verdict = trainer.train(each, each.folder.confirmation(each.step, each.number, other), lambda: watch(doing))
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
        trainer.do_all(train, missing)


def _remarks(verdict: Verdict) -> Sequence[str]:
    """What is worth telling of a verdict."""
    return [f"{verdict.test:.4f}", *verdict.remarks] if isinstance(verdict, Scored) else [f"refused: {verdict.reason}"]
