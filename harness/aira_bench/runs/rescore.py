"""Scores artifacts of other machines' runs again, and compares with what their records say.

A signature says who wrote a score down, not that a judge gave it. So artifacts are drawn at random, by draws that
nobody could know when the runs were made, and this machine's judge scores each as the recorded one did: in its
container, on the same hidden data, for the same training. Half of the draws are trainings that confirm a submission,
since boards order by those; the others are scores that steered a search.

What must come out depends on what a task's evaluation promises (docs/boards.md): a score that is computed, or trained
with deterministic kernels on hardware of the same class, comes again to the last digit; any other only within the
task's noise of training, which says less.

Not covered: steps and trainings that were refused, which have no score; how a search came to what it submitted; and
that runs were not chosen among others (`aira_bench.packs`).
"""

import random
import tempfile
from collections.abc import Sequence
from dataclasses import dataclass, fields, replace
from pathlib import Path
from typing import Literal, NamedTuple

from aira_bench.errors import PrerequisiteError, RunStateError, ScoresDiffer
from aira_bench.evaluation.submission_evaluator import EvaluationSetting
from aira_bench.evaluation.verdict import Refused, trusted_score
from aira_bench.hardware import usable_cores
from aira_bench.record.conditions import comparable_with
from aira_bench.record.run_record import RunRecord
from aira_bench.record.scores import TrustedScore
from aira_bench.record.trust import require_known_task
from aira_bench.runs.declared import declared
from aira_bench.runs.devices import on_devices_of
from aira_bench.runs.drawn_scores import DrawnScore, draw
from aira_bench.runs.host import Ground, Host, Note, image_names, stand
from aira_bench.runs.resolve import ResolvedTask, reopen
from aira_bench.runs.retraining import retrainer
from aira_bench.tasks.task import Task
from aira_contract.settings import SeedSet

Promise = Literal["equal", "noise"]
Again = TrustedScore | Refused
_FALSE_ALARMS = 0.01
"""How many honest packs are refused, at most, in whose scores only luck differs."""
_COMPARED = ("test", "validation", "public")
"""Numbers of each score that have to come again."""
_COMPUTED = frozenset({"csv"})
_DETERMINISTIC = frozenset({"architecture"})
"""Kinds of artifacts whose training comes again to the last digit on hardware of one class (docs/mad.md)."""


@dataclass(frozen=True)
class Rescored:
    """A recorded score beside the one that the same artifact got here."""

    drawn: DrawnScore
    again: Again
    promise: Promise
    """Whether it had to come to the last digit, or within the noise of training."""
    within: float
    """By how much the two may differ; 0 where they have to be equal."""

    @property
    def fault(self) -> str | None:
        """What is wrong, in words; None where the score came again."""
        recorded, again = self.drawn.recorded, self.again
        if isinstance(again, Refused):
            return f"{self.drawn.where}: recorded {recorded.test!r}, refused here: {again.reason}"
        for name in _COMPARED:
            then, now = getattr(recorded, name), getattr(again, name)
            if name == "public" and None in (then, now):
                continue  # a judge of the same number need not have said it
            if then != now and (None in (then, now) or not abs(then - now) <= self.within):
                bound = f"they may differ by {self.within:.4f}" if self.within else "they have to be equal"
                return f"{self.drawn.where}: {name} recorded {then!r}, here {now!r}, and {bound}"
        return None


class _Setting(NamedTuple):
    """What decides which containers and data score."""

    task: str
    profile: str
    source: str | None
    hidden_key: str | None
    cores_a_step: int
    on_gpus: bool


