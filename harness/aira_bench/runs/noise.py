"""Measures the noise floor of a task: how far trainings of one artifact lie apart.

Three artifacts, the task's baseline and two that the agent `random` submits, are searched for by two short runs and
confirmed like any other, only more often: each training goes through the trusted evaluator, on the `final` hidden
data, from seeds of its own. So what is measured is what boards order by, the evidence is two signed runs, and a
measurement that was stopped goes on where it was.

Not covered: what boards do with it (`aira_bench.boards.order`), and noise of other sources, such as another machine.
"""

import json
import math
import statistics
from collections.abc import Callable, Sequence
from dataclasses import dataclass, replace

from aira_bench.errors import NothingScored, RunStateError, UsageError
from aira_bench.record.folder import RunFolder, is_run
from aira_bench.record.new_run import BeingMade
from aira_bench.record.run_record import RunRecord, read_run
from aira_bench.record.trust import read_confirmable, read_resumable
from aira_bench.runs.confirm import confirm
from aira_bench.runs.host import Host, Note
from aira_bench.runs.launch import resume, start
from aira_bench.runs.request import RunRequest
from aira_bench.runs.resolve import ResolvedRun, resolve
from aira_bench.runs.session import Progress
from aira_bench.statistics.components import components
from aira_bench.tasks.data_source import SYNTHETIC
from aira_bench.tasks.measured_noise import MeasuredNoise
from aira_bench.tasks.task import find_task

FOLDER = "noise"
"""Below the folder of runs: no board lists what lies there."""
TRAININGS = 10
"""Of each artifact, where nobody asks for another number: with three, 27 degrees of freedom, which leave the deviation
uncertain by some 14 %."""
_SEARCHES = (("baseline", (0,), 1), ("random", (0, 1), 3))
"""Agent, seeds and steps: what is trained."""


@dataclass(frozen=True)
class TrainedArtifact:
    """One artifact that was trained several times."""

    name: str
    """Who submitted it: agent and seed."""
    scores: tuple[float, ...]
    """Its hidden test scores, one a training."""
    refused: tuple[str, ...] = ()
    """Why trainings were refused."""


@dataclass(frozen=True)
class NoiseMeasurement:
    """What was measured, and on what."""

    task: str
    profile: str
    metric: str
    artifacts: tuple[TrainedArtifact, ...]
    noise: MeasuredNoise
    synthetic: bool
    """On a generated stand-in: for runs on that alone."""

    @property
    def uncertainty(self) -> float:
        """Standard error of the deviation, relative to it, for scores that are normal: 1 / sqrt(2 * freedom)."""
        return 1 / math.sqrt(2 * self.noise.freedom)

    def to_yaml(self) -> str:
        """Return the lines that a task's `metadata.yaml` takes under `aira`."""
        values = self.noise.model_dump(exclude_none=True)
        said = ", ".join(f"{name}: {_scalar(value)}" for name, value in values.items())
        return f"  {'synthetic_noise' if self.synthetic else 'noise'}:\n    {self.profile}: {{{said}}}\n"


def _scalar(value: object) -> str:
    return f"{value:.4g}" if isinstance(value, float) else json.dumps(value)


