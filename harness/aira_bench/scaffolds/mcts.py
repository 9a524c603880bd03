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

from aira_bench.record.node import Journal, Node
from aira_bench.scaffolds.greedy import debug_depth
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
        by_step = {node.step: node for node in journal}
        if journal and journal[-1].is_buggy and debug_depth(journal[-1], by_step) < self.max_debug_depth:
            return Debug((journal[-1].step,))
        tree = _Tree(journal, by_step, lower_is_better=self.lower_is_better)
        parent = tree.expanding
        if tree.expansions[parent] >= self.children:
            parent = tree.best_leaf(self.exploration)
        return Draft() if parent == _ROOT else Improve((parent,))


class _Tree:
    """Children, values and visits of solutions; a repaired solution stands for its whole debug chain."""

    def __init__(self, nodes: Journal, by_step: dict[int, Node], *, lower_is_better: bool) -> None:
        self.expansions: dict[int, int] = defaultdict(int)
        self.expanding = _ROOT
        self._children: dict[int, list[int]] = defaultdict(list)
        self._fitness: dict[int, float] = {}
        for node in nodes:
            parent = _expanded_parent(node, by_step)
            if node.operator != "debug":
                self.expansions[parent] += 1
                self.expanding = parent
            if node.is_valid and node.fitness is not None and math.isfinite(node.fitness):
                self._children[parent].append(node.step)
                self._fitness[node.step] = -node.fitness if lower_is_better else node.fitness

    def best_leaf(self, exploration: float) -> int:
        """Return the unexpanded node that UCT leads to; the root while nothing valid is unexpanded below it."""
        at = _ROOT
        while self._children[at] and (at == _ROOT or self.expansions[at]):
            visits = max(len(self._subtree(at)), 1)
            at = max(self._children[at], key=lambda child: self._uct(child, visits, exploration))
        return at if not self.expansions[at] else _ROOT

    def _uct(self, child: int, parent_visits: int, exploration: float) -> float:
        values = [self._fitness[step] for step in self._subtree(child)]
        low, high = min(self._fitness.values()), max(self._fitness.values())
        mean = sum(values) / len(values)
        scaled = 0.5 if high == low else (mean - low) / (high - low)
        return scaled + exploration * math.sqrt(math.log(parent_visits) / len(values))

    def _subtree(self, root: int) -> list[int]:
        found, waiting = [], [root]
        while waiting:
            step = waiting.pop()
            waiting.extend(self._children.get(step, ()))
            if step in self._fitness:
                found.append(step)
        return found


def _expanded_parent(node: Node, by_step: dict[int, Node]) -> int:
    """The node whose expansion made this one: debug chains belong to the node they began under."""
    while node.operator == "debug":
        node = by_step[node.parents[0]]
    return node.parents[0] if node.parents else _ROOT
