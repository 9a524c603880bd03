"""The search space of tasks whose submission is a `model.py`: genomes.

A genome names a mechanism a layer, feed-forward, positions and pooling, and, where a task's hyperparameters may be set,
factors on their defaults. A solution holds it as a literal and has the evaluator's package, which every agent image
has, write the `model.py`; so the host knows neither jax nor sizes. Genomes of earlier steps are read back from their
solutions.

Not covered: code of the mechanisms (`aira_evaluator.lra.agent.baselines`).
"""

import json
import pprint
import random
from collections import deque
from collections.abc import Callable, Set
from dataclasses import dataclass
from shlex import quote
from typing import Any, TypeGuard

from aira_bench.agents.agent import Brief, Proposal, Situation
from aira_bench.agents.searchers.searcher import FRESH_TRIES, untried
from aira_bench.agents.searchers.solution import SolutionForm
from aira_bench.errors import RunStateError, UsageError
from aira_bench.record.folder import StepFiles
from aira_bench.record.growing import tallied
from aira_bench.record.node import Node
from aira_contract.containers import DATA
from aira_contract.genomes import CHOICES, FACTORS_KEY, MIXERS, MIXERS_KEY, SCALED
from aira_contract.invocation import MODULE_VALIDATION, MODULE_WRITER

_FACTOR_STEPS = (0.5, 2.0)
_LARGEST_FACTOR = 8.0
_FACTOR_IN_DRAFT = 0.2

Genome = dict[str, Any]
"""As `aira_contract.genomes` describes it; every key is there."""

_FORM = SolutionForm(
    what="module",
    name="GENOME",
    program=f"""from {MODULE_WRITER} import write_model

GENOME = {{literal}}

write_model(GENOME)
print("wrote {{artifact}} of", GENOME)
""",
    validation=f"""
import sys

from {MODULE_VALIDATION} import main

sys.exit(main(["--model", "{{artifact}}", "--data", "{DATA}"]))
""",
)


def random_genome(rng: random.Random, layers: int, *, configurable: bool) -> Genome:
    """Each gene uniform and independent; of the factors, a few away from 1."""
    genome: Genome = {MIXERS_KEY: [rng.choice(MIXERS) for _ in range(layers)]}
    genome |= {name: rng.choice(options) for name, options in CHOICES.items()}
    genome[FACTORS_KEY] = {}
    if configurable:
        drawn = [(name, rng.random(), rng.choice(_FACTOR_STEPS)) for name in SCALED]
        genome[FACTORS_KEY] = {name: factor for name, chance, factor in drawn if chance < _FACTOR_IN_DRAFT}
    return genome


def mutate(rng: random.Random, parent: Genome, *, configurable: bool) -> Genome:
    """Change one gene: half of the time a mechanism or a factor each where there are factors; never a no-op."""
    child: Genome = {**parent, MIXERS_KEY: list(parent[MIXERS_KEY]), FACTORS_KEY: dict(parent[FACTORS_KEY])}
    kind = rng.choice(("factor", "factor", "mixer", "choice") if configurable else ("mixer", "mixer", "choice"))
    if kind == "factor":
        _scale(rng, child[FACTORS_KEY])
    elif kind == "mixer":
        layer = rng.randrange(len(child[MIXERS_KEY]))
        child[MIXERS_KEY][layer] = rng.choice([mixer for mixer in MIXERS if mixer != child[MIXERS_KEY][layer]])
    else:
        name = rng.choice(list(CHOICES))
        child[name] = rng.choice([option for option in CHOICES[name] if option != child[name]])
    return child


def _scale(rng: random.Random, factors: dict[str, float]) -> None:
    name = rng.choice(SCALED)
    old = factors.get(name, 1.0)
    new = rng.choice([old * step for step in _FACTOR_STEPS if 1 / _LARGEST_FACTOR <= old * step <= _LARGEST_FACTOR])
    factors.pop(name, None)
    if new != 1.0:
        factors[name] = new


def cross(rng: random.Random, first: Genome, second: Genome) -> Genome:
    """Each layer's mechanism, each choice and each factor from either parent."""
    child: Genome = {
        MIXERS_KEY: [rng.choice(pair) for pair in zip(first[MIXERS_KEY], second[MIXERS_KEY], strict=True)],
        **{name: rng.choice((first[name], second[name])) for name in CHOICES},
    }
    factors = {name: rng.choice((first, second))[FACTORS_KEY].get(name, 1.0) for name in SCALED}
    child[FACTORS_KEY] = {name: factor for name, factor in factors.items() if factor != 1.0}
    return child