def measure_noise(
    host: Host, request: RunRequest, trainings: int, note: Note, watch: Callable[[Progress], None]
) -> NoiseMeasurement:
    """Train three artifacts of a task several times each, or go on with that.

    Args:
        host: the machine; its folder of runs gets a folder for these.
        request: names task, profile, source, devices and whatever else is not who searches.
        trainings: of each artifact.
        note: told what is done.
        watch: told how far runs are.

    Raises:
        UsageError: the task has one set of hidden data.
        NothingScored: no artifact was scored twice.
        RunStateError: a measurement was begun there of something else, or another process is at it.
        SandboxError: the engine or an evaluation failed; what is done is kept.
    """
    host = replace(host, paths=replace(host.paths, runs=host.paths.runs / FOLDER))
    records = [
        _trained(host, replace(request, agent=agent, seeds=seeds, steps=steps, confirm=False), trainings, note, watch)
        for agent, seeds, steps in _SEARCHES
    ]
    found = [artifact for record in records for artifact in _artifacts(record)]
    used = [each.scores for each in found if each.scores]
    deviation = components(used).training
    manifest = records[0].manifest
    if not deviation:
        raise NothingScored(f"No artifact of {manifest.task_title} has two scores that differ, so no noise is seen.")
    noise = MeasuredNoise(
        deviation=float(f"{deviation:.4g}"), artifacts=len(used), trainings=sum(map(len, used)),
        measured=_last_day(records), hardware=manifest.hardware_class,
    )  # fmt: skip
    return NoiseMeasurement(
        manifest.task_title, manifest.plan.profile, manifest.metric, tuple(found), noise, manifest.synthetic
    )


def _trained(
    host: Host, request: RunRequest, trainings: int, note: Note, watch: Callable[[Progress], None]
) -> RunRecord:
    """A run of the request, begun if it was not, with so many trainings of each submission."""
    assert request.task is not None, "whoever measures a task names it"
    title = place_name(find_task(request.task).title, request.profile, synthetic=request.source == SYNTHETIC)
    name = f"{title}-{request.agent}"
    run = resolve(replace(request, name=name), host.paths, host.world, host.hardware)
    folder, ring = RunFolder(host.paths.runs / name), host.keys.ring()
    if is_run(folder.path):
        record = read_resumable(folder, ring, trust_agent=False)
        _require_same(record, run, host)
        if not record.closed:
            resume(host, record, note, watch)
    else:
        try:
            start(host, run, note, watch)
        except UsageError as error:
            if not isinstance(error, BeingMade) and not is_run(folder.path):
                raise
            raise RunStateError(
                f"Another process has begun the measurement in {folder.path}.", hint=folder.command("status")
            ) from error
    confirm(host, read_confirmable(folder, ring), note, trainings=trainings, watch=watch)
    return read_run(folder, ring)


def place_name(title: str, profile: str, *, synthetic: bool) -> str:
    """Return how the names begin of all that a measurement writes: on a stand-in another is measured."""
    return f"{title}-{profile}{'-synthetic' if synthetic else ''}"


def _require_same(record: RunRecord, run: ResolvedRun, host: Host) -> None:
    """Raises RunStateError where a measurement would go on, or be told again, as one of something else."""
    manifest, label = record.manifest, host.hardware.label
    found = manifest.plan.first_difference(run.plan, {"concurrency"})
    if found is None and manifest.hardware_class != label:
        found = "hardware class", manifest.hardware_class, label
    if found is not None:
        name, then, now = found
        raise RunStateError(
            f"The measurement in {record.folder.path} was begun with {name} {then}, and it would be {now} now.",
            hint="--runs DIR   (another folder)",
        )


def _last_day(records: Sequence[RunRecord]) -> str:
    """The day on which the last training was recorded."""
    return max(seed.confirmations.newest or "" for record in records for seed in record.seeds)[:10]


def _artifacts(record: RunRecord) -> Sequence[TrainedArtifact]:
    found = []
    for seed in record.seeds:
        if seed.submitted is not None:
            step, known = seed.submitted.step, seed.confirmations
            scores = tuple(score.test for score in known.scores.get(step, ()))
            found.append(
                TrainedArtifact(f"{record.manifest.plan.agent} {seed.seed}", scores, known.refused.get(step, ()))
            )
    return found


def summary(artifact: TrainedArtifact) -> str:
    """Return one line about an artifact: its trainings, their mean and their standard deviation."""
    said = f"{artifact.name}: {len(artifact.scores)} trainings"
    if len(artifact.scores) > 1:
        mean, deviation = statistics.fmean(artifact.scores), statistics.stdev(artifact.scores)
        said += f", mean {mean:.4f}, standard deviation {deviation:.4f}"
    return said + "".join(f"; refused: {reason}" for reason in artifact.refused)
