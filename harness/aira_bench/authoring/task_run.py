"""Runs a task folder's three scripts as a run would, and scores a baseline with them.

Data is made afresh, below `AIRA_HOME/checks`, and removed in the end. The baseline goes through the same containers as
an agent's solution; then `evaluate.py` has to score it with one finite number and to refuse an empty file.

Not covered: whether the score measures what the task is about.
"""

import contextlib
from collections.abc import Callable, Iterator
from dataclasses import replace
from pathlib import Path

from aira_bench import files
from aira_bench.authoring.baseline import Baseline, Gold, Solution
from aira_bench.authoring.evaluate_check import check_refusals, is_judged_alone, score_submission
from aira_bench.authoring.findings import Finding, Tell
from aira_bench.authoring.place import CheckedTask
from aira_bench.authoring.public_labels import find_public_labels
from aira_bench.errors import TaskError
from aira_bench.runs.declared import flavour_for
from aira_bench.runs.host import Host, agent_spec, declared_packages
from aira_bench.runs.outcomes import failure_of
from aira_bench.sandbox.sandbox import ArtifactRequest
from aira_bench.tasks.data_source import DataSource, provide_raw
from aira_bench.tasks.preparation import prepare_task
from aira_bench.tasks.store import TaskData
from aira_bench.tasks.task import Task
from aira_bench.unfinished import staging_folder
from aira_contract.files import HIDDEN_SCRIPT, PREPARE_SCRIPT
from aira_contract.settings import ProfileName

_SOLUTION = "solution.py"
_LIMITS = ("step_timeout_s", "evaluation_timeout_s", "prepare_timeout_s")
_MOST_ENTRIES = 1 << 20


def run_task(
    host: Host,
    task: Task,
    profile: ProfileName,
    source: DataSource,
    baselines: list[Baseline],
    note: Callable[[str], None],
    tell: Tell,
) -> float:
    """Run the scripts of a task in containers and score its baselines; return the score of the first.

    Args:
        host: where containers run.
        task: a loaded task; its profile's limits end what hangs.
        profile: of the task.
        source: of raw data.
        baselines: what is scored, in this order (`baseline.find_baselines`).
        note: told about each stage.
        tell: told of each finding.

    Raises:
        TaskError: a script fails, or does something else than a run needs.
        PrerequisiteError: raw data or images are not to be had.
        SandboxError: the container engine failed.
    """
    images = host.build_images(flavour_for(task, profile, host.hardware), declared_packages(task))
    with _scratch_folder(host) as scratch:
        place = CheckedTask(
            host, task, profile, TaskData(scratch / "data"), images, f"check-{host.world.new_id()}", scratch, tell
        )
        try:
            _make_data(place, source, note)
            scores = [_score(place, baseline, note) for baseline in baselines]
            _compare(place, baselines, scores)
            return scores[0]
        finally:
            host.sandbox.sweep(place.run_id)


def with_timeout(task: Task, timeout_s: float) -> Task:
    """Return the task with no script allowed more than `timeout_s` seconds, whatever its metadata say."""
    profiles = {}
    for name, profile in task.metadata.aira.profiles.items():
        limits = {key: min(getattr(profile, key), timeout_s) for key in _LIMITS}
        profiles[name] = profile.model_copy(update=limits)
    aira = task.metadata.aira.model_copy(update={"profiles": profiles})
    return replace(task, metadata=task.metadata.model_copy(update={"aira": aira}))


@contextlib.contextmanager
def _scratch_folder(host: Host) -> Iterator[Path]:
    """A folder that containers can be shown and that nobody else can enter: it will hold labels."""
    host.paths.checks.mkdir(parents=True, exist_ok=True)
    with staging_folder(host.paths.checks / "check", host.world.new_id()) as folder:
        yield folder


