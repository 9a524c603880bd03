"""Greedy tree search (paper, section 2): some drafts, then always the best node, bugs first.

Order at each step: draft until the quota is full (failed drafts count); with probability `debug_probability`
debug a failed leaf picked uniformly; draft if nothing is valid; else improve the best valid node.

Differs from the public harness of the paper where that has faults: non-finite fitness never wins, and the root takes
no step.
"""

import random
from dataclasses import dataclass

from aira_bench.record.node import Journal, Node, best_node
from aira_bench.scaffolds.policy import Action, Debug, Draft, Improve


@dataclass(frozen=True)
class Greedy:
    """The defaults are the paper's preset; AIDE's is `Greedy(5, 0.5, 3)`."""

    drafts: int = 5
    debug_probability: float = 1.0
    max_debug_depth: int = 20
    """A failed leaf at this depth may still be debugged, so a chain holds one debug more."""
    lower_is_better: bool = False
    edit: bool = False
    """Improve and Debug edit the parent's file instead of writing a new one."""

    def next(self, journal: Journal, rng: random.Random) -> Action:
        """Draft, debug a failed leaf, or improve the best."""
        wants_debug, pick = rng.random() < self.debug_probability, rng.random()
        started = sum(node.operator == "draft" for node in journal)
        if started < self.drafts:
            return Draft()
        leaves = self._debuggable(journal)
        if wants_debug and leaves:
            return Debug((leaves[int(pick * len(leaves))].step,), edit=self.edit)
        best = best_node(journal, lower_is_better=self.lower_is_better)
        return Improve((best.step,), edit=self.edit) if best else Draft()

    def _debuggable(self, journal: Journal) -> list[Node]:
        by_step = {node.step: node for node in journal}
        has_child = {parent for node in journal for parent in node.parents}
        return [
            node
            for node in journal
            if node.is_buggy and node.step not in has_child and debug_depth(node, by_step) <= self.max_debug_depth
        ]


def debug_depth(node: Node, by_step: dict[int, Node]) -> int:
    """Return how many debug steps in a row led to `node`; 0 for a node that is no debug."""
    depth = 0
    while node.operator == "debug":
        depth, node = depth + 1, by_step[node.parents[0]]
    return depth
