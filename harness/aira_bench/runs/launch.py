"""From a plan to finished seeds: images, data, the isolation probe, the manifest, and the seeds' threads.

`start` and `resume` differ only in where the plan comes from. Everything a step needs is checked before the first
step: a machine whose sandbox fails its probe runs nothing.

Not covered: more than one machine.
"""

import contextlib
import os
from collections.abc import Callable, Iterator
from concurrent.futures import FIRST_EXCEPTION, Future, ThreadPoolExecutor, wait
from dataclasses import dataclass
from functools import partial
from pathlib import Path, PurePosixPath
from typing import Any

from aira_bench import __version__
from aira_bench.agents.catalog import find_agent
from aira_bench.agents.data_preview import preview
from aira_bench.agents.llm_agent import LlmAgent
from aira_bench.agents.model_sources import ProviderSource
from aira_bench.agents.prompting import prompt_hashes
from aira_bench.agents.protocol import Agent, Brief
from aira_bench.errors import PrerequisiteError, RunStateError
from aira_bench.evaluation.cache import ScoreCache
from aira_bench.evaluation.catalog import open_evaluator
from aira_bench.evaluation.normalized import anchors_of
from aira_bench.evaluation.protocol import EvaluationSetting
from aira_bench.files import write_atomically, write_json
from aira_bench.hardware import Hardware, usable_cores
from aira_bench.images.ensure import ImageSet
from aira_bench.images.flavour import lacking, load_flavour
from aira_bench.paths import HostPaths
from aira_bench.runs.folder import RunFolder, new_run
from aira_bench.runs.journal import SeedEnded
from aira_bench.runs.loop import run_seed
from aira_bench.runs.manifest import (
    Manifest,
    RunPlan,
    describe_hardware,
    python_version,
    software_versions,
    source_revision,
)
from aira_bench.runs.plan import agent_options, check_plan
from aira_bench.runs.session import Progress, Session, Stopped
from aira_bench.runs.slots import SlotPool, split_cores
from aira_bench.sandbox.probe import probe
from aira_bench.sandbox.protocol import ContainerSpec, Limits, Mount, Sandbox
from aira_bench.scaffolds.catalog import make_scaffold
from aira_bench.tasks.download import Transfer
from aira_bench.tasks.preparation import prepare_task
from aira_bench.tasks.sources import DataSource, choose_source, provide_raw
from aira_bench.tasks.store import TaskData, task_data
from aira_bench.tasks.task import DESCRIPTION, Task, find_task
from aira_bench.world import World

Note = Callable[[str], None]


@dataclass(frozen=True)
class Host:
    """What a launch needs of the machine."""

    paths: HostPaths
    sandbox: Sandbox
    world: World
    hardware: Hardware
    build_images: Callable[[str], ImageSet]
    """Makes sure the images of a flavour exist and names them."""
    transfer: Callable[[Transfer], None] = lambda transfer: None
    """Told how far a download is."""


@dataclass(frozen=True)
class Prepared:
    """A task whose images and data are ready."""

    task: Task
    data: TaskData
    images: ImageSet


def flavour_for(profile: str, hardware: Hardware) -> str:
    """`cuda` for the paper profile on a machine with a GPU, else `cpu`."""
    return "cuda" if profile == "paper" and hardware.gpus else "cpu"


def prepare(host: Host, task: Task, profile: str, source: DataSource, note: Note) -> Prepared:
    """Build images and make data, skipping what is done."""
    task.profile(profile)
    images = host.build_images(flavour_for(profile, host.hardware))
    flavour = load_flavour(flavour_for(profile, host.hardware))
    wanted = task.metadata.container_python_requirements + task.metadata.evaluate_container_python_requirements
    lacked = lacking(flavour, wanted)
    if lacked:
        note(f"the {flavour.name} images lack what {task.title} asks for: {', '.join(lacked)}; its scripts may fail")
    data = task_data(host.paths, task, profile, source.argument)
    note(f"data of {task.title} ({profile})")
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
    )
    return Prepared(task, data, images)


