"""Agents without an LLM for tasks whose submission is a `model.py`: random, evolution, baseline.

They search genomes: a mechanism a layer, feed-forward, positions and pooling, and, where a task's hyper-parameters may
be set, factors on their defaults. Their `solution.py` holds the genome as a literal and has the evaluator's package,
which every agent image has, write the `model.py`; so the host knows neither jax nor sizes. Genomes of earlier
steps are read back from their solutions. Under `--fitness claimed` the solution also trains on the public data, with
the evaluator's own code, to have a number to claim.

Not covered: code of the mechanisms (`aira_evaluator.lra.agent.baselines`), whose names are repeated here and held
equal by a test.
"""

import ast
import contextlib
import json
import pprint
import random
from dataclasses import dataclass
from typing import Any

from aira_bench.agent_code.syntax import UnreadableCode, assigned_name, parse
from aira_bench.agents.protocol import Brief, Proposal, Situation, UnlookingAgent
from aira_bench.errors import RunStateError, UsageError

MIXERS = ("self_attention", "linear_attention", "gated_recurrence", "cross_covariance", "local_global",
          "gated_convolution")  # fmt: skip
CHOICES = {
    "feedforward": ("gelu", "swiglu"),
    "positions": ("sinusoidal", "learned", "none"),
    "pooling": ("mean", "max", "attention"),
}
SCALED = ("seq_len", "learning_rate", "batch_size", "train_steps", "num_layers", "num_heads", "emb_dim", "qkv_dim",
          "mlp_dim", "weight_decay", "warmup_steps")  # fmt: skip
PATTERN_LAYERS = {"cpu": 2, "paper": 4}
"""Mechanisms a genome names; begun again where a module has more layers."""
_FACTOR_STEPS = (0.5, 2.0)
_LARGEST_FACTOR = 8.0
_FACTOR_IN_DRAFT = 0.2
_FRESH_TRIES = 64
_CONFIGURABLE_SUFFIX = "-conf"

Genome = dict[str, Any]
"""`mixers` (list), one entry for each of `CHOICES`, and `factors` (dict), as the evaluator's package reads it."""

_SOLUTION = '''"""Submits one module. {plan}"""

from aira_evaluator.lra.agent.baselines.compose import write_model

GENOME = {genome}

write_model(GENOME)
print("wrote {artifact} of", GENOME)
'''
_VALIDATION = """
import sys

from aira_evaluator.lra.agent.validate import main

sys.exit(main(["--model", "{artifact}", "--data", "data"]))
"""


def random_genome(rng: random.Random, layers: int, *, configurable: bool) -> Genome:
    """Each gene uniform and independent; of the factors, a few away from 1."""
    genome: Genome = {"mixers": [rng.choice(MIXERS) for _ in range(layers)]}
    genome |= {name: rng.choice(options) for name, options in CHOICES.items()}
    genome["factors"] = {}
    if configurable:
        drawn = [(name, rng.random(), rng.choice(_FACTOR_STEPS)) for name in SCALED]
        genome["factors"] = {name: factor for name, chance, factor in drawn if chance < _FACTOR_IN_DRAFT}
    return genome


def mutate(rng: random.Random, parent: Genome, *, configurable: bool) -> Genome:
    """Change one gene: half of the time a mechanism or a factor each where there are factors; never a no-op."""
    child: Genome = {**parent, "mixers": list(parent["mixers"]), "factors": dict(parent["factors"])}
    kind = rng.choice(("factor", "factor", "mixer", "choice") if configurable else ("mixer", "mixer", "choice"))
    if kind == "factor":
        _scale(rng, child["factors"])
    elif kind == "mixer":
        layer = rng.randrange(len(child["mixers"]))
        child["mixers"][layer] = rng.choice([mixer for mixer in MIXERS if mixer != child["mixers"][layer]])
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
        "mixers": [rng.choice(pair) for pair in zip(first["mixers"], second["mixers"], strict=True)],
        **{name: rng.choice((first[name], second[name])) for name in CHOICES},
    }
    factors = {name: rng.choice((first, second))["factors"].get(name, 1.0) for name in SCALED}
    child["factors"] = {name: factor for name, factor in factors.items() if factor != 1.0}
    return child


def write_solution(brief: Brief, genome: Genome, plan: str) -> Proposal:
    """The `solution.py` that submits the module of `genome`."""
    literal = pprint.pformat(genome, width=100, sort_dicts=False)
    code = _SOLUTION.format(plan=plan, genome=literal, artifact=brief.artifact.name)
    if brief.fitness == "claimed":
        code += _VALIDATION.format(artifact=brief.artifact.name)
    return Proposal(code, plan)