def rescore(
    host: Host, records: Sequence[RunRecord], count: int, generator: random.Random, note: Note
) -> list[Rescored]:
    """Have random scores of runs again from this machine's judge; nothing of it is written to any run.

    Args:
        host: the machine.
        records: of the runs, read with all their files.
        count: how many scores.
        generator: draws them.
        note: told what is done.

    Raises:
        ScoresDiffer: one did not come again.
        RunStateError: a run names a task, data or an evaluator of a stranger's choice; was scored on other hidden data,
            or by another judge, than is here; or nothing in any run has a score.
        PrerequisiteError: the machine lacks something, or the task's noise, which the comparison needs, is not known.
        SandboxError: the engine or an evaluation failed.
    """
    for record in records:
        require_known_task(record, host.keys.ring())
        _require_one_key(record)
    drawn = draw(records, count, generator)
    if not drawn:
        raise RunStateError("No run of it has a score that could be had again.")
    groups: dict[_Setting, list[DrawnScore]] = {}
    for each in drawn:
        groups.setdefault(_setting_of(each.run), []).append(each)
    comparisons = len(_COMPARED) * len(drawn) + len({_family(each) for each in drawn})
    found = [again for group in groups.values() for again in _had_again(host, group, comparisons, note)]
    faults = [each.fault for each in found if each.fault]
    if faults:
        raise ScoresDiffer(f"{len(faults)} of {len(found)} scores did not come again: {'; '.join(faults[:3])}.")
    if leaning := _leaning(found):
        raise ScoresDiffer(f"Recorded scores lean to one side: {'; '.join(leaning)}.")
    return found


def _require_one_key(record: RunRecord) -> None:
    """Raises RunStateError where a run is confirmed under another hidden key than its search's: of its trainings those
    under that key alone count, and a liar could bring his own.
    """
    for seed in record.seeds:
        if (key := seed.confirmations.hidden_key) is not None:
            raise RunStateError(
                f"Run {record.name} is confirmed on hidden data of the key {key[:12]}, which is not its search's, so "
                "what orders it cannot be had again here."
            )


def _setting_of(record: RunRecord) -> _Setting:
    manifest, plan = record.manifest, record.manifest.plan
    told = manifest.hardware.get("cores_a_step")
    cores = min(max(1, told), len(usable_cores())) if isinstance(told, int) else 1
    return _Setting(plan.task, plan.profile, plan.source, plan.hidden_key, cores, bool(manifest.hardware.get("gpus")))


def _had_again(host: Host, group: Sequence[DrawnScore], comparisons: int, note: Note) -> list[Rescored]:
    """The scores of one task, data and kind of device."""
    first = group[0].run
    host = on_devices_of(host, first.manifest, note)
    found = _planned_here(host, first, len(group))
    agreements = [_agreement(host, found.task, each.run, comparisons) for each in group]
    ground = stand(host, found, "evaluator", note)
    for record in {each.run.manifest.run_id: each.run for each in group}.values():
        _require_same_judge(host, found, ground, record)
    note(f"scoring {len(group)} artifacts again: {found.task.title}, profile {found.plan.profile}")
    again: dict[int, Again] = {}
    with tempfile.TemporaryDirectory(prefix="aira-rescore-") as temporary:
        for seed_set in sorted({each.seed_set for each in group}):
            numbered = [(number, each) for number, each in enumerate(group) if each.seed_set == seed_set]
            again |= _scored(host, found, ground, seed_set, numbered, Path(temporary), note)
    return [
        Rescored(each, again[number], promise, within)
        for number, (each, (promise, within)) in enumerate(zip(group, agreements, strict=True))
    ]


