"""Resolves what a user asks for, once: names become a task, a data source, an agent, a policy, and a plan without gaps.

Whoever starts a run (`aira-bench run`, `aira_bench.run`) calls `resolve` and hands the result to `runs.launch.start`;
whoever goes on with one (`resume`, `confirm`) calls `reopen`. Nobody else turns a plan's names into objects, so what is
checked here is what runs, and a provider's client is made once, by whoever will use it.

Not covered: the machine (`runs.host`): nothing here asks a container engine, downloads, or writes.
"""

import re
from collections.abc import Mapping
from dataclasses import KW_ONLY, asdict, dataclass, field, fields, replace
from pathlib import Path
from shlex import quote
from typing import Protocol, TypeVar

from pydantic import ValidationError

from aira_bench.agents.agent import Agent, UnlookingAgent
from aira_bench.agents.catalog import AgentOptions, find_agent
from aira_bench.agents.llm.spending import Budgets
from aira_bench.errors import PrerequisiteError, UsageError
from aira_bench.evaluation.catalog import EVALUATORS
from aira_bench.excerpts import NAME_CHARS, REPLAYED_NAME_CHARS
from aira_bench.extensions import OFFERS, ExtensionRecord, Kind, absolute_reference
from aira_bench.gpus import choose
from aira_bench.hardware import Hardware, this_machine, usable_cores
from aira_bench.hidden_keys import HiddenKey, machine_hidden_key, read_hidden_key, recorded_hidden_key
from aira_bench.keys import KeyFolder
from aira_bench.ledger.amount import Caps
from aira_bench.paths import HostPaths
from aira_bench.record.folder import find_run
from aira_bench.record.manifest import RunPlan
from aira_bench.record.run_record import RunRecord, read_run
from aira_bench.record.trust import require_known_search
from aira_bench.runs.extensions_used import extensions_of, require_same
from aira_bench.runs.protocol import settings_of
from aira_bench.runs.request import RunRequest
from aira_bench.sandbox.engine_gpus import engine_gpus
from aira_bench.scaffolds.catalog import make_scaffold
from aira_bench.scaffolds.policy import Policy
from aira_bench.tasks.artifact_spec import ARTIFACT_KINDS
from aira_bench.tasks.data_source import DataSource, choose_source
from aira_bench.tasks.schema import describe_validation_error
from aira_bench.tasks.task import Task, find_task, recorded_name
from aira_bench.world import World
from aira_contract.settings import ON_GPUS, ProfileName

Wish = TypeVar("Wish")
REPLAY = "replay:"
SCRIPT = "script:"
_OF_REPLAY = frozenset(
    {"agent", "name", "source", "cores", "gpus", "allow_cpu", "gpus_per_seed", "exclusive", "confirm"}
)
"""What a replay may be asked for: names, places on this machine, and what comes after its search."""


class PlannedAgent(Protocol):
    """What a plan needs of an agent, which need not be usable on this machine."""

    @property
    def name(self) -> str:
        """What boards call it."""
        ...

    @property
    def default_scaffold(self) -> str:
        """The scaffold it has where nobody names one."""
        ...


@dataclass(frozen=True)
class ResolvedTask:
    """A plan with the task and the data source that it names."""

    plan: RunPlan
    task: Task
    source: DataSource
    hidden_key: HiddenKey | None = None
    """What the hidden data is derived from; None for the seeds that the task publishes."""


@dataclass(frozen=True)
class ResolvedRun(ResolvedTask):
    """All that a plan names, found and made once."""

    _: KW_ONLY
    agent: Agent
    policy: Policy
    agent_file: bytes | None = None
    """Content of a `script:` agent's file."""
    extensions: Mapping[Kind, ExtensionRecord] = field(default_factory=dict)
    """What code of other distributions it stands on."""
    allow_cpu: bool = False
    """Whether it may run on a processor although its profile is made for GPUs."""


