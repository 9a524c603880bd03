"""From a resolved run to finished seeds: the folder, the manifest, the slots.

`start` and `resume` differ in where the run comes from: a request (`resolve`), or a record. `open_for_workers` makes
what `start` does and leaves the seeds to whoever takes them (`worker`).

Not covered: what a run stands on (`host`), the seeds' threads (`loop`), and training what it submitted again
(`confirm`).
"""

import contextlib
import hashlib
import os
from collections.abc import Callable, Iterator, Mapping
from dataclasses import dataclass, replace
from functools import partial

from aira_bench.agents.agent import Agent, AsksProvider, SharesLimits
from aira_bench.evaluation.cache import ScoreCache
from aira_bench.evaluation.catalog import open_evaluator
from aira_bench.evaluation.submission_evaluator import EvaluationSetting
from aira_bench.files import write_atomically
from aira_bench.images.flavour import load_flavour
from aira_bench.leasing.entries import lease_store
from aira_bench.leasing.terms import Terms, open_leases
from aira_bench.ledger.run_ledger import FOLDER as LEDGER
from aira_bench.paths import require_new_folders
from aira_bench.record.compiled_programs import CompiledPrograms
from aira_bench.record.conditions import conditions_of
from aira_bench.record.folder import RunFolder
from aira_bench.record.manifest import Manifest, RunPlan, limits_of
from aira_bench.record.new_run import making_run, require_new_name
from aira_bench.record.normalized import anchors_of
from aira_bench.record.run_record import RunRecord
from aira_bench.record.sealing import Keeper, open_run
from aira_bench.record.seen_chains import Witness
from aira_bench.record.trust import require_unmoved
from aira_bench.runs.briefing import brief_of
from aira_bench.runs.changes import differences, require_accepted, require_same_ground
from aira_bench.runs.confirm import confirm_at_end
from aira_bench.runs.declared import declared, flavour_for
from aira_bench.runs.devices import on_devices, on_devices_of
from aira_bench.runs.host import (
    Ground,
    Host,
    Note,
    agent_spec,
    clean_up,
    image_names,
    place_limits,
    stand,
    wanted_of,
)
from aira_bench.runs.in_flight import set_aside_unvouched_calls
from aira_bench.runs.judges import judges_record
from aira_bench.runs.leases import lease_folder
from aira_bench.runs.line import Line
from aira_bench.runs.loop import run_seeds
from aira_bench.runs.places import Wanted, places_of
from aira_bench.runs.provenance import describe_hardware, python_version, software_versions, source_revision
from aira_bench.runs.resolve import ResolvedRun, reopen, reopen_agent, trainings_of
from aira_bench.runs.session import Progress, SearchSession
from aira_bench.runs.slots import Slot, SlotPool, open_slots
from aira_bench.runs.telling import told_to_others
from aira_bench.shared_store.places import store_of
from aira_bench.unfinished import sweep_temporaries
from aira_bench.version import __version__
from aira_bench.waiting import Waits


def start(host: Host, run: ResolvedRun, note: Note, watch: Callable[[Progress], None]) -> RunFolder:
    """Carry a resolved run out in a new run folder, which is also what is left if it is stopped or fails.

    Raises:
        UsageError: the name is taken or cannot name a run, or its folder cannot be made.
        PrerequisiteError: the machine lacks something, or its sandbox does not hold.
        ModelError: the agent's provider refuses key, address or model.
        Stopped: the user stopped it.
    """
    with _begun(host, run, note) as begun:
        keeper, host, ground, run = begun.keeper, begun.host, begun.ground, begun.run
        with told_to_others(keeper.folder, run.plan.seeds, watch, host.world) as tell:
            _search_all(host, keeper.folder, begun.manifest, run, ground, note, tell, keeper)
            confirm_at_end(host, keeper.folder, run, ground, note, tell)
    return keeper.folder


def open_for_workers(host: Host, run: ResolvedRun, terms: Terms, note: Note) -> RunFolder:
    """Make the folder of a resolved run, of which no step is taken yet, for workers that take its seeds.

    Args:
        host: a machine like those of the workers: images, data and hardware class are recorded as they are here.
        run: what is to be done.
        terms: what its workers go by.
        note: told in a line what is done.

    Raises:
        UsageError, PrerequisiteError, ModelError: as of `start`.
    """
    with _begun(host, run, note, terms) as begun:
        folder = begun.keeper.folder
        if isinstance(run.agent, SharesLimits):  # what its trial cost counts for all workers
            run.agent.share_limits(store_of(folder.path, LEDGER), host.world.new_id(), {}, lease_folder())
        return folder


@dataclass(frozen=True)
class _Begun:
    """A new run, with nothing but its manifest and the first line of its record."""

    keeper: Keeper
    host: Host
    """With the devices of the run."""
    ground: Ground
    manifest: Manifest
    run: ResolvedRun
    """With the hidden key that its data is derived from, which judges elsewhere decide."""