def write_solution(brief: Brief, genome: Genome, plan: str) -> Proposal:
    """Return the `solution.py` that submits the module of `genome`."""
    return _FORM.write(brief, pprint.pformat(genome, width=100, sort_dicts=False), plan)


def read_genome(code: str) -> Genome | None:
    """Return the genome in a solution; None where there is none."""
    found = _FORM.read(code)
    return found if _is_genome(found) else None


def _is_genome(value: object) -> TypeGuard[Genome]:
    if not isinstance(value, dict) or set(value) != {MIXERS_KEY, FACTORS_KEY, *CHOICES}:
        return False
    mixers, factors = value[MIXERS_KEY], value[FACTORS_KEY]
    return (
        isinstance(mixers, list)
        and bool(mixers)
        and all(mixer in MIXERS for mixer in mixers)
        and all(value[name] in options for name, options in CHOICES.items())
        and isinstance(factors, dict)
        and all(name in SCALED and isinstance(factor, float) for name, factor in factors.items())
    )


@dataclass(frozen=True)
class ModuleSpace:
    """The modules of a task at one step (`SearchSpace`)."""

    brief: Brief
    situation: Situation
    agent: str
    seen: Set[str]

    @classmethod
    def open(cls, brief: Brief, situation: Situation, agent: str) -> "ModuleSpace":
        """Return the space of a step."""
        return cls(brief, situation, agent, tallied(situation.journal, _Tried).keys(situation.read_step))

    def baseline(self) -> Proposal:
        """Return the reference Transformer that ships with the tasks."""
        genome = {MIXERS_KEY: [MIXERS[0]], **{name: options[0] for name, options in CHOICES.items()}, FACTORS_KEY: {}}
        return write_solution(self.brief, genome, "The reference Transformer.")

    def random(self) -> Proposal:
        """Return a random module, untried where the space still easily yields one."""
        return write_solution(self.brief, self._untried(), "A random module.")

    def start(self) -> Proposal:
        """Return a random module to begin an evolution with, untried where the space still easily yields one."""
        return write_solution(self.brief, self._untried(), "A random start.")

    def child(self, parents: tuple[int, ...]) -> Proposal:
        """Return an untried neighbour of a parent, or of the cross of two; where those are exhausted, mutations pile
        up.
        """
        genomes = [self._genome(step) for step in parents]
        crossed = len(genomes) == 2
        start = cross(self.situation.rng, genomes[0], genomes[1]) if crossed else genomes[0]
        plan = f"Steps {parents[0]} and {parents[1]} crossed, then" if crossed else f"Step {parents[0]}"
        return write_solution(self.brief, self._mutant(start), f"{plan} mutated.")

    @property
    def _layers(self) -> int:
        """Mechanisms that a genome names; they begin again where a module has more layers."""
        known = {str(profile): layers for profile, layers in self.brief.artifact.module_layers.items()}
        if self.brief.profile not in known:
            raise UsageError(
                f"Agent {self.agent} knows no modules for profile {self.brief.profile} of task {self.brief.task}: its "
                "metadata gives no module_layers for it.",
                hint=f"aira-bench run --agent baseline --task {quote(self.brief.task)}",
            )
        return known[self.brief.profile]

    @property
    def _configurable(self) -> bool:
        return self.brief.artifact.hyperparameters

    def _untried(self) -> Genome:
        return untried(
            lambda: random_genome(self.situation.rng, self._layers, configurable=self._configurable),
            lambda genome: _key(genome) in self.seen,
        )

    def _mutant(self, start: Genome) -> Genome:
        child = start
        for attempt in range(FRESH_TRIES):
            child = mutate(
                self.situation.rng, start if attempt < FRESH_TRIES // 2 else child, configurable=self._configurable
            )
            if _key(child) not in self.seen:
                break
        return child

    def _genome(self, step: int) -> Genome:
        genome = read_genome(self.situation.read_step(step).code)
        if genome is None:
            raise RunStateError(f"The solution of step {step} holds no genome; another agent wrote it.")
        return genome


def _key(genome: Genome) -> str:
    return json.dumps(genome, sort_keys=True)


class _Tried:
    """The keys of genomes in earlier solutions, each of which is read and parsed once."""

    def __init__(self) -> None:
        self._unread: deque[int] = deque()
        self._keys: set[str] = set()

    def add(self, node: Node) -> None:
        self._unread.append(node.step)

    def keys(self, read_step: Callable[[int], StepFiles]) -> Set[str]:
        while self._unread:
            genome = read_genome(read_step(self._unread[0]).code)
            if genome is not None:
                self._keys.add(_key(genome))
            self._unread.popleft()
        return self._keys