def resolve(request: RunRequest, paths: HostPaths, world: World, hardware: Hardware | None = None) -> ResolvedRun:
    """Find and make all that a request names; nothing is started, downloaded or written.

    Args:
        request: what the user asks for.
        paths: where recorded runs and keys are looked for.
        world: tells the time that a run's default name ends with.
        hardware: the machine, if the caller has looked at it already.

    Raises:
        UsageError: a name is unknown, a number impossible, or agent, scaffold, fitness and task do not go together.
        PrerequisiteError: the agent's key, URL or package is missing.
        TaskError: the task folder is broken.
        RunStateError: the run to replay cannot be read, or its task is a stranger's folder.
    """
    if request.agent.startswith(REPLAY):
        found, record = _replayed(request, paths, world)
        run = _with_agent(found, find_agent(request.agent, _options(found.plan), paths))
        require_same(record, run.extensions, ("scaffold", "task", "evaluator"))
        return replace(run, allow_cpu=request.allow_cpu)
    if request.task is None:
        raise UsageError("--task is missing.", hint="aira-bench tasks")
    if request.gpus_per_seed not in (None, 1):
        raise UsageError(
            f"A step or an evaluation uses one GPU, so --gpus-per-seed {request.gpus_per_seed} cannot be had.",
            hint="aira-bench run --help",
        )
    if request.gpus is not None and request.profile not in ON_GPUS:
        raise UsageError(
            f"--gpus: containers of profile {request.profile} get no GPU.",
            hint="--profile paper, which is made for them",
        )
    if request.evaluator in ARTIFACT_KINDS:
        raise UsageError(f"--evaluator {request.evaluator} is built in; the task's artifact chooses among those.")
    task = find_task(request.task)
    agent = find_agent(request.agent, _options(request), paths)
    source = choose_source(task, request.source)
    key = hidden_key_for(task, request.hidden_key, paths)
    found = ResolvedTask(plan_of(request, task, agent, source, world, hardware, key), task, source, key)
    file = Path(request.agent.removeprefix(SCRIPT)).read_bytes() if request.agent.startswith(SCRIPT) else None
    return replace(_with_agent(found, agent, file), allow_cpu=request.allow_cpu)


def hidden_key_for(task: Task, file: str | None, paths: HostPaths) -> HiddenKey | None:
    """Return the key in a file that was asked for, else the machine's, which tasks without keys have no use for.

    Raises:
        UsageError: the task takes none.
        PrerequisiteError: the key cannot be used.
    """
    if file is not None:
        if not task.metadata.aira.hidden_key:
            raise UsageError(f"Task {task.title} derives its hidden data from no key, so it takes no --hidden-key.")
        return read_hidden_key(Path(file))
    return machine_hidden_key(paths) if task.metadata.aira.hidden_key else None


def trainings_of(task: Task, profile: ProfileName) -> int:
    """Return how many trainings confirm a submission to a task: as its profile asks, one where a submission is data
    that is scored and not trained, none where the task has no second set of hidden data.
    """
    asked = task.metadata.aira
    if not asked.hidden_validation:
        return 0
    return 1 if asked.artifact.kind == "csv" else task.profile(profile).trainings


def reopen(plan: RunPlan, paths: HostPaths) -> ResolvedTask:
    """Return the task, data source and hidden key of a recorded run's plan.

    Raises:
        PrerequisiteError: the machine's hidden key cannot be read.
        UsageError: the task or the folder of its data is not there any more.
        TaskError: the task folder is broken.
    """
    task = find_task(plan.task)
    return ResolvedTask(plan, task, choose_source(task, plan.source), recorded_hidden_key(paths, plan.hidden_key))


