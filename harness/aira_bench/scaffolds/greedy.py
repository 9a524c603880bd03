"""Greedy tree search (paper, section 2): some drafts, then always the best node, bugs first.

Order at each step: draft until the quota is full (failed drafts count); with probability `debug_probability`
debug a failed leaf picked uniformly; draft if nothing is valid; else improve the best valid node.

Differs from the public harness of the paper where that has faults: non-finite fitness never wins, and the root takes
no step.
"""

import random
from dataclasses import dataclass
from itertools import islice

from aira_bench.record.growing import tallied
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
        seen = tallied(journal, _Seen, self.max_debug_depth)
        if seen.drafts < self.drafts:
            return Draft()
        if wants_debug and seen.leaves:
            leaf = next(islice(seen.leaves, int(pick * len(seen.leaves)), None))
            return Debug((leaf,), edit=self.edit)
        best = best_node(journal, lower_is_better=self.lower_is_better)
        return Improve((best.step,), edit=self.edit) if best else Draft()


class DebugDepths:
    """How many debug steps in a row led to each step; 0 for one that is no debug."""

    def __init__(self) -> None:
        self.of: dict[int, int] = {}

    def add(self, node: Node) -> None:
        """Take the next step."""
        self.of[node.step] = self.of[node.parents[0]] + 1 if node.operator == "debug" else 0


class _Seen:
    """How many drafts there were, and which failed steps without a child may be debugged, in their order."""

    def __init__(self, max_debug_depth: int) -> None:
        self.drafts = 0
        self.leaves: dict[int, None] = {}
        self._max_depth, self._depths = max_debug_depth, DebugDepths()

    def add(self, node: Node) -> None:
        self._depths.add(node)
        self.drafts += node.operator == "draft"
        for parent in node.parents:
            self.leaves.pop(parent, None)
        if node.is_buggy and self._depths.of[node.step] <= self._max_depth:
            self.leaves[node.step] = None
