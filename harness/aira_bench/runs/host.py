"""What a run stands on: the machine, a task with its images and data, and a sandbox that holds.

Searches (`launch`) and confirmations (`confirm`) begin here. Everything a step needs is checked before the first
step: a machine whose sandbox fails its probe runs nothing.

Not covered: more than one machine.
"""

import contextlib
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from shlex import quote
from typing import Any, Literal

from aira_bench.errors import MachineError, RunStateError, SandboxError, UsageError
from aira_bench.hardware import Hardware, usable_cores
from aira_bench.hidden_keys import HiddenKey
from aira_bench.images.declared import Declared
from aira_bench.images.ensure import ImageSet
from aira_bench.images.fit import require_fit
from aira_bench.images.flavour import load_flavour
from aira_bench.keys import KeyFolder
from aira_bench.machine_failures import machine_failures
from aira_bench.paths import HostPaths
from aira_bench.record.folder import RunFolder
from aira_bench.record.manifest import Manifest, RunPlan
from aira_bench.record.run_record import RunRecord
from aira_bench.record.sealing import Keeper
from aira_bench.record.seen_chains import Witness
from aira_bench.remote_judging.nodes import JudgeNodes
from aira_bench.remote_judging.remote_judge import AgreedJudges, require_data
from aira_bench.runs.declared import flavour_for
from aira_bench.runs.descriptors import require_descriptors
from aira_bench.runs.device_probe import probe_free_device
from aira_bench.runs.judges import agree, hashes_with, require_same_place
from aira_bench.runs.places import Place, Wanted
from aira_bench.runs.resolve import ResolvedTask
from aira_bench.runs.slots import lent_gpu
from aira_bench.sandbox.isolation import UNTRUSTED, is_weaker, weakest
from aira_bench.sandbox.probe import probe_all
from aira_bench.sandbox.probe_checks import ProbeCheck
from aira_bench.sandbox.sandbox import ContainerSpec, Isolation, Limits, Mount, Role, Sandbox
from aira_bench.sandbox.walls import missing_walls, require_walls
from aira_bench.tasks.data_source import DataSource, provide_raw, raw_content
from aira_bench.tasks.preparation import prepare_task
from aira_bench.tasks.store import TaskData, task_data
from aira_bench.tasks.task import DESCRIPTION, Task
from aira_bench.tasks.transfer import Transfer
from aira_bench.world import World
from aira_contract.containers import DATA, TASK, WORKSPACE
from aira_contract.settings import ON_GPUS, PROFILE_VARIABLE, ProfileName

Note = Callable[[str], None]


@dataclass(frozen=True)
class Host:
    """What a launch needs of the machine."""

    paths: HostPaths
    sandbox: Sandbox
    world: World
    hardware: Hardware
    build_images: Callable[[str, Declared], ImageSet]
    """Makes sure the images of a flavour exist, with what a task declares in them, and names them."""
    transfer: Callable[[Transfer], None] = lambda transfer: None
    """Told how far a download is."""
    accepted_walls: tuple[str, ...] = ()
    """Walls whose absence the user accepts, by their names (`aira_bench.sandbox.walls`)."""
    judges: JudgeNodes | None = None
    """Other machines that judge; None where this one does. Then no hidden data is made here."""

    @property
    def keys(self) -> KeyFolder:
        """The machine's key, and those it trusts."""
        return KeyFolder(self.paths.keys)

    def keeper(self, record: RunRecord) -> Keeper:
        """Who goes on with the record of a run that has been read and may be worked on."""
        run_id, digest = record.manifest.run_id, record.manifest_sha256
        key, witness = self.keys.machine_key(), Witness(self.keys.seen)
        return Keeper(record.folder, key, run_id, digest, self.world.now, witness)


@dataclass(frozen=True)
class Prepared:
    """A task whose images and data are ready."""

    task: Task
    data: TaskData
    images: ImageSet