def reopen_agent(found: ResolvedTask, paths: HostPaths, record: RunRecord) -> ResolvedRun:
    """Return a recorded run with its agent, which may be code in the run folder: to be called when everything else
    fits.

    Args:
        found: the run's plan, task and source.
        paths: where other recorded runs are looked for.
        record: the run as it was read. A `script:` agent is the copy of its file in the run's folder.

    Raises:
        UsageError: the agent is not known any more, or its file does not run.
        PrerequisiteError: the agent's key, URL or package is missing.
        RunStateError: the run it replays cannot be read; or an extension is another than the run began with.
    """
    plan = found.plan
    named = f"{SCRIPT}{record.folder.agent_file}" if plan.agent.startswith(SCRIPT) else plan.agent
    run = _with_agent(found, find_agent(named, _options(plan), paths))
    require_same(record, run.extensions, list(OFFERS))
    return run


def _with_agent(found: ResolvedTask, agent: Agent, agent_file: bytes | None = None) -> ResolvedRun:
    """Make the policy, and check that scaffold, fitness and task go together."""
    plan, task = found.plan, found.task
    if isinstance(agent, UnlookingAgent) and (fault := agent.fault_of(task.metadata.aira.artifact)):
        hint = f"aira-bench run --agent script:FILE.py --task {quote(plan.task)}"
        raise UsageError(fault, hint=hint)
    policy = make_scaffold(plan.scaffold, steps=plan.steps, lower_is_better=task.lower_is_better)
    if plan.fitness == "hidden" and not task.metadata.aira.hidden_validation:
        raise UsageError(
            f"Task {task.title} has no hidden validation data, so nothing hidden can drive the search.",
            hint=f"aira-bench run --agent {quote(plan.agent)} --task {quote(plan.task)} --fitness claimed",
        )
    EVALUATORS.maker(plan.evaluator or task.metadata.aira.artifact.kind)  # what cannot score says so now
    return ResolvedRun(
        plan, task, found.source, found.hidden_key,
        agent=agent, policy=policy, agent_file=agent_file, extensions=extensions_of(plan, task, agent),
    )  # fmt: skip


def _options(asked: RunRequest | RunPlan) -> AgentOptions:
    """What a run asks of its agent."""
    run, seed = Caps(asked.max_cost_usd, asked.max_tokens), Caps(asked.seed_max_cost_usd, asked.seed_max_tokens)
    return AgentOptions(Budgets(run, seed), memory=asked.memory == "paper", provider=asked.provider)


def plan_of(
    request: RunRequest,
    task: Task,
    agent: PlannedAgent,
    source: DataSource,
    world: World,
    hardware: Hardware | None,
    key: HiddenKey | None,
) -> RunPlan:
    """Return the plan of a request, its gaps filled from protocol, the task's profile, the agent and the machine.

    Args:
        request: what the user asks for.
        task: its task.
        agent: its agent, or as much of one as a plan needs.
        source: of the task's data.
        world: tells the time that a run's default name ends with.
        hardware: the machine, if the caller has looked at it already.
        key: what the hidden data is derived from; None for the seeds that the task publishes.

    Raises:
        UsageError: a number is impossible, or the task has no such profile.
    """
    budget = task.profile(request.profile)
    assert request.task is not None, "only replays name no task"
    scaffold = absolute_reference(request.scaffold or agent.default_scaffold)
    protocol = settings_of(request.protocol, task.title, scaffold)
    seeds = _or(request.seeds, protocol.seeds)
    hours = _or(request.hours, _or(protocol.hours, budget.hours))
    filled = {name: value for name, value in asdict(request).items() if name != "allow_cpu"} | {
        "agent": absolute_reference(request.agent),
        "task": recorded_name(request.task, task),
        "scaffold": scaffold,
        "fitness": _or(request.fitness, protocol.fitness),
        "bugs": _or(request.bugs, protocol.bugs),
        "seeds": seeds,
        "exclusive": _or(request.exclusive, protocol.exclusive),
        "evaluator": absolute_reference(request.evaluator) if request.evaluator else None,
        "provider": absolute_reference(request.provider) if request.provider else None,
        "steps": _or(request.steps, _or(protocol.steps, budget.steps)),
        "hours": hours,
        "step_timeout_s": min(_or(request.step_timeout_s, budget.step_timeout_s), hours * 3600),
        "evaluation_timeout_s": budget.evaluation_timeout_s,
        "concurrency": _concurrency(request, seeds, hardware) if request.concurrency is None else request.concurrency,
        "name": request.name or _name(f"{agent.name}-{task.title}-{request.profile}", world),
        "source": source.argument,
        "hidden_key": None if key is None else key.sha256,
    }
    try:
        return RunPlan(**filled)
    except ValidationError as error:
        raise UsageError(f"No run can be planned so: {describe_validation_error(error)}.") from error