def _make_data(place: CheckedTask, source: DataSource, note: Callable[[str], None]) -> None:
    host, task, profile = place.host, place.task, place.profile
    prepare_task(
        task, profile, place.data, source=source, sandbox=host.sandbox, image=place.images.evaluator,
        world=host.world, note=note, gpu_uuid=place.limits.gpu_uuid,
        provide=lambda empty: provide_raw(
            task, profile, source, host.paths, empty=empty, note=note, watch=host.transfer
        ),
    )  # fmt: skip
    hashes = place.data.hashes()
    for half, script, folder in (
        ("public", PREPARE_SCRIPT, place.data.public),
        ("hidden", HIDDEN_SCRIPT, place.data.hidden),
    ):
        _check_half(place.file(script), folder)
        place.tell(Finding(script, f"{hashes[half]['bytes'] / 2**20:.2f} MiB of {half} data"))
    found = find_public_labels(place.data.public, place.data.hidden, task.metadata.logging_info)
    if found is not None:
        raise TaskError(f"{place.file('prepare.py')} gives labels away: in the public data, {found}.")
    place.tell(Finding("public data", "no labels found where they are looked for"))


def _check_half(script: Path, folder: Path) -> None:
    """What a script made has to be there, and to be files: links lead nowhere in other containers."""
    try:
        if foreign := next(files.foreign_entries(folder, _MOST_ENTRIES), None):
            raise TaskError(f"{script} left {foreign}; expected files and folders, which other containers can read.")
    except files.Unacceptable as error:
        raise TaskError(f"{script} left a folder that cannot be read: {error}.") from error
    if not any(path.is_file() for path in folder.rglob("*")):
        raise TaskError(f"{script} wrote nothing; expected files in the folder that --agent-data-mount-dir names.")


def _score(place: CheckedTask, baseline: Baseline, note: Callable[[str], None]) -> float:
    if isinstance(baseline, Gold):
        submission = baseline.content
    else:
        note(f"running {baseline.name}")
        submission = _solve(place, baseline)
    note(f"scoring {baseline.name}")
    score = score_submission(place, submission, baseline.name)
    if is_judged_alone(place) and not isinstance(baseline, Gold):
        check_refusals(place, submission, score)
    return score


def _solve(place: CheckedTask, solution: Solution) -> bytes:
    """Run a solution in an agent container; return the artifact it leaves.

    Raises:
        TaskError: it fails, or leaves none.
    """
    task, data = place.task, place.data
    artifact, profile = task.metadata.aira.artifact, task.profile(place.profile)
    destination = place.scratch / "solution"
    destination.mkdir(exist_ok=True)
    code = solution.code(data.public)
    spec = agent_spec(place.images, data, place.run_id, place.limits, place.profile)
    container = place.host.sandbox.prepare(spec)
    try:
        outcome = container.run(
            ["python3", _SOLUTION],
            files={_SOLUTION: code.encode()},
            timeout_s=profile.step_timeout_s,
            artifacts=[ArtifactRequest(artifact.name, artifact.max_kib * 1024)],
            destination=destination,
        )
    finally:
        container.close()
    failure = failure_of(outcome, artifact.name, timeout_s=profile.step_timeout_s, memory_mib=profile.memory_mib)
    if failure is not None:
        raise TaskError(f"{solution.name} left no submission ({failure.step_class}): {failure.reason}.")
    return (destination / artifact.name).read_bytes()


def _compare(place: CheckedTask, baselines: list[Baseline], scores: list[float]) -> None:
    """A gold submission has to beat a baseline, in the direction that the metadata says."""
    lower = place.task.lower_is_better
    gold = [(b.name, s) for b, s in zip(baselines, scores, strict=True) if isinstance(b, Gold)]
    others = [(b.name, s) for b, s in zip(baselines, scores, strict=True) if not isinstance(b, Gold)]
    for name, best in gold:
        for other, score in others:
            if best == score or (best < score) != lower:
                raise TaskError(
                    f"{name} has {place.task.metric} {best:g} and {other} {score:g}, but metric_lower_is_better is "
                    f"{str(lower).lower()}: expected the gold submission to be the better one."
                )
        optimum = place.task.metadata.logging_info.optimal_score
        if optimum is not None and best != optimum:
            seen = f"{name} has {place.task.metric} {best:g}, not optimal_score {optimum:g}"
            place.tell(Finding("metadata.yaml", seen, is_remark=True))
