"""The search space of tasks whose submission is an architecture: a primitive for each layer.

Not covered: the grammar. The judge parses submissions; `canonical` here is only the form these agents write.
"""

import random
import re
from collections.abc import Set
from dataclasses import dataclass
from shlex import quote

from aira_bench.agents.agent import Brief, Proposal, Situation
from aira_bench.agents.searchers.searcher import FRESH_TRIES, untried
from aira_bench.agents.searchers.solution import SolutionForm
from aira_bench.errors import UsageError
from aira_bench.record.growing import tallied
from aira_bench.record.node import Node
from aira_bench.tasks.artifact_spec import ArtifactSpec
from aira_contract.architectures import Architecture, canonical
from aira_contract.containers import DATA
from aira_contract.invocation import ARCHITECTURE_VALIDATION
from aira_contract.primitives import ATTENTION, MLP

_FORM = SolutionForm(
    what="architecture",
    name="ARCHITECTURE",
    program="""from pathlib import Path

ARCHITECTURE = "{literal}"

Path("{artifact}").write_text('architecture\\n"' + ARCHITECTURE + '"\\n', encoding="ascii")
print("submitted", ARCHITECTURE)
""",
    validation=f"""
from {ARCHITECTURE_VALIDATION} import main

main(["--architecture", ARCHITECTURE, "--data", "{DATA}"])
""",
)


def random_architecture(rng: random.Random, primitives: tuple[str, ...], layers: int) -> Architecture:
    """Draw each layer uniformly, independently of the others."""
    return tuple(rng.choice(primitives) for _ in range(layers))


def mutate(rng: random.Random, parent: Architecture, primitives: tuple[str, ...]) -> Architecture:
    """Change one layer to another primitive, or, half of the time, swap two unlike layers; never a no-op."""
    child = list(parent)
    first = rng.randrange(len(child))
    unlike = [index for index, symbol in enumerate(child) if symbol != child[first]]
    if unlike and rng.random() < 0.5:
        second = rng.choice(unlike)
        child[first], child[second] = child[second], child[first]
    else:
        child[first] = rng.choice([symbol for symbol in primitives if symbol != child[first]])
    return tuple(child)


def cross(rng: random.Random, first: Architecture, second: Architecture) -> Architecture:
    """Draw each layer from one of the two parents, with equal chances."""
    return tuple(rng.choice(pair) for pair in zip(first, second, strict=True))


def write_solution(brief: Brief, architecture: Architecture, plan: str) -> Proposal:
    """Return the `solution.py` that submits `architecture`."""
    return _FORM.write(brief, canonical(architecture), plan)


def written_architecture(code: str) -> Architecture | None:
    """Return the architecture that a `solution.py` of `write_solution` submits; None for any other code."""
    found = _FORM.read(code)
    return tuple(found.split(",")) if isinstance(found, str) and re.fullmatch("[A-Za-z,]+", found) else None


def no_architecture(artifact: ArtifactSpec, agent: str) -> str:
    """Why an agent that searches architectures cannot propose an artifact; empty for one that it can."""
    if artifact.kind == "architecture":
        return ""
    return f"Agent {agent} searches architectures; the task wants {artifact.name} ({artifact.kind})."


def search_space(brief: Brief, agent: str) -> tuple[tuple[str, ...], int]:
    """Primitives and layers of the task's architectures.

    Raises:
        UsageError: the task wants something else.
    """
    if fault := no_architecture(brief.artifact, agent):
        raise UsageError(fault, hint=f"aira-bench run --agent script:FILE.py --task {quote(brief.task)}")
    return brief.artifact.primitives, brief.artifact.layers


@dataclass(frozen=True)
class ArchitectureSpace:
    """The architectures of a task at one step (`SearchSpace`)."""

    brief: Brief
    situation: Situation
    primitives: tuple[str, ...]
    layers: int

    @classmethod
    def open(cls, brief: Brief, situation: Situation, agent: str) -> "ArchitectureSpace":
        """Return the space of a step.

        Raises:
            UsageError: the task wants something else.
        """
        return cls(brief, situation, *search_space(brief, agent))

    def baseline(self) -> Proposal:
        """Return attention and MLP in turn, `mA,M,mA,M,...`."""
        usual = (ATTENTION.symbol, MLP.symbol)
        pair = usual if set(usual) <= set(self.primitives) else self.primitives[:2]
        architecture = tuple(pair[layer % len(pair)] for layer in range(self.layers))
        return write_solution(self.brief, architecture, "Alternating attention and MLP.")

    def random(self) -> Proposal:
        """Return a uniformly random architecture, untried where the space still easily yields one."""
        return write_solution(self.brief, self._untried(), "A uniformly random architecture.")

    def start(self) -> Proposal:
        """Return a random architecture to begin an evolution with, untried where the space still easily yields one."""
        return write_solution(self.brief, self._untried(), "A random start.")

    def child(self, parents: tuple[int, ...]) -> Proposal:
        """Return an untried mutant of a parent, or of the cross of two."""
        rng, seen = self.situation.rng, self._seen()
        parent = self._architecture(parents[0])
        if len(parents) == 2:
            parent = cross(rng, parent, self._architecture(parents[1]))
        child = parent
        for _ in range(FRESH_TRIES):
            child = mutate(rng, child if canonical(child) in seen else parent, self.primitives)
            if not self._to_avoid(child, seen):
                break
        return write_solution(self.brief, child, f"Step {parents[0]} mutated.")

    def _seen(self) -> Set[str]:
        return tallied(self.situation.journal, _Tried).forms

    def _untried(self) -> Architecture:
        seen = self._seen()
        return untried(
            lambda: random_architecture(self.situation.rng, self.primitives, self.layers),
            lambda architecture: self._to_avoid(architecture, seen),
        )

    def _to_avoid(self, architecture: Architecture, seen: Set[str]) -> bool:
        """Whether it was tried, or is beyond the task's budget."""
        return canonical(architecture) in seen or not self.brief.artifact.admits(architecture)

    def _architecture(self, step: int) -> Architecture:
        form = tallied(self.situation.journal, _Tried).of.get(step)
        assert form is not None, "the judge names the canonical form of every valid architecture"
        return tuple(form.split(","))


class _Tried:
    """The canonical forms that were submitted, and by which steps."""

    def __init__(self) -> None:
        self.forms: set[str] = set()
        self.of: dict[int, str] = {}

    def add(self, node: Node) -> None:
        if node.canonical:
            self.forms.add(node.canonical)
            self.of[node.step] = node.canonical
