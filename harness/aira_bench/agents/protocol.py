"""The seam between a scaffold and whatever writes code: an LLM with prompts, or a classical searcher.

An agent gets a situation and returns a `solution.py`. It sees finished steps without test scores, and draws all
randomness from the generator it is given, so the same seed proposes the same code.
"""

import random
from collections.abc import Callable
from dataclasses import dataclass
from typing import Literal, Protocol

from aira_bench.runs.node import Journal
from aira_bench.scaffolds.protocol import Proposing
from aira_bench.tasks.metadata import ArtifactSpec

FitnessSource = Literal["hidden", "claimed"]


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


@dataclass(frozen=True)
class StepFiles:
    """Code and escaped output of an earlier step."""

    code: str
    stdout: str
    stderr: str


@dataclass(frozen=True)
class Situation:
    """One request: what to do, what happened so far, and what is left of the budget."""

    action: Proposing
    journal: Journal
    read_step: Callable[[int], StepFiles]
    rng: random.Random
    steps_left: int
    seconds_left: float


@dataclass(frozen=True)
class Proposal:
    """A whole solution and, in a line or two, what it tries."""

    code: str
    plan: str


class Agent(Protocol):
    """Anything that answers a situation with a solution."""

    @property
    def name(self) -> str:
        """The name boards show."""
        ...

    @property
    def default_scaffold(self) -> str:
        """The scaffold used when none is asked for."""
        ...

    def propose(self, brief: Brief, situation: Situation) -> Proposal:
        """A solution for this situation."""
        ...