def start(host: Host, plan: RunPlan, note: Note, watch: Callable[[Progress], None]) -> RunFolder:
    """Run a plan in a new run folder, which is also what is left if it is stopped or fails.

    Raises:
        UsageError: agent, task, scaffold or their combination is impossible, or the name is taken.
        PrerequisiteError: the machine lacks something, or its sandbox does not hold.
        Stopped: the user stopped it.
    """
    task, agent = find_task(plan.task), _agent(host, plan)
    check_plan(plan, task)
    prepared = prepare(host, task, plan.profile, choose_source(task, plan.source), note)
    note("probing the sandbox")
    isolation = _probe(host.sandbox, prepared.images.agent)
    folder = new_run(host.paths.runs, plan.name)
    if plan.agent.startswith("script:"):
        write_atomically(folder.agent_file, Path(plan.agent.removeprefix("script:")).read_bytes())
    manifest = _manifest(host, plan, prepared, isolation, agent)
    write_json(folder.path / "manifest.json", manifest.model_dump(mode="json"))
    _run_seeds(host, folder, manifest, prepared, agent, watch)
    return folder


def resume(host: Host, folder: RunFolder, note: Note, watch: Callable[[Progress], None]) -> RunFolder:
    """Go on with a run from its journals.

    Raises:
        RunStateError: task, data or images are no longer those the run began with, or another process has it.
    """
    manifest = folder.manifest
    plan = manifest.plan
    kept = f"script:{folder.agent_file}" if plan.agent.startswith("script:") else plan.agent
    agent = _agent(host, plan.model_copy(update={"agent": kept}))
    task = find_task(plan.task)
    prepared = prepare(host, task, plan.profile, choose_source(task, plan.source), note)
    now = {
        "task folder": (manifest.task_sha256, prepared.task.sha256),
        "task data": (manifest.data, prepared.data.hashes()),
        "images": (manifest.images, _image_names(prepared.images)),
    }
    for what, (then, today) in now.items():
        if then != today:
            raise RunStateError(
                f"Run {folder.path.name} cannot go on: the {what} changed since it began ({then} then, {today} now).",
                hint=f"aira-bench run --agent {plan.agent} --task {plan.task} --profile {plan.profile}",
            )
    note("probing the sandbox")
    _probe(host.sandbox, prepared.images.agent)
    _run_seeds(host, folder, manifest, prepared, agent, watch)
    return folder


def _agent(host: Host, plan: RunPlan) -> Agent:
    return find_agent(plan.agent, agent_options(plan.memory, plan.model_dump()), host.paths)


def _probe(sandbox: Sandbox, image: str) -> dict[str, bool]:
    checks = probe(sandbox, image)
    broken = [check for check in checks if not check.ok]
    if broken:
        first = broken[0]
        raise PrerequisiteError(
            f"The sandbox does not hold on this machine: {first.name}: seen {first.seen}, expected {first.expected}"
            + (f" (and {len(broken) - 1} more)." if len(broken) > 1 else "."),
            hint="aira-bench doctor",
        )
    return {check.name: check.ok for check in checks}


def _image_names(images: ImageSet) -> dict[str, str]:
    return {"agent": images.agent, "evaluator": images.evaluator}


def _manifest(host: Host, plan: RunPlan, prepared: Prepared, isolation: dict[str, bool], agent: Agent) -> Manifest:
    task = prepared.task
    return Manifest(
        run_id=host.world.new_id(),
        created=host.world.now().isoformat(timespec="seconds"),
        aira_bench=__version__,
        plan=plan,
        task_name=task.name,
        task_title=task.title,
        metric=task.metric,
        lower_is_better=task.lower_is_better,
        anchors=anchors_of(task.metadata.logging_info, lower_is_better=task.lower_is_better),
        task_sha256=task.sha256,
        data=prepared.data.hashes(),
        images=_image_names(prepared.images),
        packages=software_versions(),
        python=python_version(),
        host=host.world.host_name(),
        hardware=describe_hardware(host.hardware),
        hardware_class=host.hardware.label,
        source_revision=source_revision(),
        isolation=isolation,
        prompts=prompt_hashes() if isinstance(agent, LlmAgent) else {},
        card=_card(agent),
    )


def _card(agent: Agent) -> dict[str, Any] | None:
    if isinstance(agent, LlmAgent) and isinstance(agent.source, ProviderSource):
        return agent.source.card.model_dump(mode="json")
    return None