@contextlib.contextmanager
def _begun(host: Host, run: ResolvedRun, note: Note, terms: Terms | None = None) -> Iterator[_Begun]:
    """Make the folder of a new run, and hold its lock while the block runs."""
    require_new_folders(host.paths.runs, "--runs DIR")
    require_new_name(host.paths.runs, run.plan.name)
    host = on_devices(host, run.plan.profile, run.plan.gpus, note, allow_cpu=run.allow_cpu)
    wanted = wanted_of(host, run.plan)
    try_model(run.agent, note)
    run_id = host.world.new_id()
    ground = stand(host, run, "agent", note, run_id=run_id)
    if ground.judges is not None:
        theirs = ground.judges.hidden_key
        plan = run.plan.model_copy(update={"hidden_key": theirs and theirs.sha256})
        run = replace(run, plan=plan, hidden_key=theirs)
    key = host.keys.machine_key()
    with making_run(host.paths.runs, run.plan.name) as made:
        if run.agent_file is not None:
            write_atomically(made.folder.agent_file, run.agent_file)
        manifest = _manifest(host, run, ground, wanted, run_id)
        keeper = open_run(made.folder, manifest, key, host.world.now, Witness(None))
        if terms is not None:
            open_leases(lease_store(made.folder.path), terms)
        keeper = replace(keeper, folder=made.publish(), witness=Witness(host.keys.seen))
        keeper.remember()
        yield _Begun(keeper, host, ground, manifest, run)


def resume(
    host: Host,
    record: RunRecord,
    note: Note,
    watch: Callable[[Progress], None],
    *,
    accept_changes: bool = False,
) -> RunFolder:
    """Go on with a run from its journals, as `read_resumable` has read and checked them.

    The agent is made last, when everything else fits: it may be code that lies in the run folder.

    Args:
        host: the machine.
        record: the run.
        note: told in a line what happens before the search.
        watch: told how the seeds get on.
        accept_changes: go on although something that answers depend on changed (`runs.changes`), and record what; model
            calls of steps in flight are asked anew.

    Raises:
        RunStateError: something the run depends on is no longer what it began with, or another process has it.
    """
    folder, manifest = record.folder, record.manifest
    with contextlib.ExitStack() as stack:
        stack.callback(os.close, folder.lock())
        require_unmoved(record, host.keys.ring())
        host = on_devices_of(host, manifest, note)
        require_same_ground(record, host.hardware)
        changed = differences(record)
        if not accept_changes:
            require_accepted(record, changed)
        found = reopen(manifest.plan, host.paths)
        ground = stand(host, found, "agent", note, record)
        run = reopen_agent(found, host.paths, record)
        set_aside_unvouched_calls(record, host.keys.ring(), ask_anew=accept_changes)
        folder.compiled.clear()  # native code for judges, for which nothing vouches once the run has stopped
        keeper = host.keeper(record) if manifest.schema_version != 1 else None
        if keeper is not None:
            keeper.remember()
            if changed:
                keeper.accept(changed, [(seed.seed, len(seed.nodes)) for seed in record.seeds])
        with told_to_others(folder, run.plan.seeds, watch, host.world) as tell:
            _search_all(host, folder, manifest, run, ground, note, tell, keeper, is_tried=False)
            confirm_at_end(host, folder, run, ground, note, tell)
    return folder


def try_model(agent: Agent, note: Note) -> None:
    """Find out with one tiny call whether a provider takes key, address and model, where one will be asked."""
    if isinstance(agent, AsksProvider) and (said := agent.try_model(Waits())):
        note(said)


def _manifest(host: Host, run: ResolvedRun, ground: Ground, wanted: Wanted, run_id: str) -> Manifest:
    task, provenance, data = run.task, run.agent.provenance(), ground.hashes
    return Manifest(
        run_id=run_id,
        created=host.world.now().isoformat(timespec="seconds"),
        aira_bench=__version__,
        plan=run.plan,
        task_name=task.name,
        task_title=task.title,
        metric=task.metric,
        lower_is_better=task.lower_is_better,
        anchors=anchors_of(task.metadata.logging_info, lower_is_better=task.lower_is_better),
        task_sha256=task.sha256,
        data=data,
        images=image_names(ground.images),
        packages=software_versions(),
        python=python_version(),
        host=host.world.host_name(),
        hardware=describe_hardware(host.hardware) | {"cores_a_step": wanted.cores_a_place},
        hardware_class=host.hardware.label,
        source_revision=source_revision(),
        isolation=ground.checks,
        isolation_of=ground.isolation,
        missing_walls=ground.missing_walls,
        judges=None if ground.judges is None else judges_record(ground.judges),
        agent_file_sha256=None if run.agent_file is None else hashlib.sha256(run.agent_file).hexdigest(),
        prompts=dict(provenance.prompts),
        card=None if provenance.card is None else dict(provenance.card),
        extensions=dict(run.extensions),
        compatibility=declared(host.hardware, run),
        pair=task.metadata.aira.pair,
        trainings=trainings_of(task, run.plan.profile),
        noise=task.metadata.aira.noise_floor(run.plan.profile, synthetic=bool(data.get("synthetic"))),
        limits=limits_of(task.profile(run.plan.profile)),
        description_sha256=hashlib.sha256(task.description.encode()).hexdigest(),
    )


