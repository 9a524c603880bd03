"""What the seeds of a run share, and what a step knows of the place it is taken in."""

import random
import threading
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, field

from aira_bench.agents.agent import Agent, Brief, Situation
from aira_bench.deadline import Deadline
from aira_bench.errors import AiraError
from aira_bench.evaluation.cache import ScoreCache
from aira_bench.evaluation.submission_evaluator import EvaluationSetting
from aira_bench.extensions import ExtensionRecord, Kind
from aira_bench.record.folder import SeedFolder
from aira_bench.record.journal import SeedEnd, StepEnded
from aira_bench.record.manifest import RunPlan
from aira_bench.record.node import Journal, Node
from aira_bench.record.sealing import Keeper
from aira_bench.runs.slots import Slot, SlotPool
from aira_bench.scaffolds.policy import Policy, Proposing
from aira_bench.waiting import WaitReason, Waits
from aira_bench.world import World


class OutOfTime(Exception):
    """The hour budget ended inside a step; the step leaves no node."""


@dataclass(frozen=True)
class Progress:
    """What a seed tells whoever watches it."""

    seed: int
    step: int
    phase: str
    best: float | None = None
    last: str = ""
    """How the step ended, or the seed."""
    waits_for: WaitReason | None = None
    """What the seed waits for, where it is nobody's fault; `phase` says it in words."""
    ended: SeedEnd | None = None
    """Why the seed ended, once it has."""
    confirming: bool = False
    """The seed has ended, and what it submitted is trained again."""
    nodes: Sequence[Node] | None = None
    """All finished steps of the seed, where that has changed."""
    halted: AiraError | None = None
    """What the seed halted for; it has not ended, and can be resumed."""


@dataclass(frozen=True)
class SearchSession:
    """Everything the seeds of one run share."""

    plan: RunPlan
    brief: Brief
    agent: Agent
    policy: Policy
    evaluation: EvaluationSetting
    cache: ScoreCache | None
    slots: SlotPool[Slot]
    world: World
    watch: Callable[[Progress], None]
    synthetic: bool = False
    """Scores are made on a generated stand-in for the task's data, and marked so."""
    keeper: Keeper | None = None
    """Signs the record; None goes on with one that is unsigned."""
    extensions: Mapping[Kind, ExtensionRecord] = field(default_factory=dict)
    """What of it is code of others."""
    retry_pauses_s: tuple[float, ...] = (2.0, 15.0)
    """Between attempts after the engine failed: one that is being restarted needs some seconds."""
    stop: threading.Event = field(default_factory=threading.Event)


@dataclass(frozen=True)
class StepPlace:
    """Where one step is taken: its run, its seed and what the seed has done, the policy's wish, and the time left."""

    session: SearchSession
    folder: SeedFolder
    journal: Journal
    """What the seed's search knows: its finished steps, without those that infrastructure took."""
    seed: int
    step: int
    action: Proposing
    hours: Deadline
    """What the journal leaves of the seed's hours; it began with this step, on the clock of `waits`."""
    waits: Waits
    """For whatever is nobody's fault; its time is none of the hours'."""
    recorded: Callable[[int], StepEnded]
    """The journal's line of a finished step."""

    def situation(self) -> Situation:
        """Return what the agent is told."""
        return Situation(
            action=self.action,
            journal=self.journal,
            read_step=lambda step: self.folder.read_finished(self.recorded(step)),
            rng=stream(self.seed, self.step, "agent"),
            steps_left=self.session.plan.steps - self.step + 1,
            seconds_left=self.hours.limit_s,
            seed=self.seed,
            step=self.step,
            calls=self.folder.calls(self.step),
            waits=self.waits,
        )

    def tell(self, phase: str) -> None:
        """Say what the step does now."""
        self.session.watch(Progress(self.seed, self.step, phase))

    def check_stop(self) -> None:
        """Raises Stopped if the user has stopped the run."""
        self.waits.check_stop()


def stream(seed: int, step: int, purpose: str) -> random.Random:
    """Return the generator for one purpose of one step of one seed."""
    return random.Random(f"aira-bench/{seed}/{step}/{purpose}")