def _brief(manifest: Manifest, task: Task, data: TaskData) -> Brief:
    plan, profile = manifest.plan, task.profile(manifest.plan.profile)
    return Brief(
        task=task.title,
        description=task.description,
        artifact=task.metadata.aira.artifact,
        metric=task.metric,
        lower_is_better=task.lower_is_better,
        profile=plan.profile,
        fitness=plan.fitness,
        step_timeout_s=plan.step_timeout_s,
        memory_mib=profile.memory_mib,
        data_preview=preview(data.public),
        public=data.public,
    )


def _agent_specs(host: Host, manifest: Manifest, prepared: Prepared) -> list[ContainerSpec]:
    plan, profile = manifest.plan, prepared.task.profile(manifest.plan.profile)
    gpus = host.hardware.gpus if flavour_for(plan.profile, host.hardware) == "cuda" else ()
    slots = min(plan.concurrency, len(gpus)) if gpus else plan.concurrency
    specs = []
    for index, cpus in enumerate(split_cores(usable_cores(), slots)):
        limits = Limits(
            memory_mib=profile.memory_mib,
            workspace_mib=profile.workspace_mib,
            cpus=cpus,
            gpu_uuid=gpus[index].uuid if gpus else None,
        )
        spec = ContainerSpec(
            image=prepared.images.agent,
            role="agent",
            run_id=manifest.run_id,
            limits=limits,
            mounts=(
                Mount(prepared.data.public, PurePosixPath("/workspace/data")),
                Mount(prepared.data.task / DESCRIPTION, PurePosixPath("/task") / DESCRIPTION),
            ),
            environment={"AIRA_PROFILE": plan.profile},
        )
        specs.append(spec)
    return specs


def _run_seeds(
    host: Host,
    folder: RunFolder,
    manifest: Manifest,
    prepared: Prepared,
    agent: Agent,
    watch: Callable[[Progress], None],
) -> None:
    plan, task = manifest.plan, prepared.task
    images = prepared.images
    evaluation = EvaluationSetting(
        task, plan.profile, prepared.data, images, manifest.run_id, plan.seed_set, folder.compiled
    )
    scope = (task.sha256, manifest.data["hidden"]["sha256"], plan.profile, plan.seed_set, images.evaluator)
    with contextlib.ExitStack() as stack:
        stack.callback(os.close, folder.lock())
        host.sandbox.sweep(manifest.run_id)
        stack.callback(host.sandbox.sweep, manifest.run_id)
        agents = _agent_specs(host, manifest, prepared)
        slots = SlotPool(host.sandbox, agents, partial(open_evaluator, evaluation))
        stack.callback(slots.close)
        session = Session(
            plan=plan,
            brief=_brief(manifest, task, prepared.data),
            agent=agent,
            policy=make_scaffold(plan.scaffold, steps=plan.steps, lower_is_better=task.lower_is_better),
            evaluation=evaluation,
            cache=ScoreCache(host.paths.scores, scope) if plan.score_cache else None,
            slots=slots,
            world=host.world,
            watch=watch,
            synthetic=manifest.synthetic,
        )
        agent.resume({seed: folder.seed(seed).path / "calls" for seed in plan.seeds})
        with _seed_threads(session, folder, host.sandbox, manifest.run_id) as seeds:
            done, _ = wait(seeds, return_when=FIRST_EXCEPTION)
            for future in done:
                future.result()
        folder.compiled.clear()


@contextlib.contextmanager
def _seed_threads(
    session: Session, folder: RunFolder, sandbox: Sandbox, run_id: str
) -> Iterator[list[Future[SeedEnded]]]:
    """One thread a seed. If one fails or the user stops, running containers are killed and no step is half kept."""
    plan = session.plan
    pool = ThreadPoolExecutor(max_workers=len(plan.seeds), thread_name_prefix="seed")
    try:
        yield [pool.submit(run_seed, session, folder.seed(seed), seed) for seed in plan.seeds]
    except BaseException as error:
        session.stop.set()
        session.slots.close()
        sandbox.sweep(run_id)
        if isinstance(error, KeyboardInterrupt):
            raise Stopped from None
        raise
    finally:
        pool.shutdown(wait=True, cancel_futures=True)
