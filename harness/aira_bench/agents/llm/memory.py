"""What a prompt tells of earlier steps, under a length cap.

Drafts and improvements see valid nodes: the best first to survive the cap, shown in the order they were made; drafts
also see drafts that failed, the latest first, where there is room. Debugging sees the chain of failed ancestors of its
node. What is left out is counted. Test scores are not in nodes at all.
"""

import math
from bisect import insort
from collections.abc import Callable, Sequence
from dataclasses import dataclass

from aira_bench.excerpts import TOLD_PLAN_CHARS, TOLD_REASON_CHARS
from aira_bench.record.growing import tallied
from aira_bench.record.node import Journal, Node, nodes_by_step

MEMORY_CHARS = 12000


@dataclass(frozen=True)
class RememberedStep:
    """One earlier step as a prompt shows it; texts are agent-made and to be quoted."""

    step: int
    made: str
    """By which operator, and from what."""
    outcome: str
    """Class and fitness, the harness's own words."""
    tried: str
    """What it submitted (`tried`)."""
    reason: str
    plan: str
    summary: str


@dataclass(frozen=True)
class Memory:
    """Earlier steps in order, and how many were left out."""

    entries: tuple[RememberedStep, ...]
    left_out: int


Tried = Callable[[Node], str]
"""What a step tried, in words."""


def remember_valid(
    journal: Journal,
    tried: Tried = lambda node: "",
    *,
    lower_is_better: bool,
    failed_drafts: bool = False,
    limit: int = MEMORY_CHARS,
) -> Memory:
    """Return the valid steps for a prompt; where not all fit, those of best fitness."""
    ranked = tallied(journal, _Ranked, lower_is_better)
    return _fit([*ranked.valid, *(reversed(ranked.failed_drafts) if failed_drafts else ())], tried, limit)


class _Ranked:
    """Valid steps, the best first, and drafts that failed, in their order."""

    def __init__(self, lower_is_better: bool) -> None:
        self.valid: list[Node] = []
        self.failed_drafts: list[Node] = []
        self._sign = 1.0 if lower_is_better else -1.0

    def add(self, node: Node) -> None:
        if node.is_valid:
            insort(self.valid, node, key=self._rank)
        elif node.is_buggy and node.operator == "draft":
            self.failed_drafts.append(node)

    def _rank(self, node: Node) -> tuple[float, int]:
        known = node.fitness is not None and math.isfinite(node.fitness)
        return (self._sign * (node.fitness or 0.0) if known else math.inf, node.step)


def remember_ancestors(
    journal: Journal, step: int, tried: Tried = lambda node: "", *, limit: int = MEMORY_CHARS
) -> Memory:
    """Return the failed step and the failed steps it was made from; where not all fit, the nearest."""
    by_step = nodes_by_step(journal)
    chain: list[Node] = []
    at: Node | None = by_step.get(step)
    while at is not None and at.is_buggy:
        chain.append(at)
        at = by_step.get(at.parents[0]) if at.parents else None
    return _fit(chain, tried, limit)


def _fit(nodes: Sequence[Node], tried: Tried, limit: int) -> Memory:
    entries: list[RememberedStep] = []
    used = 0
    for node in nodes:
        entry = _entry(node, tried)
        texts = (entry.made, entry.outcome, entry.tried, entry.reason, entry.plan, entry.summary)
        used += sum(map(len, texts)) + 40
        if used > limit:
            break
        entries.append(entry)
    return Memory(tuple(sorted(entries, key=lambda entry: entry.step)), len(nodes) - len(entries))


def _entry(node: Node, tried: Tried) -> RememberedStep:
    made = f"{node.operator} of {' and '.join(map(str, node.parents))}" if node.parents else node.operator
    return RememberedStep(
        node.step, made, node.outcome, tried(node), node.reason[:TOLD_REASON_CHARS], node.plan[:TOLD_PLAN_CHARS],
        node.summary[:TOLD_PLAN_CHARS],
    )  # fmt: skip