def read_genome(code: str) -> Genome | None:
    """The genome in a solution; None where there is none."""
    try:
        body = parse(code).body
    except UnreadableCode:
        return None
    for item in body:
        if assigned_name(item) == "GENOME" and isinstance(item, ast.Assign):
            with contextlib.suppress(ValueError):
                genome = ast.literal_eval(item.value)
                return genome if _is_genome(genome) else None
    return None


def _is_genome(value: object) -> bool:
    if not isinstance(value, dict) or set(value) != {"mixers", "factors", *CHOICES}:
        return False
    mixers, factors = value["mixers"], value["factors"]
    return (
        isinstance(mixers, list)
        and bool(mixers)
        and all(mixer in MIXERS for mixer in mixers)
        and all(value[name] in options for name, options in CHOICES.items())
        and isinstance(factors, dict)
        and all(name in SCALED and isinstance(factor, float) for name, factor in factors.items())
    )


@dataclass(frozen=True)
class _Space:
    """What can be searched at one step of one task."""

    layers: int
    configurable: bool
    rng: random.Random
    seen: frozenset[str]

    @classmethod
    def of(cls, brief: Brief, situation: Situation, agent: str) -> "_Space":
        if brief.profile not in PATTERN_LAYERS:
            raise UsageError(f"Agent {agent} knows no modules for profile {brief.profile} of task {brief.task}.")
        genomes = (read_genome(situation.read_step(node.step).code) for node in situation.journal)
        return cls(
            PATTERN_LAYERS[brief.profile],
            brief.task.endswith(_CONFIGURABLE_SUFFIX),
            situation.rng,
            frozenset(_key(genome) for genome in genomes if genome is not None),
        )

    def random(self) -> Genome:
        """A random genome, unseen where the space still easily yields one."""
        for _ in range(_FRESH_TRIES):
            genome = random_genome(self.rng, self.layers, configurable=self.configurable)
            if _key(genome) not in self.seen:
                break
        return genome

    def mutant(self, start: Genome) -> Genome:
        """An unseen neighbour of `start`; where those are exhausted, mutations pile up."""
        child = start
        for attempt in range(_FRESH_TRIES):
            child = mutate(self.rng, start if attempt < _FRESH_TRIES // 2 else child, configurable=self.configurable)
            if _key(child) not in self.seen:
                break
        return child


def _key(genome: Genome) -> str:
    return json.dumps(genome, sort_keys=True)


@dataclass(frozen=True)
class RandomModules(UnlookingAgent):
    """Uniform random modules without repetition."""

    name: str = "random"
    default_scaffold: str = "greedy"

    def propose(self, brief: Brief, situation: Situation) -> Proposal:
        """A random module, whatever the action."""
        return write_solution(brief, _Space.of(brief, situation, self.name).random(), "A random module.")


@dataclass(frozen=True)
class ModuleEvolution(UnlookingAgent):
    """Drafts modules at random and improves them by mutation and crossover."""

    name: str = "evolution"
    default_scaffold: str = "regularized-evolution"

    def propose(self, brief: Brief, situation: Situation) -> Proposal:
        """A random module to draft or debug, a mutated parent (or cross of two) otherwise."""
        space = _Space.of(brief, situation, self.name)
        if situation.action.operator in {"draft", "debug"}:
            return write_solution(brief, space.random(), "A random start.")
        steps = situation.action.parents
        parents = [_genome_of(situation, step) for step in steps]
        start = cross(space.rng, parents[0], parents[1]) if len(parents) == 2 else parents[0]
        child = space.mutant(start)
        crossed = f"Steps {steps[0]} and {steps[1]} crossed, then mutated." if len(steps) == 2 else ""
        return write_solution(brief, child, crossed or f"Step {steps[0]} mutated.")


def _genome_of(situation: Situation, step: int) -> Genome:
    genome = read_genome(situation.read_step(step).code)
    if genome is None:
        raise RunStateError(f"The solution of step {step} holds no genome; another agent wrote it.")
    return genome


@dataclass(frozen=True)
class ReferenceModule(UnlookingAgent):
    """The reference Transformer."""

    name: str = "baseline"
    default_scaffold: str = "one-shot"

    def propose(self, brief: Brief, situation: Situation) -> Proposal:
        """The reference Transformer, whatever the action."""
        _Space.of(brief, situation, self.name)
        genome = {"mixers": ["self_attention"], "feedforward": "gelu", "positions": "sinusoidal", "pooling": "mean",
                  "factors": {}}  # fmt: skip
        return write_solution(brief, genome, "The reference Transformer.")
