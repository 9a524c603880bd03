"""What a prompt tells of earlier steps, under a length cap.

Drafts and improvements see valid nodes: the best first to survive the cap, shown in the order they were made. Debugging
sees the chain of failed ancestors of its node. What is left out is counted. Test scores are not in nodes at all.
"""

import math
from collections.abc import Sequence
from dataclasses import dataclass

from aira_bench.excerpts import TOLD_PLAN_CHARS, TOLD_REASON_CHARS
from aira_bench.record.node import Journal, Node

MEMORY_CHARS = 12000


@dataclass(frozen=True)
class RememberedStep:
    """One earlier step as a prompt shows it; texts are agent-made and to be quoted."""

    step: int
    outcome: str
    """Class and fitness, the harness's own words."""
    reason: str
    plan: str
    summary: str


@dataclass(frozen=True)
class Memory:
    """Earlier steps in order, and how many were left out."""

    entries: tuple[RememberedStep, ...]
    left_out: int


def remember_valid(journal: Journal, *, lower_is_better: bool, limit: int = MEMORY_CHARS) -> Memory:
    """Return the valid steps for a prompt; where not all fit, those of best fitness."""
    valid = [node for node in journal if node.is_valid]
    sign = 1.0 if lower_is_better else -1.0

    def rank(node: Node) -> tuple[float, int]:
        known = node.fitness is not None and math.isfinite(node.fitness)
        return (sign * (node.fitness or 0.0) if known else math.inf, node.step)

    return _fit(sorted(valid, key=rank), limit)


def remember_ancestors(journal: Journal, step: int, *, limit: int = MEMORY_CHARS) -> Memory:
    """Return the failed step and the failed steps it was made from; where not all fit, the nearest."""
    by_step = {node.step: node for node in journal}
    chain: list[Node] = []
    at: Node | None = by_step.get(step)
    while at is not None and at.is_buggy:
        chain.append(at)
        at = by_step.get(at.parents[0]) if at.parents else None
    return _fit(chain, limit)


def _fit(nodes: Sequence[Node], limit: int) -> Memory:
    entries: list[RememberedStep] = []
    used = 0
    for node in nodes:
        entry = _entry(node)
        used += len(entry.outcome) + len(entry.reason) + len(entry.plan) + len(entry.summary) + 40
        if used > limit:
            break
        entries.append(entry)
    return Memory(tuple(sorted(entries, key=lambda entry: entry.step)), len(nodes) - len(entries))


def _entry(node: Node) -> RememberedStep:
    return RememberedStep(
        node.step, node.outcome, node.reason[:TOLD_REASON_CHARS], node.plan[:TOLD_PLAN_CHARS],
        node.summary[:TOLD_PLAN_CHARS],
    )  # fmt: skip