@dataclass(frozen=True)
class Ground(Prepared):
    """All that was prepared and checked before the first step."""

    isolation: dict[Role, Isolation]
    """What separates the containers of each untrusted role from others."""
    checks: dict[str, bool]
    """The sandbox's probe; all of them hold but those of `missing_walls`."""
    missing_walls: tuple[str, ...] = ()
    """Walls that do not stand here, each accepted by its name."""
    judges: AgreedJudges | None = None
    """Other machines that judge, and have the hidden data."""

    @property
    def hashes(self) -> dict[str, Any]:
        """What is recorded of the data, wherever its hidden half is."""
        return self.data.hashes() if self.judges is None else hashes_with(self.data, self.judges.opened.hidden)


def stand(
    host: Host,
    found: ResolvedTask,
    probed: Literal["agent", "evaluator"],
    note: Note,
    record: RunRecord | None = None,
    *,
    run_id: str = "",
) -> Ground:
    """Prepare a task and check the machine, for a new run or for one that goes on.

    Args:
        host: the machine.
        found: the run's plan, task and data source.
        probed: which image the sandbox's walls are tried with.
        note: told what is done.
        record: of a run that goes on, whose task, data, images and isolation must be those it began with.
        run_id: of a new run.

    Raises:
        PrerequisiteError: the machine lacks something, or its sandbox does not hold.
        RunStateError: the run cannot go on here.
    """
    wanted = wanted_of(host, found.plan)
    require_descriptors(wanted.most, len(found.plan.seeds), len(wanted.cores) + len(wanted.gpus))
    if record is not None:
        again = record.folder.command("resume" if probed == "agent" else "confirm")
        require_same_place(record.manifest, host.judges, confirms=probed == "evaluator", command=again)
    if host.judges is not None:
        require_data(found.task, found.plan.evaluator)
    prepared = prepare(host, found.task, found.plan.profile, found.source, note, found.hidden_key)
    judges = None
    if host.judges is not None:
        judges = agree(
            host.judges, found, prepared.data, prepared.images, run_id if record is None else record.manifest.run_id,
            host.hardware, host.paths, note, record, confirms=probed == "evaluator",
        )  # fmt: skip
    if record is not None:
        key = found.hidden_key if judges is None else judges.hidden_key
        own = found.plan.hidden_key == (None if key is None else key.sha256)
        hashes = prepared.data.hashes() if judges is None else hashes_with(prepared.data, judges.opened.hidden)
        require_unchanged(record.folder, record.manifest, prepared, hashes, same_hidden_data=own)
    isolation = isolation_of(host.sandbox, prepared.images, gpu=gives_gpus(host, found.plan.profile), note=note)
    if record is not None:
        require_no_weaker(record.folder, record.manifest, isolation)
    note("probing the sandbox")
    gpus = [gpu.uuid for gpu in host.hardware.gpus] if gives_gpus(host, found.plan.profile) else []
    checks = walls_of(host.sandbox, image_names(prepared.images)[probed], gpus, note)
    if record is not None:
        require_no_wall_lost(record.folder, record.manifest, checks)
    missing = require_walls(checks, host.accepted_walls if record is None else record.manifest.missing_walls)
    if missing:
        note(f"walls missing, as accepted: {', '.join(missing)}")
    found_so = {check.name: check.ok for check in checks}
    return Ground(prepared.task, prepared.data, prepared.images, isolation, found_so, missing, judges)


def declared_packages(task: Task) -> Declared:
    """Return what a task's scripts and its submissions may import, as its metadata says."""
    asked = task.metadata
    return Declared(
        agent=asked.container_python_requirements,
        evaluate=asked.evaluate_container_python_requirements,
        prepare=asked.prepare_code_python_requirements,
        code=asked.aira.artifact.kind in {"module", "script"},
        metadata=task.folder / "metadata.yaml",
    )


