"""Runs as columns, and the means over agents and over tasks that the paper's Table 4 and Figure 10 show.

Not covered: reading runs (`aira_bench.boards` does), and which of them share a table.
"""

import math
from collections.abc import Collection, Iterable, Mapping
from dataclasses import dataclass
from enum import StrEnum
from functools import cached_property
from itertools import pairwise

import numpy as np

from aira_bench.statistics.arrays import LEVEL, Floats, Integers, IntervalEstimate
from aira_bench.statistics.normalized import Scale, Spacing, normalized_scores, observed_worst
from aira_bench.statistics.resampling import RESAMPLES, Aggregate, stratified_estimate


@dataclass(frozen=True)
class Run:
    """One seed of one agent on one task."""

    agent: str
    task: str
    seed: int
    score: float | None
    """In the task's unit; None without a valid submission."""


@dataclass(frozen=True)
class Runs:
    """Many runs, column by column. Columns have the shape (runs,)."""

    agents: tuple[str, ...]
    tasks: tuple[str, ...]
    agent: Integers
    """Of each run the place of its agent in `agents`."""
    task: Integers
    seed: Integers
    score: Floats
    """In the task's unit, or normalized; NaN without a valid submission."""

    @classmethod
    def of(cls, runs: Iterable[Run]) -> "Runs":
        """Make columns; agents and tasks are sorted by name, so that the order of runs says nothing.

        Args:
            runs: at least one.

        Raises:
            ValueError: there is none, an agent has a seed of a task twice, or a score is no finite number.
        """
        rows = sorted(runs, key=lambda run: (run.agent, run.task, run.seed))
        if not rows:
            raise ValueError("statistics need at least one run")
        keys = [(run.agent, run.task, run.seed) for run in rows]
        for key, after in pairwise(keys):
            if key == after:
                raise ValueError(f"agent {key[0]!r} has seed {key[2]} of {key[1]!r} twice")
        if odd := [run for run in rows if run.score is not None and not math.isfinite(run.score)]:
            raise ValueError(f"a score is a finite number or None, not {odd[0].score} of {odd[0].agent!r}")
        agents, tasks = tuple(sorted({key[0] for key in keys})), tuple(sorted({key[1] for key in keys}))
        by_agent = {name: index for index, name in enumerate(agents)}
        place = {name: index for index, name in enumerate(tasks)}
        return cls(
            agents, tasks,
            np.array([by_agent[run.agent] for run in rows], np.int64),
            np.array([place[run.task] for run in rows], np.int64),
            np.array([run.seed for run in rows], np.int64),
            np.array([np.nan if run.score is None else run.score for run in rows], np.float64),
        )  # fmt: skip

    @cached_property
    def cells(self) -> Mapping[tuple[int, int], Floats]:
        """Scores of each agent (first) on each task (second) that has runs, by seed."""
        codes = self.agent * len(self.tasks) + self.task
        starts = np.flatnonzero(np.diff(codes, prepend=-1))
        parts = np.split(self.score, starts[1:])
        return {divmod(int(codes[start]), len(self.tasks)): part for start, part in zip(starts, parts, strict=True)}

    def normalized(self, scales: Mapping[str, Scale], worst: "Worst", spacing: Spacing) -> "Runs":
        """Return the same runs with normalized scores, 0 for a failed one.

        Args:
            scales: of every task.
            worst: which score is the worst.
            spacing: how scores are spaced.

        Raises:
            KeyError: a task has no scale.
            ValueError: a task's worst score is no worse than its best known one.
        """
        scores = np.empty_like(self.score)
        for index, name in enumerate(self.tasks):
            mine, scale = self.task == index, scales[name]
            if worst is Worst.OBSERVED:
                lowest = _worst_of(self.score[mine], scale)
                scale = Scale(lowest, scale.best_known, scale.optimum, scale.lower_is_better)
            scores[mine] = normalized_scores(self.score[mine], scale, spacing)
        return Runs(self.agents, self.tasks, self.agent, self.task, self.seed, scores)

    def blocks(self) -> Floats:
        """Return scores by agent and block, shape (agents, blocks); a block is a seed of a task, NaN where not run."""
        keys = np.stack([self.task, self.seed], axis=1)
        _, block = np.unique(keys, axis=0, return_inverse=True)
        found = np.full((len(self.agents), int(block.max()) + 1), np.nan)
        found[self.agent, block.reshape(-1)] = self.score
        return found


class Worst(StrEnum):
    """Which score of a task is its worst."""

    FIXED = "fixed"
    """The one in the task's metadata: a board does not change its past."""
    OBSERVED = "observed"
    """The worst valid score of all agents and seeds, as in the paper (section 5): it moves with every run added."""


def _worst_of(scores: Floats, scale: Scale) -> float:
    """Without a valid score all are 0 on any scale; the fixed one serves."""
    return observed_worst(scores, lower_is_better=scale.lower_is_better) if np.isfinite(scores).any() else scale.worst


def mean_over_tasks(
    runs: Runs, how: Aggregate, generator: np.random.Generator, *, resamples: int = RESAMPLES, level: float = LEVEL
) -> dict[str, IntervalEstimate]:
    """Return each agent's aggregate over the tasks it ran (the paper's Figure 10), resampled within tasks.

    Args:
        runs: normalized scores; other units have no mean over tasks.
        how: mean, median or interquartile mean.
        generator: where the draws come from.
        resamples: how many resamples each interval is made of.
        level: nominal coverage.
    """
    return {
        name: stratified_estimate(
            [cell for (agent, _), cell in runs.cells.items() if agent == index], how, generator,
            resamples=resamples, level=level,
        )
        for index, name in enumerate(runs.agents)
    }  # fmt: skip


def mean_over_agents(
    runs: Runs,
    generator: np.random.Generator,
    *,
    among: Collection[str] | None = None,
    resamples: int = RESAMPLES,
    level: float = LEVEL,
) -> dict[str, IntervalEstimate]:
    """Return each task's mean over agents of their means over seeds (one half of the paper's Table 4).

    Table 4 shows the mean over the 12 greedy agents and over all 20. An agent's seeds count as one mean, so that agents
    with more seeds weigh no more; eight agents at 0 make 12/20 of the greedy mean.

    Args:
        runs: normalized scores.
        generator: where the draws come from.
        among: agents to take the mean over, by default all; a task that none of them ran is left out.
        resamples: how many resamples each interval is made of; seeds are drawn within agents, agents are not drawn.
        level: nominal coverage.
    """
    chosen = {index for index, name in enumerate(runs.agents) if among is None or name in among}
    found = {}
    for index, name in enumerate(runs.tasks):
        strata = [cell for (agent, task), cell in runs.cells.items() if task == index and agent in chosen]
        if strata:
            found[name] = stratified_estimate(strata, Aggregate.MEAN, generator, resamples=resamples, level=level)
    return found


class Band(StrEnum):
    """How hard a task is among those it is ranked with."""

    EASY = "easy"
    MEDIUM = "medium"
    HARD = "hard"
    EXPERT = "expert"


def difficulty_bands(means: Mapping[str, float]) -> dict[str, Band]:
    """Quarter tasks by their mean normalized score over agents, the highest first (AIRS-Bench's difficulty bands).

    Equal means share the easier band. With fewer than four tasks, or all equal, some bands stay empty.

    Args:
        means: of each task its mean over agents.
    """
    bands, ordered = tuple(Band), sorted(means.values(), reverse=True)
    return {name: bands[ordered.index(mean) * len(bands) // len(ordered)] for name, mean in means.items()}
