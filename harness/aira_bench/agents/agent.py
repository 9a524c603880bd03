"""The seam between a scaffold and whatever writes code: an LLM with prompts, or a classical searcher.

An agent gets a situation and returns a `solution.py`; after the step it may say what was learned. It sees finished
steps without test scores, and draws all randomness from the generator it is given, so the same seed proposes the same
code.
"""

import math
import random
from collections.abc import Callable, Mapping
from dataclasses import dataclass, field
from pathlib import Path
from typing import Literal, Protocol, runtime_checkable

from aira_bench.record.folder import MOST_TEXT_BYTES, StepFiles
from aira_bench.record.node import Change, Journal, ModelUse
from aira_bench.scaffolds.policy import Proposing
from aira_bench.shared_store.store import SharedStore
from aira_bench.tasks.artifact_spec import ArtifactSpec
from aira_bench.tasks.task import Task
from aira_bench.waiting import Waits
from aira_contract.settings import ProfileName

FitnessSource = Literal["hidden", "claimed"]
BugSource = Literal["judge", "analysis"]
_MOST_PLAN_CHARS = 100_000
"""Of a plan or a summary that one line of a journal holds."""


@dataclass(frozen=True)
class Environment:
    """What a step of an agent runs on, as far as it is known."""

    cores: int = 0
    """That a step has at most; 0 where that is not known."""
    gpu: str = ""
    """The name of its GPU; empty without one. Of a machine with several kinds, all their names."""
    gpu_memory_mib: int = 0
    """Of the smallest, where there are several kinds."""
    packages: Mapping[str, str] = field(default_factory=dict)
    """Versions of Python and of what the task asks for, by name."""
    gpu_compute_capability: str = ""
    """Such as `9.0`, of the lowest; empty where it is not known."""


@dataclass(frozen=True)
class Brief:
    """What an agent may know about its task, the same at every step."""

    task: str
    description: str
    artifact: ArtifactSpec
    metric: str
    lower_is_better: bool
    profile: str
    fitness: FitnessSource
    step_timeout_s: float
    memory_mib: int
    data_preview: str = ""
    public: Path = Path("data")
    """The public data on the host."""
    environment: Environment = field(default_factory=Environment)
    literature: str = ""
    """Summaries of papers that come with the task's data."""
    bugs: BugSource = "judge"
    """Who says that a step is a bug: the engine and the judge alone, or also the agent's analysis."""

    @property
    def analysis_steers(self) -> bool:
        """Whether the search depends on the agent's analysis, which then comes before the judge: by the number that it
        reads, or by what it calls a bug."""
        return self.fitness == "claimed" or self.bugs == "analysis"


def brief_for(
    task: Task,
    profile: ProfileName,
    public: Path,
    *,
    fitness: FitnessSource = "hidden",
    step_timeout_s: float | None = None,
    data_preview: str = "",
    environment: Environment | None = None,
    literature: str = "",
    bugs: BugSource = "judge",
) -> Brief:
    """Return what agents are told of a task; without `step_timeout_s`, with the profile's.

    Raises:
        UsageError: the task has no such profile.
    """
    budgets = task.profile(profile)
    return Brief(
        task=task.title,
        description=task.description,
        artifact=task.metadata.aira.artifact,
        metric=task.metric,
        lower_is_better=task.lower_is_better,
        profile=profile,
        fitness=fitness,
        step_timeout_s=budgets.step_timeout_s if step_timeout_s is None else step_timeout_s,
        memory_mib=budgets.memory_mib,
        data_preview=data_preview,
        public=public,
        environment=environment or Environment(),
        literature=literature,
        bugs=bugs,
    )


@dataclass(frozen=True)
class Situation:
    """One request: what to do, what happened so far, and what is left of the budget."""

    action: Proposing
    journal: Journal
    read_step: Callable[[int], StepFiles]
    rng: random.Random
    steps_left: int
    seconds_left: float
    """By the journal alone where a solution is asked for, so that a resumed run asks the same; where its outcome is
    analyzed, what the code left."""
    seed: int = 0
    step: int = 0
    calls: Path = Path("calls")
    """Where this step's model calls are recorded."""
    waits: Waits = field(default_factory=Waits)
    """For pauses that a provider asks for: they are none of the seed's hours, and end when the run is stopped."""


@dataclass(frozen=True)
class Proposal:
    """A whole solution and, in a line or two, what it tries."""

    code: str
    plan: str
    changes: tuple[Change, ...] = ()
    model_use: ModelUse = field(default_factory=ModelUse)
    failure: str = ""
    """Why there is no solution, when the agent had every chance to give one."""


@dataclass(frozen=True)
class StepReport:
    """How a solution ran, as an agent may see it; texts are escaped."""

    code: str
    ended: str
    seconds: float
    stdout: str
    stderr: str
    outcome: str = ""
    """Its class and fitness, and why it failed; empty where the analysis comes before the judge, as
    `Brief.analysis_steers` says."""
    parts: Mapping[str, float] = field(default_factory=dict)
    """What its fitness is the mean of."""


@dataclass(frozen=True)
class Analysis:
    """What an agent makes of a step that ran: whether it is a bug, a summary for later prompts, a metric it read."""

    is_bug: bool
    summary: str
    metric: float | None
    model_use: ModelUse


