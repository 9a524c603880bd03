"""Which named edit moved the score: the effect of an edit step against the step it edited.

Only steps with exactly one change tell the effect of that change alone; the others tell the effect of all their changes
together and are marked so. Not covered: noise. Two seeds of one architecture differ too (docs/mad.md).
"""

from collections.abc import Sequence
from dataclasses import dataclass

from aira_bench.record.node import Node


@dataclass(frozen=True)
class Effect:
    """What the changes of one step did to the fitness of its parent."""

    step: int
    parent: int
    changes: tuple[str, ...]
    before: float
    after: float

    @property
    def single(self) -> bool:
        """Whether one change alone is responsible."""
        return len(self.changes) == 1


def attribute_changes(nodes: Sequence[Node]) -> list[Effect]:
    """Effects of all edit steps whose own and whose parent's fitness are known, in order."""
    by_step = {node.step: node for node in nodes}
    effects = []
    for node in nodes:
        parent = by_step.get(node.parents[0]) if node.changes and node.parents else None
        if parent is not None and parent.fitness is not None and node.fitness is not None:
            names = tuple(change.name for change in node.changes)
            effects.append(Effect(node.step, parent.step, names, parent.fitness, node.fitness))
    return effects
