"""Evolution with operators of an LLM: generations of drafts, improvements and crossovers.

Generation 0 drafts; later generations pick parents from all valid nodes by a softmax over fitness scaled to [0, 1], and
from the second generation after the drafts on, two parents are crossed half of the time. Failed individuals are
debugged to a limit and then left out. One island; the public harness's migration between islands is off by default and
has faults (specimens land in the wrong island), so it is not here.
"""

import math
import random
from collections.abc import Collection
from dataclasses import dataclass

from aira_bench.record.growing import tallied
from aira_bench.record.node import Journal, Node
from aira_bench.scaffolds.greedy import DebugDepths
from aira_bench.scaffolds.policy import Action, Crossover, Debug, Draft, Improve


@dataclass(frozen=True)
class Evolutionary:
    """Defaults follow the paper's harness: 5 individuals a generation, crossover 0.5, debug depth 10."""

    individuals: int = 5
    crossover_probability: float = 0.5
    temperature: float = 1.0
    max_debug_depth: int = 10
    lower_is_better: bool = False

    def next(self, journal: Journal, rng: random.Random) -> Action:
        """Debug the newest node if it failed, else breed the next individual."""
        wants_crossover, depths = rng.random(), tallied(journal, DebugDepths).of
        if journal and journal[-1].is_buggy and depths[journal[-1].step] < self.max_debug_depth:
            return Debug((journal[-1].step,))
        population = tallied(journal, _Population, self.lower_is_better, self.temperature)
        generation = population.bred // self.individuals
        if generation == 0 or not population.values:
            return Draft()
        first = population.pick(rng)
        if generation >= 2 and len(population.values) > 1 and wants_crossover < self.crossover_probability:
            return Crossover((first, population.pick(rng, but=first)))
        return Improve((first,))


class _Population:
    """Valid nodes of finite fitness, with their weights."""

    def __init__(self, lower_is_better: bool, temperature: float) -> None:
        self.bred = 0
        """Individuals so far; repairing one makes no other."""
        self.values: dict[int, float] = {}
        """Fitness by step, the greater the better."""
        self._sign, self._temperature = (-1.0 if lower_is_better else 1.0), temperature
        self._low, self._high = math.inf, -math.inf
        self._weights: list[float] = []

    def add(self, node: Node) -> None:
        self.bred += node.operator != "debug"
        if not node.is_valid or node.fitness is None or not math.isfinite(node.fitness):
            return
        value = self._sign * node.fitness
        self.values[node.step] = value
        if self._low <= value <= self._high:
            self._weights.append(self._weight(value, self._low, self._high))
        else:
            self._low, self._high = min(self._low, value), max(self._high, value)
            self._weights = self._weighed(self.values.values())

    def pick(self, rng: random.Random, but: int | None = None) -> int:
        """Return the step of a node, drawn by weight; `but` is left out, and does not scale the others either."""
        if but is None:
            return rng.choices(tuple(self.values), self._weights)[0]
        steps, values = list(self.values), list(self.values.values())
        at = steps.index(but)
        del steps[at], values[at]
        if (min(values), max(values)) != (self._low, self._high):
            return rng.choices(steps, self._weighed(values))[0]
        return rng.choices(steps, self._weights[:at] + self._weights[at + 1 :])[0]

    def _weighed(self, values: Collection[float]) -> list[float]:
        low, high = min(values), max(values)
        return [self._weight(value, low, high) for value in values]

    def _weight(self, value: float, low: float, high: float) -> float:
        scaled = 0.5 if high == low else (value - low) / (high - low)
        return math.exp(scaled / self._temperature)