def _planned_here(host: Host, record: RunRecord, trainings: int) -> ResolvedTask:
    """The run's task and data, and of its plan what decides a score; what it may use is this machine's to say."""
    found, cores = reopen(record.manifest.plan, host.paths), _setting_of(record).cores_a_step
    slots = max(1, min(trainings, len(usable_cores()) // cores))
    here = {
        "evaluation_timeout_s": found.task.profile(found.plan.profile).evaluation_timeout_s,
        "concurrency": slots, "cores": slots * cores, "gpus": None, "gpus_per_seed": None, "exclusive": False,
    }  # fmt: skip
    return replace(found, plan=found.plan.model_copy(update=here))


def _scored(
    host: Host,
    found: ResolvedTask,
    ground: Ground,
    seed_set: SeedSet,
    group: Sequence[tuple[int, DrawnScore]],
    place: Path,
    note: Note,
) -> dict[int, Again]:
    """What this machine's judge says of each, by number."""
    setting = EvaluationSetting(
        found.task, found.plan.profile, ground.data, ground.images, host.world.new_id(), seed_set,
        public_sha256=str(ground.data.hashes()["public"]["sha256"]),
        draw_secret=(found.hidden_key or host.keys.machine_key()).draw_secret,
    )  # fmt: skip
    done: dict[int, Again] = {}
    with retrainer(host, found.plan, setting, len(group), note) as trainer:

        def score(numbered: tuple[int, DrawnScore]) -> None:
            number, each = numbered
            verdict, synthetic = trainer.train(each.training, place / str(number)), each.run.manifest.synthetic
            done[number] = (
                verdict
                if isinstance(verdict, Refused)
                else trusted_score(each.training.step, verdict, ground.images.evaluator, synthetic=synthetic)
            )

        trainer.do_all(score, group)
    return done


def _require_same_judge(host: Host, found: ResolvedTask, ground: Ground, record: RunRecord) -> None:
    """Raises RunStateError unless the run's scores and those made here could stand in one table of a board but for the
    hardware: the same task and data and the same judge, by declared number or by content.
    """
    manifest, ours = record.manifest, declared(host.hardware, found)
    if ours is None or manifest.compatibility is None:
        raise RunStateError(f"Run {record.name} was scored by code that is not this product's: nothing says which.")
    made_here = {
        "compatibility": ours, "data": ground.data.hashes(), "task_sha256": found.task.sha256,
        "images": image_names(ground.images),
    }  # fmt: skip
    then, now = comparable_with(manifest), comparable_with(manifest.model_copy(update=made_here))
    for each in fields(then):
        recorded, here = getattr(then, each.name), getattr(now, each.name)
        if recorded != here:
            what = each.name.replace("_", " ")
            raise RunStateError(
                f"Scores of run {record.name} cannot be had again here: its {what} is {recorded}, here {here}."
            )


def _agreement(host: Host, task: Task, record: RunRecord, comparisons: int) -> tuple[Promise, float]:
    """What a score of a run must come to here: what is promised, and by how much it may differ, one of so many."""
    kind, there, here = task.metadata.aira.artifact.kind, record.manifest.hardware_class, host.hardware.label
    if kind in _COMPUTED or (kind in _DETERMINISTIC and there == here):
        return "equal", 0.0
    from aira_bench.statistics.noise import NoiseFloor, least_difference

    profile = record.manifest.plan.profile
    # This machine's own: a pack's manifest may say anything.
    noise = task.metadata.aira.noise_floor(profile, synthetic=record.manifest.synthetic)
    if noise is None:
        raise PrerequisiteError(
            f"Scores of {task.title} from {there} come again on {here} within the noise of training alone, and that is "
            f"not measured for profile {profile}.",
            hint=f"aira-bench noise {task.title} --profile {profile}"
            + (" --source synthetic" if record.manifest.synthetic else ""),
        )
    floor = NoiseFloor(noise.deviation, noise.freedom)
    return "noise", least_difference(floor, 1, 1, level=1 - _FALSE_ALARMS / comparisons)


def _family(drawn: DrawnScore) -> tuple[str, str]:
    """Task and profile, whose scores are compared by their mean too."""
    manifest = drawn.run.manifest
    return manifest.task_title, manifest.plan.profile


def _leaning(found: Sequence[Rescored]) -> list[str]:
    """What is wrong with scores of a task that differ by no more than they may each, and all to one side."""
    groups: dict[tuple[str, str], list[Rescored]] = {}
    for each in found:
        if each.promise == "noise":
            groups.setdefault(_family(each.drawn), []).append(each)
    faults = []
    for (title, _), group in groups.items():
        pairs = [(each.drawn.recorded.test, each.again.test) for each in group if isinstance(each.again, TrustedScore)]
        mean, most = sum(then - now for then, now in pairs) / len(pairs), group[0].within * len(pairs) ** -0.5
        if abs(mean) > most:
            faults.append(f"{title}: {mean:+.4f} from those had here, in the mean of {len(pairs)}; {most:.4f} is luck")
    return faults
