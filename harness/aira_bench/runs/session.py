"""What the seeds of a run share, and what a step needs to know of its seed."""

import random
import threading
from collections.abc import Callable
from dataclasses import dataclass, field

from aira_bench.agents.protocol import Agent, Brief
from aira_bench.evaluation.cache import ScoreCache
from aira_bench.evaluation.protocol import EvaluationSetting
from aira_bench.record.manifest import RunPlan
from aira_bench.record.sealing import Keeper
from aira_bench.runs.slots import SlotPool
from aira_bench.scaffolds.protocol import Policy
from aira_bench.world import World


class Stopped(Exception):
    """The user stopped the run; what is finished is on disk."""


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


@dataclass(frozen=True)
class Session:
    """Everything the seeds of one run share."""

    plan: RunPlan
    brief: Brief
    agent: Agent
    policy: Policy
    evaluation: EvaluationSetting
    cache: ScoreCache | None
    slots: SlotPool
    world: World
    watch: Callable[[Progress], None]
    synthetic: bool = False
    """Scores are made on a generated stand-in for the task's data, and marked so."""
    keeper: Keeper | None = None
    """Signs the record; None goes on with one that is unsigned."""
    retry_pauses_s: tuple[float, ...] = (2.0, 15.0)
    """Between attempts after the engine failed: one that is being restarted needs some seconds."""
    stop: threading.Event = field(default_factory=threading.Event)


@dataclass
class Clock:
    """Seconds left of a seed's budget: what the journal has used, and what this step has used so far."""

    world: World
    left_s: float
    started_s: float = field(init=False)

    def __post_init__(self) -> None:
        self.started_s = self.world.monotonic_s()

    @property
    def used_s(self) -> float:
        """Seconds this step has used."""
        return self.world.monotonic_s() - self.started_s

    @property
    def remaining_s(self) -> float:
        """Seconds left of the seed's budget, this step's use taken off."""
        return self.left_s - self.used_s


def stream(seed: int, step: int, purpose: str) -> random.Random:
    """The generator for one purpose of one step of one seed."""
    return random.Random(f"aira-bench/{seed}/{step}/{purpose}")