def fault_of_proposal(found: object) -> str:
    """Why a step cannot be made of what an agent proposed, in words; empty for a proposal that a record can hold."""
    if not isinstance(found, Proposal):
        return "it is no Proposal"
    if not all(isinstance(text, str) for text in (found.code, found.plan, found.failure)):
        return "its code, plan and failure are not all text"
    if len(found.code.encode("utf-8", "surrogatepass")) > MOST_TEXT_BYTES or len(found.plan) > _MOST_PLAN_CHARS:
        return f"it has more than {MOST_TEXT_BYTES:,} bytes of code or {_MOST_PLAN_CHARS:,} characters of plan"
    if any("\ud800" <= letter <= "\udfff" for letter in found.code):
        return "its code has half a surrogate pair, which no file in UTF-8 holds"
    if not isinstance(found.changes, tuple) or not all(_is_change(each) for each in found.changes):
        return "its changes are no tuple of Change"
    return _fault_of_use(found.model_use)


def fault_of_analysis(found: object) -> str:
    """Why nothing can be made of an agent's analysis, in words; empty for one that a record can hold, and for None."""
    if found is None:
        return ""
    if not isinstance(found, Analysis):
        return "it is no Analysis"
    if not isinstance(found.summary, str) or len(found.summary) > _MOST_PLAN_CHARS:
        return f"its summary is no text of at most {_MOST_PLAN_CHARS:,} characters"
    if found.metric is not None and not isinstance(found.metric, int | float):
        return "its metric is no number"
    return _fault_of_use(found.model_use)


def _is_change(found: object) -> bool:
    return (
        isinstance(found, Change)
        and isinstance(found.name, str)
        and all(type(lines) is int for lines in (found.removed_lines, found.added_lines))
    )


def _fault_of_use(found: object) -> str:
    if not isinstance(found, ModelUse) or type(found.calls) is not int or found.calls < 0:
        return "its model_use is no ModelUse with a number of calls"
    counts = (found.input_tokens, found.output_tokens)
    if not all(count is None or (type(count) is int and count >= 0) for count in counts):
        return "its tokens are no counts"
    cost = found.cost_usd
    if cost is not None and not (isinstance(cost, int | float) and math.isfinite(cost) and cost >= 0):
        return "its cost is no number of dollars"
    return ""


@dataclass(frozen=True)
class Provenance:
    """What a manifest records of an agent, beside its name."""

    prompts: Mapping[str, str] = field(default_factory=dict)
    """SHA-256 of each prompt file, by name."""
    card: Mapping[str, object] | None = None
    """The card of its model, as JSON values."""


class Agent(Protocol):
    """Anything that answers a situation with a solution."""

    @property
    def name(self) -> str:
        """The agent's name, as boards and manifests show it."""
        ...

    @property
    def default_scaffold(self) -> str:
        """The name of the scaffold that a run takes when the user asks for none."""
        ...

    def provenance(self) -> Provenance:
        """Return what stands behind its answers, prompts and a model's card, for the manifest of a run."""
        ...

    def propose(self, brief: Brief, situation: Situation) -> Proposal:
        """Return a solution for this situation.

        Raises:
            ModelError: a provider refused for good.
            BudgetExceeded: the next model call could break a hard budget.
        """
        ...

    def resume(self, calls: Mapping[int, Path]) -> None:
        """Count what an earlier process of this run spent; `calls` are the seeds' folders of recorded calls."""
        ...

    def analyze(self, brief: Brief, situation: Situation, report: StepReport) -> Analysis | None:
        """Return what the step showed: whether it is a bug, a summary, a metric. None from agents that do not look.

        Where the search depends on nothing that it says, the step has been judged and `report` says so; else
        (`Brief.analysis_steers`) the judge comes after.

        Raises:
            ModelError: the provider is not available.
            BudgetExceeded: the next model call could break a hard budget.
        """
        ...


@runtime_checkable
class AsksProvider(Protocol):
    """An agent with a provider behind it, which is tried before images and data are made."""

    def try_model(self, waits: Waits) -> str | None:
        """Make one tiny call, and return in words what came of it; None where no provider will be asked.

        Raises:
            ModelError: key, address or model are wrong.
        """
        ...


@runtime_checkable
class SharesLimits(Protocol):
    """An agent whose budgets and rate limits are one with those of other processes."""

    def share_limits(self, store: SharedStore, owner: str, attempts: Mapping[int, int], machine: Path) -> None:
        """Hold the caps together with all who use a store, and the provider's limit with this machine. Called once,
        before `resume`.

        Args:
            store: of the run's ledger.
            owner: an identifier of this process, unlike any other's.
            attempts: numbers of the leases that this process has on seeds; empty where it alone has the run.
            machine: the folder that all processes of this machine share.

        Raises:
            MachineError: the storage failed.
        """
        ...


class UnlookingAgent:
    """Base of agents without a model, which learn from fitness alone and spend nothing."""

    def describe(self) -> str:
        """One line for `aira-bench agents`: the first of the class's own description."""
        return (type(self).__doc__ or "").splitlines()[0]

    def missing(self) -> tuple[str, ...]:
        """Commands that install what this machine lacks before the agent can propose anything."""
        return ()

    def fault_of(self, artifact: ArtifactSpec) -> str:
        """Why it can never propose an artifact, in words; empty for one that it can, data permitting."""
        return ""

    def provenance(self) -> Provenance:
        """Return a provenance without prompts and without a card."""
        return Provenance()

    def resume(self, calls: Mapping[int, Path]) -> None:
        """Count nothing: an agent without a model spends nothing."""

    def analyze(self, brief: Brief, situation: Situation, report: StepReport) -> Analysis | None:
        """Return None: searchers read the fitness of a step, not its output."""
        return None