def prepare(
    host: Host, task: Task, profile: str, source: DataSource, note: Note, hidden_key: HiddenKey | None = None
) -> Prepared:
    """Build images and make data, skipping what is done; hidden data is derived from a key, if one is given.

    Raises:
        PrerequisiteError: the images cannot run on the machine's devices, or something that they need is not to be had.
    """
    task.profile(profile)
    flavour = flavour_for(task, profile, host.hardware)
    if gives_gpus(host, profile):
        require_fit(host.hardware, load_flavour(flavour))
    images = host.build_images(flavour, declared_packages(task))
    raw = raw_content(task, profile, source, host.paths)
    elsewhere = host.judges is not None
    hidden_key = None if elsewhere else hidden_key
    data = task_data(
        host.paths, task, profile, raw=raw, image=images.evaluator, hidden_key=hidden_key, public_only=elsewhere
    )
    note(f"data of {task.title} ({profile})")
    trains = task.metadata.aira.artifact.kind == "script" and gives_gpus(host, profile) and not data.ready
    with contextlib.ExitStack() as stack:
        gpus = [gpu.uuid for gpu in host.hardware.gpus]
        prepare_task(
            task,
            profile,
            data,
            source=source,
            provide=lambda empty: provide_raw(
                task, profile, source, host.paths, empty=empty, note=note, watch=host.transfer
            ),
            sandbox=host.sandbox,
            image=images.evaluator,
            world=host.world,
            note=note,
            gpu_uuid=stack.enter_context(lent_gpu(host.sandbox, gpus, note)) if trains else None,
            hidden_key=hidden_key,
            public_only=elsewhere,
        )
    return Prepared(task, data, images)


def require_unchanged(
    folder: RunFolder,
    manifest: Manifest,
    prepared: Prepared,
    hashes: dict[str, Any],
    *,
    same_hidden_data: bool = True,
) -> None:
    """Raises RunStateError unless task, data and images are those the run began with; of the data the public half alone
    where the hidden one is meant to be another.
    """
    plan, data = manifest.plan, manifest.data
    if not same_hidden_data:
        data, hashes = ({key: each[key] for key in each if not key.startswith("hidden")} for each in (data, hashes))
    now = {
        "task folder": (manifest.task_sha256, prepared.task.sha256),
        "task data": (data, hashes),
        "images": (manifest.images, image_names(prepared.images)),
    }
    for what, (then, today) in now.items():
        if then != today:
            raise RunStateError(
                f"Run {folder.path.name} cannot go on: the {what} changed since it began ({then} then, {today} now).",
                hint=f"aira-bench run --agent {quote(plan.agent)} --task {quote(plan.task)} --profile {plan.profile}",
            )


def isolation_of(sandbox: Sandbox, images: ImageSet, *, gpu: bool, note: Note) -> dict[Role, Isolation]:
    """Return what separates the containers of each untrusted role from others on this machine.

    Raises:
        PrerequisiteError: an image is not there.
    """
    found = {
        role: weakest(sandbox.isolation(image, role, gpu=gpu) for image in (images.agent, images.evaluator))
        for role in UNTRUSTED
    }
    least = weakest(found.values())
    note(f"isolation: {least.word} ({least.reason})")
    return found


def require_no_weaker(folder: RunFolder, manifest: Manifest, found: dict[Role, Isolation]) -> None:
    """Raises RunStateError if containers are separated less well now than the run's record says."""
    now = weakest(found.values())
    if is_weaker(now.word, manifest.isolation_word):
        raise RunStateError(
            f"Run {folder.path.name} cannot go on: its containers had isolation {manifest.isolation_word!r} when it "
            f"began, here they have {now.word!r} ({now.reason}).",
            hint="aira-bench doctor",
        )


def require_no_wall_lost(folder: RunFolder, manifest: Manifest, checks: Sequence[ProbeCheck]) -> None:
    """Raises RunStateError if a wall is missing here that stood where the run began."""
    lost = [each for each in missing_walls(checks) if each.wall.name not in manifest.missing_walls]
    if lost:
        raise RunStateError(
            f"Run {folder.path.name} cannot go on: walls are missing here that stood when it began "
            f"({'; '.join(each.told for each in lost)}).",
            hint="aira-bench doctor",
        )


