"""All statistics of a set of runs at once: what a board of agents says of them.

Runs share tasks, data and conditions, or they do not belong in one call. Not covered: reading and printing them.
"""

from collections.abc import Collection, Mapping
from dataclasses import dataclass

import numpy as np

from aira_bench.statistics import elo
from aira_bench.statistics.arrays import Floats, IntervalEstimate
from aira_bench.statistics.normalized import Scale, Spacing
from aira_bench.statistics.paired import DRAWS, PairComparison, RankRange, compare, rank_ranges
from aira_bench.statistics.resampling import RESAMPLES, Aggregate
from aira_bench.statistics.runs import Band, Runs, Worst, difficulty_bands, mean_over_agents, mean_over_tasks


@dataclass(frozen=True)
class StatisticsSettings:
    """How statistics are computed; records and boards print it."""

    worst: Worst = Worst.FIXED
    spacing: Spacing = Spacing.MARCH_OF_NINES
    resamples: int = RESAMPLES
    rating_resamples: int = 1000
    draws: int = DRAWS
    level: float = 0.95
    alpha: float = 0.05


@dataclass(frozen=True)
class SuiteStatistics:
    """What several tasks say of several agents, in normalized scores."""

    agents: tuple[str, ...]
    over_tasks: Mapping[Aggregate, Mapping[str, IntervalEstimate]]
    """Each agent's mean, median and interquartile mean over tasks."""
    over_agents: Mapping[str, IntervalEstimate]
    """Each task's mean over agents."""
    over_chosen_agents: Mapping[str, IntervalEstimate]
    """The same over the agents asked for: the left half of Table 4 where those are the greedy ones."""
    bands: Mapping[str, Band]
    ratings: elo.Ratings
    comparisons: tuple[PairComparison, ...]
    ranks: tuple[RankRange, ...]
    """In the order of `agents`."""


def suite_statistics(
    runs: Runs,
    scales: Mapping[str, Scale],
    generator: np.random.Generator,
    *,
    chosen: Collection[str] | None = None,
    settings: StatisticsSettings | None = None,
) -> SuiteStatistics:
    """Compute everything that a board of several tasks says of its agents.

    Args:
        runs: scores in the tasks' own units.
        scales: the anchors of every task.
        generator: where all draws come from; the same state gives the same numbers.
        chosen: agents for `over_chosen_agents`, by default all.
        settings: how it is computed.

    Raises:
        KeyError: a task has no scale.
        ValueError: a task's scale has no length.
    """
    how = settings or StatisticsSettings()
    scores = runs.normalized(scales, how.worst, how.spacing)
    over_tasks = {
        each: mean_over_tasks(scores, each, generator, resamples=how.resamples, level=how.level) for each in Aggregate
    }
    over_agents = mean_over_agents(scores, generator, resamples=how.resamples, level=how.level)
    over_chosen = mean_over_agents(scores, generator, among=chosen, resamples=how.resamples, level=how.level)
    comparisons = compare(scores.blocks(), generator, alpha=how.alpha, draws=how.draws)
    return SuiteStatistics(
        runs.agents,
        over_tasks,
        over_agents,
        over_chosen,
        difficulty_bands({name: estimate.value for name, estimate in over_agents.items()}),
        rate(
            runs, {name: scale.lower_is_better for name, scale in scales.items()}, generator,
            best_known={name: scale.best_known for name, scale in scales.items()}, settings=how,
        ),
        comparisons,
        rank_ranges(len(runs.agents), comparisons),
    )  # fmt: skip


def rate(
    runs: Runs,
    lower_is_better: Mapping[str, bool],
    generator: np.random.Generator,
    *,
    best_known: Mapping[str, float] | None = None,
    settings: StatisticsSettings | None = None,
) -> elo.Ratings:
    """Rate agents by who beat whom on each task, which needs no common unit.

    Args:
        runs: scores in the tasks' own units.
        lower_is_better: of every task whether the best score is the least.
        generator: where the draws come from.
        best_known: of tasks that have one the published state of the art, which is a player; by default there is none.
        settings: how many resamples, at which level.

    Raises:
        KeyError: a task is not in `lower_is_better`.
    """
    how = settings or StatisticsSettings()
    tasks: list[dict[str, Floats]] = [{} for _ in runs.tasks]
    signs = [-1.0 if lower_is_better[name] else 1.0 for name in runs.tasks]
    for (agent, task), cell in runs.cells.items():
        tasks[task][runs.agents[agent]] = signs[task] * cell
    known = best_known or {}
    best = [sign * known[name] if name in known else None for sign, name in zip(signs, runs.tasks, strict=True)]
    return elo.ratings(tasks, generator, best_known=best, resamples=how.rating_resamples, level=how.level)