def _open_slots(host: Host, plan: RunPlan, ground: Ground, line: Line, evaluation: EvaluationSetting) -> SlotPool[Slot]:
    """The slots of a search: one for each place that it may use."""
    agents = [
        agent_spec(ground.images, ground.data, evaluation.run_id, limits, plan.profile)
        for limits in place_limits(plan, ground.task, line.places)
    ]
    return open_slots(
        host.sandbox, agents, partial(open_evaluator, evaluation), line, seeds=len(plan.seeds), keeps=plan.exclusive
    )


def _search_all(
    host: Host,
    folder: RunFolder,
    manifest: Manifest,
    run: ResolvedRun,
    ground: Ground,
    note: Note,
    watch: Callable[[Progress], None],
    keeper: Keeper | None,
    *,
    is_tried: bool = True,
) -> None:
    """Have every seed of a run searched to its end; the run is locked. A model that was not tried is tried within what
    the run may still spend."""
    sweep_temporaries(folder.path, alone=True)
    with searching(host, folder, manifest, run, ground, note, watch, keeper) as search:
        if not is_tried:
            try_model(run.agent, note)
        run_seeds(search.session, folder, search.sweep)
        if keeper is not None:
            keeper.close(run.plan.seeds)
        folder.compiled.clear()


@dataclass(frozen=True)
class ReadySearch:
    """What seeds of a run are searched with, ready."""

    session: SearchSession
    sweep: Callable[[], object]
    """Removes the containers."""

    def stop(self) -> None:
        """Have its seeds stop; whatever runs in a container is cut short."""
        self.session.stop.set()
        self.session.slots.close()
        self.sweep()


@contextlib.contextmanager
def searching(
    host: Host,
    folder: RunFolder,
    manifest: Manifest,
    run: ResolvedRun,
    ground: Ground,
    note: Note,
    watch: Callable[[Progress], None],
    keeper: Keeper | None,
    *,
    label: str | None = None,
    programs: CompiledPrograms | None = None,
    attempts: Mapping[int, int] | None = None,
) -> Iterator[ReadySearch]:
    """Open the slots for the seeds of a plan while the block runs.

    Args:
        host: the machine, with the devices of the run.
        folder: of the run.
        manifest: of the run.
        run: whose plan has the seeds that are searched here, all of the run's or some.
        ground: what the search stands on.
        note: told what is left behind.
        watch: told how the seeds get on.
        keeper: of the record; None goes on with one that is unsigned.
        label: of the containers, and of no others on this machine; None for the run's id.
        programs: where judges leave theirs to each other; None for the run's folder.
        attempts: numbers under which this process spends for seeds; None where it alone has the run.
    """
    plan, task, key = run.plan, run.task, host.keys.machine_key()
    drawn_by = key if run.hidden_key is None else run.hidden_key
    label = manifest.run_id if label is None else label
    evaluation = EvaluationSetting(
        task, plan.profile, ground.data, ground.images, label, plan.seed_set,
        public_sha256=str(manifest.data["public"]["sha256"]), programs=programs or folder.compiled,
        evaluator=plan.evaluator, elsewhere=ground.judges, draw_secret=drawn_by.draw_secret,
    )  # fmt: skip
    wanted = wanted_of(host, plan)
    with contextlib.ExitStack() as stack:
        host.sandbox.sweep(label)
        line = Line(places_of(wanted), most=wanted.most)
        stack.callback(line.close)  # when its containers are gone: until then nobody else is to have their place
        stack.callback(clean_up, host, label, note)
        slots = _open_slots(host, plan, ground, line, evaluation)
        stack.callback(slots.close)
        session = SearchSession(
            plan=plan,
            brief=brief_of(
                manifest, task, ground.data.public, load_flavour(flavour_for(task, plan.profile, host.hardware))
            ),
            agent=run.agent,
            policy=run.policy,
            evaluation=evaluation,
            cache=ScoreCache(host.paths.scores, conditions_of(manifest).key, key) if plan.score_cache else None,
            slots=slots,
            world=host.world,
            watch=watch,
            synthetic=manifest.synthetic,
            keeper=keeper,
            extensions=manifest.extensions,
        )
        if isinstance(run.agent, SharesLimits):
            run.agent.share_limits(store_of(folder.path, LEDGER), host.world.new_id(), attempts or {}, lease_folder())
        run.agent.resume({seed: folder.seed(seed).path / "calls" for seed in plan.seeds})
        yield ReadySearch(session, partial(clean_up, host, label, note))