def walls_of(
    sandbox: Sandbox, image: str, gpus: Sequence[str] = (), note: Note = lambda text: None
) -> list[ProbeCheck]:
    """Probe the sandbox with an image, and with one of the devices that containers get.

    Raises:
        PrerequisiteError: the image is not there.
        SandboxError: the engine failed.
    """
    checks = probe_all(sandbox, image)
    if gpus:
        checks += probe_free_device(sandbox, image, gpus, note)
    return checks


def clean_up(host: Host, run_id: str, note: Note) -> None:
    """Remove the containers of a run that is at its end. What cannot be removed is noted, and spoils no result."""
    try:
        with machine_failures(host.paths.runs):
            host.sandbox.sweep(run_id)
    except (SandboxError, MachineError) as error:
        note(f"left behind: {error.message}")


def image_names(images: ImageSet) -> dict[str, str]:
    """Return the tags of a run's images by their use, as manifests have them."""
    return {"agent": images.agent, "evaluator": images.evaluator}


def gives_gpus(host: Host, profile: str) -> bool:
    """Whether containers of a profile get GPUs on this machine."""
    return profile in ON_GPUS and bool(host.hardware.gpus)


def agent_spec(images: ImageSet, data: TaskData, run_id: str, limits: Limits, profile: ProfileName) -> ContainerSpec:
    """Return the container that a solution runs in: the public data and the description, nothing else of the task."""
    mounts = (
        Mount(data.public, WORKSPACE / DATA, content=str(data.hashes()["public"]["sha256"])),
        Mount(data.task / DESCRIPTION, TASK / DESCRIPTION),
    )
    return ContainerSpec(images.agent, "agent", run_id, limits, mounts, {PROFILE_VARIABLE: profile})


def wanted_of(host: Host, plan: RunPlan, *, all_gpus: bool = False) -> Wanted:
    """Return what a run may use of this machine (`wanted_on`)."""
    return wanted_on(host.hardware, plan, all_gpus=all_gpus)


def wanted_on(hardware: Hardware, plan: RunPlan, *, all_gpus: bool = False) -> Wanted:
    """Return what a run may use of a machine.

    Args:
        hardware: of the machine, with the devices that the run may use (`devices`).
        plan: the run's.
        all_gpus: use all GPUs that it may at a time, however many the plan says.

    Raises:
        UsageError: it names cores that are not there, or asks for GPUs where it gets none.
    """
    cores, usable = plan.cores, usable_cores()
    gpus = [gpu.uuid for gpu in hardware.gpus] if plan.profile in ON_GPUS else []
    machine = list(hardware.seen.every) or gpus
    if plan.gpus_per_seed is not None and not gpus:
        raise UsageError("--gpus-per-seed: containers of this run get no GPU here.", hint="aira-bench doctor")
    if isinstance(cores, tuple) and (unknown := sorted(set(cores) - set(usable))):
        raise UsageError(
            f"Core {unknown[0]} cannot be used here; those that can are {', '.join(map(str, usable))}.",
            hint="aira-bench run --help",
        )
    slots = len(gpus) if all_gpus and gpus else plan.concurrency
    if isinstance(plan.gpus, int) and gpus and not all_gpus:
        slots = min(slots, plan.gpus)
    named = cores if isinstance(cores, tuple) else usable
    most_cores = None if isinstance(cores, tuple) else cores
    return Wanted(named, slots, gpus, most_cores, machine if cores is None and gpus else ())


def place_limits(plan: RunPlan, task: Task, places: Sequence[Place]) -> list[Limits]:
    """Return what the containers of each place may use."""
    profile = task.profile(plan.profile)
    return [profile.limits(place.cores, place.gpu) for place in places]
