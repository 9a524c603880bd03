"""Regularized evolution: tournaments among the youngest valid nodes (Real et al., 2019, algorithm 1).

The population is the last `population` valid nodes, so age kills, not rank. Each further step samples `tournament`
of them and improves the fittest. Failed steps are neither parents nor repaired.
"""

import random
from collections import deque
from dataclasses import dataclass

from aira_bench.record.growing import tallied
from aira_bench.record.node import Journal, Node, best_node
from aira_bench.scaffolds.policy import Action, Draft, Improve


@dataclass(frozen=True)
class RegularizedEvolution:
    """`for_budget` derives both sizes from the number of steps; give them to fix them."""

    population: int = 20
    tournament: int = 5
    lower_is_better: bool = False

    @classmethod
    def for_budget(cls, steps: int, *, lower_is_better: bool) -> "RegularizedEvolution":
        """A quarter of the steps fills the population, within 3 and 25; a third of that meets in a tournament."""
        population = min(max(steps // 4, 3), 25)
        return cls(population, max(2, population // 3), lower_is_better)

    def next(self, journal: Journal, rng: random.Random) -> Action:
        """Draft until the population is full, then improve the winner of a tournament."""
        living = tallied(journal, _Youngest, self.population).nodes
        if len(living) < self.population:
            return Draft()
        entrants = rng.sample(living, min(self.tournament, len(living)))
        winner = best_node(sorted(entrants, key=lambda node: node.step), lower_is_better=self.lower_is_better)
        assert winner is not None
        return Improve((winner.step,))


class _Youngest:
    """The last valid nodes, at most so many."""

    def __init__(self, population: int) -> None:
        self.nodes: deque[Node] = deque(maxlen=population)

    def add(self, node: Node) -> None:
        if node.is_valid:
            self.nodes.append(node)
