"""Evolution with operators of an LLM: generations of drafts, improvements and crossovers.

Generation 0 drafts; later generations pick parents from all valid nodes by a softmax over fitness scaled to [0, 1], and
from the second generation after the drafts on, two parents are crossed half of the time. Failed individuals are
debugged to a limit and then left out. One island; the public harness's migration between islands is off by default and
has faults (specimens land in the wrong island), so it is not here.
"""

import math
import random
from dataclasses import dataclass

from aira_bench.record.node import Journal, Node
from aira_bench.scaffolds.greedy import debug_depth
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
        wants_crossover, by_step = rng.random(), {node.step: node for node in journal}
        if journal and journal[-1].is_buggy and debug_depth(journal[-1], by_step) < self.max_debug_depth:
            return Debug((journal[-1].step,))
        generation = sum(node.operator != "debug" for node in journal) // self.individuals
        population = [
            node for node in journal if node.is_valid and node.fitness is not None and math.isfinite(node.fitness)
        ]
        if generation == 0 or not population:
            return Draft()
        first = self._pick(population, rng)
        if generation >= 2 and len(population) > 1 and wants_crossover < self.crossover_probability:
            second = self._pick([node for node in population if node is not first], rng)
            return Crossover((first.step, second.step))
        return Improve((first.step,))

    def _pick(self, population: list[Node], rng: random.Random) -> Node:
        sign = -1.0 if self.lower_is_better else 1.0
        values = [sign * (node.fitness or 0.0) for node in population]
        low, high = min(values), max(values)
        scaled = [0.5 if high == low else (value - low) / (high - low) for value in values]
        return rng.choices(population, [math.exp(value / self.temperature) for value in scaled])[0]