def _or(wish: Wish | None, default: Wish) -> Wish:
    """The wish, if there is one: 0 is a wish too, and is refused as one."""
    return default if wish is None else wish


def _replayed(request: RunRequest, paths: HostPaths, world: World) -> tuple[ResolvedTask, RunRecord]:
    """A replay is the recorded run's plan under another name; answers that are recorded cost nothing again."""
    ring = KeyFolder(paths.keys).ring()
    folder = find_run(paths.runs, request.agent.removeprefix(REPLAY))
    _require_only_of_replay(request)
    record = read_run(folder, ring, "all")
    require_known_search(record, ring)
    recorded = record.manifest.plan
    changed = {
        "agent": request.agent,
        "name": request.name or _name(f"replay-{recorded.name[:REPLAYED_NAME_CHARS]}", world),
        "source": request.source or recorded.source,
        "cores": _or(request.cores, recorded.cores),
        "gpus": _or(request.gpus, recorded.gpus),
        "gpus_per_seed": _or(request.gpus_per_seed, recorded.gpus_per_seed),
        "exclusive": _or(request.exclusive, recorded.exclusive),
        "confirm": request.confirm,
        "provider": None,  # nobody is asked
        **{"max_cost_usd": None, "max_tokens": None, "seed_max_cost_usd": None, "seed_max_tokens": None},
    }
    found = reopen(recorded.model_copy(update=changed), paths)
    return replace(found, plan=found.plan.model_copy(update={"source": found.source.argument})), record


def _require_only_of_replay(request: RunRequest) -> None:
    """Raises UsageError where a replay is asked for something that the recorded run has decided."""
    given = [each.name for each in fields(RunRequest) if getattr(request, each.name) != each.default]
    if others := sorted(set(given) - _OF_REPLAY):
        flags = ", ".join(f"--{name.replace('_', '-').removesuffix('-s')}" for name in others)
        raise UsageError(
            f"A replay is the recorded run once more, so it takes no {flags}.",
            hint=f"aira-bench run --agent {quote(request.agent)}",
        )


def _concurrency(request: RunRequest, seeds: tuple[int, ...], hardware: Hardware | None) -> int:
    """One step a GPU for the paper profile on a GPU machine, else one a core; never more than seeds."""
    if not isinstance(seeds, tuple):
        return 1  # the plan says what seeds are
    gpus = _gpus(request.gpus, hardware or this_machine(otherwise=engine_gpus)) if request.profile in ON_GPUS else 0
    return max(1, min(len(seeds), gpus or len(usable_cores())))


def _gpus(wish: int | tuple[str, ...] | None, hardware: Hardware) -> int:
    """How many devices the run has; all of them where whoever starts it will hear that none can be used."""
    try:
        return len(choose(hardware.gpus, wish).gpus) if hardware.gpus else 0
    except PrerequisiteError:
        return len(hardware.gpus)


def _name(text: str, world: World) -> str:
    """A run's default name as one file name: with the time, and what tells it from others of the same second."""
    ending = f"-{world.now():%Y%m%d-%H%M%S}-{world.new_id()[:4]}"
    return re.sub(r"[^A-Za-z0-9._-]+", "-", text)[: NAME_CHARS - len(ending)] + ending
