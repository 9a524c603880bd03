"""Monte Carlo tree search over solutions (the paper's harness; UCT after Kocsis and Szepesvari, 2006).

From the root, which holds no solution, walk to a leaf by UCT and expand it with `children` solutions in a row: drafts
below the root, improvements elsewhere. A failed child is debugged at once, until it is repaired or `max_debug_depth`
debugs have failed; then it is dead and is never walked into. A node's value is the mean fitness of the valid solutions
in its subtree, scaled by the least and greatest fitness of the run.

The tree is read off the journal, so there is no state to save. Where the public harness walks into dead nodes or spins
once its step limit is reached, this one drafts again or stops.
"""

import math
import random
from collections import defaultdict
from dataclasses import dataclass

from aira_bench.record.growing import tallied
from aira_bench.record.node import Journal, Node
from aira_bench.scaffolds.greedy import DebugDepths
from aira_bench.scaffolds.policy import Action, Debug, Draft, Improve

_ROOT = 0


@dataclass(frozen=True)
class MonteCarloTreeSearch:
    """The defaults are those of the paper's harness."""

    children: int = 5
    exploration: float = 0.25
    max_debug_depth: int = 20
    lower_is_better: bool = False

    def next(self, journal: Journal, rng: random.Random) -> Action:
        """Debug the newest node if it failed, else finish the expansion under way, else expand the best leaf."""
        tree = tallied(journal, _Tree, self.lower_is_better)
        if journal and journal[-1].is_buggy and tree.depths.of[journal[-1].step] < self.max_debug_depth:
            return Debug((journal[-1].step,))
        parent = tree.expanding
        if tree.expansions[parent] >= self.children:
            parent = tree.best_leaf(self.exploration)
        return Draft() if parent == _ROOT else Improve((parent,))


class _Tree:
    """Children, values and visits of solutions; a repaired solution stands for its whole debug chain."""

    def __init__(self, lower_is_better: bool) -> None:
        self.expansions: dict[int, int] = defaultdict(int)
        self.expanding = _ROOT
        self.depths = DebugDepths()
        self._sign, self._low, self._high = (-1.0 if lower_is_better else 1.0), math.inf, -math.inf
        self._made_by: dict[int, int] = {}
        """The node whose expansion made a step: debug chains belong to the node they began under."""
        self._children: dict[int, list[int]] = defaultdict(list)
        self._fitness: dict[int, float] = {}
        self._values: dict[int, list[float]] = {}
        """Of whole subtrees; none is here that has grown since, nor any above such a one."""
        self._sums: dict[int, float] = {}

    def add(self, node: Node) -> None:
        self.depths.add(node)
        began = self._made_by[node.parents[0]] if node.operator == "debug" else (*node.parents, _ROOT)[0]
        self._made_by[node.step] = began
        if node.operator != "debug":
            self.expansions[began] += 1
            self.expanding = began
        if node.is_valid and node.fitness is not None and math.isfinite(node.fitness):
            fitness = self._sign * node.fitness
            self._low, self._high = min(self._low, fitness), max(self._high, fitness)
            self._children[began].append(node.step)
            self._fitness[node.step] = fitness
            self._forget_values(began)

    def best_leaf(self, exploration: float) -> int:
        """Return the unexpanded node that UCT leads to; the root while nothing valid is unexpanded below it."""
        self._sum_values()
        at = _ROOT
        while self._children[at] and (at == _ROOT or self.expansions[at]):
            visits = max(len(self._values[at]), 1)
            at = max(self._children[at], key=lambda child: self._uct(child, visits, exploration))
        return at if not self.expansions[at] else _ROOT

    def _uct(self, child: int, parent_visits: int, exploration: float) -> float:
        visits = len(self._values[child])
        mean = self._sums[child] / visits
        scaled = 0.5 if self._high == self._low else (mean - self._low) / (self._high - self._low)
        return scaled + exploration * math.sqrt(math.log(parent_visits) / visits)

    def _forget_values(self, step: int) -> None:
        while self._values.pop(step, None) is not None and step != _ROOT:
            step = self._made_by[step]

    def _sum_values(self) -> None:
        """Add up anew the subtrees that have grown, each in one order, so that sums are the same to the last bit."""
        waiting, grown = [_ROOT], []
        while waiting:
            step = waiting.pop()
            if step not in self._values:
                grown.append(step)
                waiting.extend(self._children.get(step, ()))
        for step in reversed(grown):
            values = [self._fitness[step]] if step in self._fitness else []
            for child in reversed(self._children.get(step, ())):
                values += self._values[child]
            self._values[step], self._sums[step] = values, sum(values)
