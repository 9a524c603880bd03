"""Agents without an LLM for tasks whose submission is an architecture: random, evolution, baseline.

They write an ordinary `solution.py`, which runs in an agent container like anybody's. Under `--fitness claimed` that
solution also trains on the public data, with the evaluator's own code, to have a number to claim.

Not covered: the grammar. The judge parses submissions; `canonical` here is only the form these agents write.
"""

import random
import re
from dataclasses import dataclass
from shlex import quote

from aira_bench.agents.protocol import Brief, Proposal, Situation, UnlookingAgent
from aira_bench.errors import UsageError
from aira_bench.record.node import Journal

Architecture = tuple[str, ...]
_FRESH_TRIES = 64

_SOLUTION = '''"""Submits one architecture. {plan}"""

from pathlib import Path

ARCHITECTURE = "{text}"

Path("{artifact}").write_text('architecture\\n"' + ARCHITECTURE + '"\\n', encoding="ascii")
print("submitted", ARCHITECTURE)
'''
_VALIDATION = """
from aira_evaluator.compose.agent.validate import main

main(["--architecture", ARCHITECTURE, "--data", "data"])
"""


def canonical(architecture: Architecture) -> str:
    """Symbols joined by commas, first layer first."""
    return ",".join(architecture)


def random_architecture(rng: random.Random, primitives: tuple[str, ...], layers: int) -> Architecture:
    """Each layer uniform and independent."""
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
    """Each layer from either parent."""
    return tuple(rng.choice(pair) for pair in zip(first, second, strict=True))


def _seen(journal: Journal) -> set[str]:
    return {node.canonical for node in journal if node.canonical}


def write_solution(brief: Brief, architecture: Architecture, plan: str) -> Proposal:
    """The `solution.py` that submits `architecture`."""
    code = _SOLUTION.format(plan=plan, text=canonical(architecture), artifact=brief.artifact.name)
    if brief.fitness == "claimed":
        code += _VALIDATION
    return Proposal(code, plan)


def written_architecture(code: str) -> Architecture | None:
    """The architecture that a `solution.py` of `write_solution` submits; None for any other code."""
    found = re.search(r'^ARCHITECTURE = "([A-Za-z,]+)"$', code, re.MULTILINE)
    return tuple(found[1].split(",")) if found else None


def search_space(brief: Brief, agent: str) -> tuple[tuple[str, ...], int]:
    """Primitives and layers of the task's architectures.

    Raises:
        UsageError: the task wants something else.
    """
    if brief.artifact.kind != "architecture":
        raise UsageError(
            f"Agent {agent} searches architectures, but task {brief.task} wants {brief.artifact.name} "
            f"({brief.artifact.kind}).",
            hint=f"aira-bench run --agent script:FILE.py --task {quote(brief.task)}",
        )
    return brief.artifact.primitives, brief.artifact.layers


def _fresh_random(rng: random.Random, journal: Journal, primitives: tuple[str, ...], layers: int) -> Architecture:
    """A random architecture, unseen where the space still easily yields one."""
    seen = _seen(journal)
    for _ in range(_FRESH_TRIES):
        architecture = random_architecture(rng, primitives, layers)
        if canonical(architecture) not in seen:
            break
    return architecture


@dataclass(frozen=True)
class RandomAgent(UnlookingAgent):
    """Uniform random architectures without repetition."""

    name: str = "random"
    default_scaffold: str = "greedy"

    def propose(self, brief: Brief, situation: Situation) -> Proposal:
        """A random architecture, whatever the action."""
        primitives, layers = search_space(brief, self.name)
        architecture = _fresh_random(situation.rng, situation.journal, primitives, layers)
        return write_solution(brief, architecture, "A uniformly random architecture.")


@dataclass(frozen=True)
class EvolutionAgent(UnlookingAgent):
    """Drafts at random and improves by mutation; with its own scaffold this is regularized evolution."""

    name: str = "evolution"
    default_scaffold: str = "regularized-evolution"

    def propose(self, brief: Brief, situation: Situation) -> Proposal:
        """A random architecture to draft or debug, a mutated parent (or cross of two) otherwise."""
        primitives, layers = search_space(brief, self.name)
        rng, journal = situation.rng, situation.journal
        if situation.action.operator in {"draft", "debug"}:
            return write_solution(brief, _fresh_random(rng, journal, primitives, layers), "A random start.")
        step = situation.action.parents[0]
        parent = self._architecture(journal, step)
        if situation.action.operator == "crossover":
            parent = cross(rng, parent, self._architecture(journal, situation.action.parents[1]))
        seen, child = _seen(journal), parent
        for _ in range(_FRESH_TRIES):
            child = mutate(rng, child if canonical(child) in seen else parent, primitives)
            if canonical(child) not in seen:
                break
        return write_solution(brief, child, f"Step {step} mutated.")

    @staticmethod
    def _architecture(journal: Journal, step: int) -> Architecture:
        node = next(node for node in journal if node.step == step)
        assert node.canonical is not None, "the judge names the canonical form of every valid architecture"
        return tuple(node.canonical.split(","))


@dataclass(frozen=True)
class BaselineAgent(UnlookingAgent):
    """Alternating attention and MLP, the pattern everybody starts from."""

    name: str = "baseline"
    default_scaffold: str = "one-shot"

    def propose(self, brief: Brief, situation: Situation) -> Proposal:
        """`mA,M,mA,M,...`, whatever the action."""
        primitives, layers = search_space(brief, self.name)
        pair = ("mA", "M") if {"mA", "M"} <= set(primitives) else primitives[:2]
        architecture = tuple(pair[layer % len(pair)] for layer in range(layers))
        return write_solution(brief, architecture, "Alternating attention and MLP.")
