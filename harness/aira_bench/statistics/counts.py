"""How runs and steps ended: counts of every class, and both definitions of the valid submission rate.

The paper counts every run: VSR = submitted runs / all runs (section 5, equation 1). A run that infrastructure took says
nothing about its agent, so ours leaves it out, and counts no submission that a control disqualified.

Not covered: which class a step is; the record says so.
"""

from collections import Counter
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass

import numpy as np
from scipy import stats

from aira_bench.statistics.arrays import LEVEL, IntervalEstimate


@dataclass(frozen=True)
class Submissions:
    """How the runs of an agent on a task ended."""

    valid: int
    """Submitted a valid solution that may be ranked."""
    disqualified: int
    """Submitted one that a control found against."""
    none: int
    """Ended without a valid solution, by the agent's own doing."""
    lost: int
    """Infrastructure left nothing to judge."""

    @property
    def runs(self) -> int:
        """How many runs there were in all."""
        return self.valid + self.disqualified + self.none + self.lost

    @property
    def published_rate(self) -> float | None:
        """The paper's VSR: whatever was submitted over all runs; None without runs."""
        return (self.valid + self.disqualified) / self.runs if self.runs else None

    @property
    def rate(self) -> float | None:
        """Ours: rankable submissions over runs that infrastructure did not take; None without any."""
        judged = self.runs - self.lost
        return self.valid / judged if judged else None

    def interval(self, level: float = LEVEL) -> tuple[float, float] | None:
        """Return the exact interval of our rate (Clopper and Pearson 1934); None without judged runs.

        Args:
            level: least coverage.
        """
        judged = self.runs - self.lost
        if not judged:
            return None
        found = stats.binomtest(self.valid, judged).proportion_ci(level, method="exact")
        return float(found.low), float(found.high)


def mean_rate(rates: Sequence[float | None], level: float = LEVEL) -> IntervalEstimate | None:
    """Return an agent's mean rate over tasks with Student's interval over tasks, as AIRS-Bench plots it.

    Args:
        rates: of each task, either definition; those that are None are left out.
        level: nominal coverage. The interval is of tasks, not of seeds, and is cut off at 0 and 1.
    """
    known = np.array([rate for rate in rates if rate is not None])
    if known.size == 0:
        return None
    mean = float(known.mean())
    if known.size == 1:
        return IntervalEstimate(mean, None, None, 1)
    half = float(stats.t.ppf((1 + level) / 2, known.size - 1) * known.std(ddof=1) / np.sqrt(known.size))
    return IntervalEstimate(mean, max(0.0, mean - half), min(1.0, mean + half), int(known.size))


def class_counts(steps: Mapping[str, Iterable[str]]) -> tuple[tuple[str, ...], dict[str, tuple[int, ...]]]:
    """Count how often each agent's steps came out how.

    Args:
        steps: of each agent the classes of its steps.

    Returns:
        all classes, most frequent first and then by name, and each agent's counts in that order, zeros included.
    """
    counted = {agent: Counter(classes) for agent, classes in steps.items()}
    total = sum(counted.values(), Counter[str]())
    names = tuple(sorted(total, key=lambda name: (-total[name], name)))
    return names, {agent: tuple(counts[name] for name in names) for agent, counts in counted.items()}
