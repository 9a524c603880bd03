"""Where the spread of scores comes from: luck of the search, or noise of training. Standard library alone.

The model is one-way with random effects (Searle, Casella and McCulloch 1992, chapter 3): a score is a mean, plus what
its group (a search) adds, plus what its training adds. Boards show both deviations without any library.

Not covered: intervals (`resampling.two_levels`).
"""

import math
from collections.abc import Sequence
from dataclasses import dataclass
from statistics import fmean, variance


@dataclass(frozen=True)
class Components:
    """Two standard deviations, in the unit of the scores."""

    search: float | None
    """Between groups, the noise of training taken out and cut off below at 0; None with fewer than two groups."""
    training: float | None
    """Within groups, pooled; None where no group has two scores."""


def components(groups: Sequence[Sequence[float]]) -> Components:
    """Return the deviation between groups and that within.

    Within is pooled: the sum of squares about the groups' means over their degrees of freedom. Between, the variance of
    the groups' means less what training adds to them, which is the variance within times the mean of one over the
    groups' sizes. In a balanced design these are the estimators of the analysis of variance.

    Args:
        groups: of each search the scores of its trainings; empty ones are left out.
    """
    known = [list(group) for group in groups if len(group)]
    freedom = sum(len(group) - 1 for group in known)
    within = sum((score - fmean(group)) ** 2 for group in known for score in group) / freedom if freedom else None
    between = None
    if len(known) > 1:
        added = (within or 0.0) * fmean(1 / len(group) for group in known)
        between = math.sqrt(max(0.0, variance(map(fmean, known)) - added))
    return Components(between, None if within is None else math.sqrt(within))
