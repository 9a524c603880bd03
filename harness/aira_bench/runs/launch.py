"""From a plan to finished seeds: the manifest, and the seeds' threads.

`start` and `resume` differ only in where the plan comes from.

Not covered: what a run stands on (`host`), and scoring what it submitted once more (`confirm`).
"""

import contextlib
import hashlib
import os
from collections.abc import Callable, Iterator
from concurrent.futures import FIRST_EXCEPTION, Future, ThreadPoolExecutor, wait
from functools import partial
from pathlib import Path, PurePosixPath
from typing import Any

from aira_bench.agents.catalog import find_agent
from aira_bench.agents.llm.agent import LlmAgent
from aira_bench.agents.llm.data_preview import preview
from aira_bench.agents.llm.model_sources import ProviderSource
from aira_bench.agents.llm.prompting import prompt_hashes
from aira_bench.agents.protocol import Agent, Brief
from aira_bench.evaluation.cache import ScoreCache
from aira_bench.evaluation.catalog import open_evaluator
from aira_bench.evaluation.protocol import EvaluationSetting
from aira_bench.files import write_atomically
from aira_bench.record.folder import RunFolder, new_run
from aira_bench.record.journal import SeedEnded
from aira_bench.record.manifest import (
    Manifest,
    RunPlan,
    describe_hardware,
    python_version,
    software_versions,
    source_revision,
)
from aira_bench.record.normalized import anchors_of
from aira_bench.record.run_record import RunRecord
from aira_bench.record.sealing import Keeper, open_run
from aira_bench.record.trust import set_aside_unvouched_calls
from aira_bench.record.witness import Witness
from aira_bench.runs.host import (
    Host,
    Note,
    Prepared,
    gives_gpus,
    image_names,
    isolation_of,
    prepare,
    require_isolation,
    require_no_weaker,
    require_unchanged,
    slot_limits,
)
from aira_bench.runs.loop import run_seed
from aira_bench.runs.plan import agent_options, check_plan
from aira_bench.runs.session import Progress, Session, Stopped
from aira_bench.runs.slots import SlotPool
from aira_bench.sandbox.protocol import ContainerSpec, Mount, Sandbox
from aira_bench.scaffolds.catalog import make_scaffold
from aira_bench.tasks.sources import choose_source
from aira_bench.tasks.store import TaskData
from aira_bench.tasks.task import DESCRIPTION, Task, find_task
from aira_bench.version import __version__


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
    found = isolation_of(host.sandbox, prepared.images, gpu=gives_gpus(host, plan.profile), note=note)
    note("probing the sandbox")
    isolation = require_isolation(host.sandbox, prepared.images.agent)
    key = host.keys.machine_key()
    folder = new_run(host.paths.runs, plan.name)
    agent_file = Path(plan.agent.removeprefix("script:")).read_bytes() if plan.agent.startswith("script:") else None
    if agent_file is not None:
        write_atomically(folder.agent_file, agent_file)
    manifest = _manifest(host, plan, prepared, isolation, agent, agent_file)
    manifest = manifest.model_copy(update={"isolation_of": found})
    keeper = open_run(folder, manifest, key, host.world.now, Witness(host.keys.seen))
    _run_seeds(host, folder, manifest, prepared, agent, watch, keeper)
    return folder


def resume(host: Host, record: RunRecord, note: Note, watch: Callable[[Progress], None]) -> RunFolder:
    """Go on with a run from its journals, as `read_resumable` has read and checked them.

    The agent is made last, when everything else fits: it may be code that lies in the run folder.

    Raises:
        RunStateError: task, data or images are no longer those the run began with, or another process has it.
    """
    folder, manifest = record.folder, record.manifest
    plan = manifest.plan
    task = find_task(plan.task)
    prepared = prepare(host, task, plan.profile, choose_source(task, plan.source), note)
    require_unchanged(folder, manifest, prepared)
    found = isolation_of(host.sandbox, prepared.images, gpu=gives_gpus(host, plan.profile), note=note)
    require_no_weaker(folder, manifest, found)
    note("probing the sandbox")
    require_isolation(host.sandbox, prepared.images.agent)
    kept = f"script:{folder.agent_file}" if plan.agent.startswith("script:") else plan.agent
    agent = _agent(host, plan.model_copy(update={"agent": kept}))
    set_aside_unvouched_calls(record, host.keys.ring())
    folder.compiled.clear()  # native code for judges, for which nothing vouches once the run has stopped
    keeper = None
    if manifest.schema_version != 1:
        keeper = host.keeper(record)
    _run_seeds(host, folder, manifest, prepared, agent, watch, keeper)
    return folder


def _agent(host: Host, plan: RunPlan) -> Agent:
    return find_agent(plan.agent, agent_options(plan.memory, plan.model_dump()), host.paths)


def _manifest(
    host: Host, plan: RunPlan, prepared: Prepared, isolation: dict[str, bool], agent: Agent, agent_file: bytes | None
) -> Manifest:
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
        images=image_names(prepared.images),
        packages=software_versions(),
        python=python_version(),
        host=host.world.host_name(),
        hardware=describe_hardware(host.hardware),
        hardware_class=host.hardware.label,
        source_revision=source_revision(),
        isolation=isolation,
        agent_file_sha256=None if agent_file is None else hashlib.sha256(agent_file).hexdigest(),
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
    specs = []
    for limits in slot_limits(host, manifest, prepared):
        spec = ContainerSpec(
            image=prepared.images.agent,
            role="agent",
            run_id=manifest.run_id,
            limits=limits,
            mounts=(
                Mount(
                    prepared.data.public,
                    PurePosixPath("/workspace/data"),
                    content=str(manifest.data["public"]["sha256"]),
                ),
                Mount(prepared.data.task / DESCRIPTION, PurePosixPath("/task") / DESCRIPTION),
            ),
            environment={"AIRA_PROFILE": manifest.plan.profile},
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
    keeper: Keeper | None,
) -> None:
    plan, task = manifest.plan, prepared.task
    images = prepared.images
    key = host.keys.machine_key()
    evaluation = EvaluationSetting(
        task, plan.profile, prepared.data, images, manifest.run_id, plan.seed_set,
        public_sha256=str(manifest.data["public"]["sha256"]), programs=folder.compiled, draw_secret=key.draw_secret,
    )  # fmt: skip
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
            cache=ScoreCache(host.paths.scores, scope, key) if plan.score_cache else None,
            slots=slots,
            world=host.world,
            watch=watch,
            synthetic=manifest.synthetic,
            keeper=keeper,
        )
        agent.resume({seed: folder.seed(seed).path / "calls" for seed in plan.seeds})
        with _seed_threads(session, folder, host.sandbox, manifest.run_id) as seeds:
            done, _ = wait(seeds, return_when=FIRST_EXCEPTION)
            for future in done:
                future.result()
        if keeper is not None:
            keeper.close(plan.seeds)
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
