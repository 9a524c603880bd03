"""What one step of a search is remembered by.

A `Node` is all that policies and prompts ever see of a step. It holds no test score: those lie in a file of their
own (`aira_bench.record.scores`) that nothing on the search's side reads.
"""

import math
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from typing import Literal, TypeVar, get_args

from aira_bench.gpus.use import GpuUse
from aira_bench.record.growing import Growing, tallied

Operator = Literal["draft", "improve", "debug", "crossover"]
StepClass = Literal["valid", "buggy", "invalid_submission", "timeout", "out_of_memory", "rule_violation", "infra_error"]
"""What became of a step's code, and nothing else (docs/architecture.md says what each means). `infra_error`: the engine
failed, by its own word; nothing that code does to its container is one."""
FAILED: frozenset[StepClass] = frozenset(get_args(StepClass)) - {"valid", "infra_error"}
"""By the code's own fault."""


@dataclass(frozen=True)
class Timings:
    """Seconds a step spent in each of its phases, recorded apart. Waiting is in none of them, and not in the total."""

    model_s: float = 0.0
    """Waiting for the agent: its model's answers, or its own thinking."""
    execute_s: float = 0.0
    evaluate_s: float = 0.0
    total_s: float = 0.0
    """What the step took of its seed's hours."""
    waited_s: dict[str, float] = field(default_factory=dict, hash=False)
    """For what is nobody's fault, by what for (`aira_bench.waiting.WaitReason`)."""


@dataclass(frozen=True)
class ModelUse:
    """What a step asked of a language model, failed formats included. None: the provider or the card did not say."""

    calls: int = 0
    input_tokens: int | None = 0
    output_tokens: int | None = 0
    cost_usd: float | None = 0.0
    models: tuple[str, ...] = ()
    """Who answered, as the provider named itself in its answers, sorted. Empty in records that did not say."""

    def __add__(self, other: "ModelUse") -> "ModelUse":
        """Add two uses; what is unknown in one of them is unknown in the sum."""
        return ModelUse(
            self.calls + other.calls,
            _sum(self.input_tokens, other.input_tokens),
            _sum(self.output_tokens, other.output_tokens),
            _sum(self.cost_usd, other.cost_usd),
            tuple(sorted({*self.models, *other.models})),
        )


Number = TypeVar("Number", int, float)


def _sum(a: Number | None, b: Number | None) -> Number | None:
    return None if a is None or b is None else a + b


@dataclass(frozen=True)
class Change:
    """One named edit of a parent's file, and how many lines it took out and put in."""

    name: str
    removed_lines: int
    added_lines: int


@dataclass(frozen=True)
class Node:
    """One finished step. `fitness` drives the search: hidden validation, rounded, or the agent's own claim."""

    step: int
    operator: Operator
    parents: tuple[int, ...]
    step_class: StepClass
    reason: str
    """One line for a failed step, empty for a valid one."""
    fitness: float | None
    claimed: float | None
    code_sha256: str
    artifact_sha256: str | None
    plan: str = ""
    summary: str = ""
    canonical: str | None = None
    """The submission in normal form, where the task has one."""
    attempts: int = 1
    """Above 1 when infrastructure failed and a phase of the step was tried again; each left its files."""
    timings: Timings = field(default_factory=Timings)
    model_use: ModelUse = field(default_factory=ModelUse)
    changes: tuple[Change, ...] = ()
    """The edits an edit operator applied to its parent's file, in order."""
    code_ran: bool = True
    """False where infrastructure ended the step before any of its code began."""
    fitness_standard_error: float | None = None
    """Of the fitness, where that is estimated; a difference within it says nothing."""
    cores: int | None = None
    """How many cores its containers had; within a fixed time, more of them train more. None where none ran, and in
    records of versions that did not say."""
    parts: dict[str, float] = field(default_factory=dict, hash=False)
    """What the hidden validation score is the mean of, by the name of each part and rounded as the fitness is."""
    gpu_use: dict[str, GpuUse] = field(default_factory=dict, hash=False)
    """How its devices worked: of the `step`, and of the training that its score comes from (`evaluation`). Empty
    without a device, and in records of versions that did not look."""

    @property
    def throttled(self) -> str:
        """What slowed a device of the step's below what it can, in words; empty where nothing did."""
        return "; ".join(f"{phase}: {', '.join(use.throttled)}" for phase, use in self.gpu_use.items() if use.throttled)

    @property
    def is_lost(self) -> bool:
        """Infrastructure left the step without a result: it says nothing of the agent, and no search is told of it."""
        return self.step_class == "infra_error"

    @property
    def is_valid(self) -> bool:
        """The evaluator accepted the submission."""
        return self.step_class == "valid"

    @property
    def outcome(self) -> str:
        """The step's class and, where it has one, its fitness with its standard error."""
        return outcome_of(self.step_class, self.fitness, self.fitness_standard_error)

    @property
    def is_buggy(self) -> bool:
        """The solution failed by its own fault; infrastructure errors are neither buggy nor valid."""
        return self.step_class in FAILED


def outcome_of(step_class: StepClass, fitness: float | None, standard_error: float | None) -> str:
    """Return a class and a fitness in words, as prompts have them."""
    if fitness is None:
        return step_class
    return f"{step_class}, fitness {fitness:g}" + ("" if standard_error is None else f" +- {standard_error:.2g}")


Journal = Sequence[Node]
"""Finished steps in order; what policies are functions of. Lost steps are not among them (`known_to_search`), so a
node's place in it is not its step."""


def known_to_search(nodes: Sequence[Node]) -> Journal:
    """Return what policies and agents are told of a seed's steps: all but those that infrastructure took."""
    return tallied(nodes, _Known).nodes.so_far()


class _Known:
    """Steps that are not lost."""

    def __init__(self) -> None:
        self.nodes = Growing[Node]()

    def add(self, node: Node) -> None:
        if not node.is_lost:
            self.nodes.append(node)


def nodes_by_step(nodes: Journal) -> Mapping[int, Node]:
    """Return the nodes by their steps."""
    return tallied(nodes, _ByStep).nodes


class _ByStep:
    def __init__(self) -> None:
        self.nodes: dict[int, Node] = {}

    def add(self, node: Node) -> None:
        self.nodes[node.step] = node


def best_node(nodes: Journal, *, lower_is_better: bool) -> Node | None:
    """Return the valid node of best fitness; ties keep the earliest, and non-finite fitness never wins.

    A valid node without any fitness stands below every node that has one.
    """
    return tallied(nodes, _Best, lower_is_better).node


class _Best:
    """The best of the nodes so far."""

    def __init__(self, lower_is_better: bool) -> None:
        self.node: Node | None = None
        self._sign, self._key = (-1.0 if lower_is_better else 1.0), -math.inf

    def add(self, node: Node) -> None:
        if not node.is_valid:
            return
        known = node.fitness is not None and math.isfinite(node.fitness)
        key = self._sign * node.fitness if known and node.fitness is not None else -math.inf
        if self.node is None or key > self._key:
            self.node, self._key = node, key
