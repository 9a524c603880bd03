"""What several tables say of the agents that they share: ratings, means over tasks and over agents, bands, tests.

Tables belong together that have profile, hardware, seed set, kind of data and keys in common. Ratings need no common
unit: who scored better on a task won. Means, bands and tests over tasks are of normalized scores, which only tasks of
profile `paper` on real data have. Of several runs of a seed the median one counts, of two the worse, and a failure is
worse than any score: running a seed again buys nothing.

Needs the extra `aira-bench[stats]`. Not covered: estimators (`aira_bench.statistics`), and orders within one table
(`order` beside this).
"""

import math
from collections import Counter, defaultdict
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import asdict, dataclass
from typing import TYPE_CHECKING

from aira_bench.boards.board import Table
from aira_bench.boards.board_runs import BoardRuns
from aira_bench.boards.endings import entropy
from aira_bench.boards.players import player_names
from aira_bench.boards.rows import RowStanding
from aira_bench.record.normalized import PUBLISHED

if TYPE_CHECKING:
    from aira_bench.statistics.arrays import IntervalEstimate
    from aira_bench.statistics.elo import Ratings
    from aira_bench.statistics.normalized import Scale
    from aira_bench.statistics.runs import Run
    from aira_bench.statistics.suite import StatisticsSettings, SuiteStatistics

GREEDY = "greedy"


@dataclass(frozen=True)
class OverTasks:
    """What tables that belong together say of their agents."""

    shared: tuple[str, ...]
    """Profile, hardware, seed set and the like, in words."""
    tasks: tuple[str, ...]
    agents: tuple[str, ...]
    greedy: tuple[str, ...]
    """Those with a greedy scaffold: the left half of the paper's Table 4."""
    ratings: "Ratings | None"
    """None where fewer than two played."""
    statistics: "SuiteStatistics | None"
    """Of the tasks that have normalized scores; None where none has."""
    not_normalized: tuple[str, ...]
    """Tasks that are in ratings alone."""


def over_tasks(
    tables: Sequence[Table], behind: BoardRuns, settings: "StatisticsSettings | None" = None
) -> list[OverTasks]:
    """Return what each group of tables that belong together says.

    Args:
        tables: of a board.
        behind: the runs it was built from.
        settings: how statistics are computed.
    """
    found = (_of_group(shared, group, behind, settings) for shared, group in tables_together(tables).items())
    return [each for each in found if each is not None]


def tables_together(tables: Sequence[Table]) -> dict[tuple[str, ...], list[Table]]:
    """Return the tables that belong together, by what they share in words; a word may be empty.

    Args:
        tables: of a board.
    """
    groups: defaultdict[tuple[str, ...], list[Table]] = defaultdict(list)
    for table in tables:
        section = table.section
        kind = "SYNTHETIC DATA" if section.synthetic else "real data"
        keys = f"confirmed under {section.confirmed_under}" if section.confirmed_under else ""
        groups[
            f"profile {section.profile}", section.hardware, f"seeds {section.seed_set}", kind, section.hidden_data, keys
        ].append(table)
    return dict(groups)


@dataclass(frozen=True)
class Played:
    """The seeds behind tables that belong together, as statistics over tasks take them."""

    tasks: Mapping[str, Table]
    """By the task's name, which tells its tables apart where it has several."""
    players: Mapping[str, tuple[str, ...]]
    """Of each task what its rows are called among the rows of all; rows of one agent share a name."""
    runs: tuple["Run", ...]
    """Of rows that have a place in their table's order."""
    scales: Mapping[str, "Scale"]
    """Of the tasks that have normalized scores, whose worst score is worse than the best known one."""
    best_known: Mapping[str, float]
    """Published states of the art, of tasks that compare with them."""
    greedy: frozenset[str]
    """Names of agents with a greedy scaffold."""


def played(tables: Sequence[Table], behind: BoardRuns, how: "StatisticsSettings") -> Played:
    """Return the seeds behind tables that belong together.

    Args:
        tables: that `tables_together` put into one group.
        behind: the runs they were built from.
        how: decides which score is a task's worst.
    """
    by_task = dict(zip(_task_names(tables), tables, strict=True))
    players = dict(zip(by_task, player_names(tables), strict=True))
    found = [run for task, table in by_task.items() for run in _runs(task, table, players[task])]
    known = {name: scale for name in by_task if (scale := _scale(by_task[name], behind)) is not None}
    with_runs = {run.task for run in found}
    scales = {
        name: scale for name, scale in known.items() if name in with_runs and _has_length(found, name, scale, how)
    }
    greedy = {
        name
        for task, table in by_task.items()
        for name, row in zip(players[task], table.rows, strict=True)
        if row.entry.scaffold.partition(":")[0] == GREEDY
    }
    best_known = {name: scale.best_known for name, scale in known.items() if name in with_runs}
    return Played(by_task, players, tuple(found), scales, best_known, frozenset(greedy))


def _of_group(
    shared: tuple[str, ...], tables: Sequence[Table], behind: BoardRuns, settings: "StatisticsSettings | None"
) -> OverTasks | None:
    import numpy as np

    from aira_bench.statistics.runs import Runs
    from aira_bench.statistics.suite import StatisticsSettings, rate, suite_statistics

    how = settings or StatisticsSettings()
    group = played(tables, behind, how)
    if not group.runs:
        return None
    runs, generator = Runs.of(group.runs), np.random.default_rng(entropy("tasks", shared))
    ratings = None if len(runs.agents) + bool(group.best_known) < 2 else rate(
        runs, {name: group.tasks[name].section.lower_is_better for name in runs.tasks}, generator,
        best_known=group.best_known, settings=how,
    )  # fmt: skip
    normalized = [run for run in group.runs if run.task in group.scales]
    statistics = None
    if normalized:
        statistics = suite_statistics(Runs.of(normalized), group.scales, generator, chosen=group.greedy, settings=how)
    return OverTasks(
        tuple(filter(None, shared)),
        runs.tasks,
        runs.agents,
        tuple(sorted(group.greedy & set(runs.agents))),
        ratings,
        statistics,
        tuple(name for name in runs.tasks if name not in group.scales),
    )


def _task_names(tables: Sequence[Table]) -> list[str]:
    """The tasks' names, each with what tells its tables apart where a group has several, and no two alike."""
    count = Counter(table.section.task for table in tables)
    names: list[str] = []
    for section in (table.section for table in tables):
        name = section.task if count[section.task] == 1 else f"{section.task} ({section.evaluator}, {section.data})"
        names.append(name if name not in names else f"{name}, table {len(names) + 1}")
    return names


def _runs(task: str, table: Table, players: Sequence[str]) -> "Iterable[Run]":
    from aira_bench.statistics.runs import Run

    for name, row in zip(players, table.rows, strict=True):
        if row.standing is not RowStanding.CONFIRMED:
            continue
        for seed, scores in row.scores_by_seed.items():
            yield Run(name, task, seed, median_run(scores, lower_is_better=table.section.lower_is_better))


def median_run(scores: Sequence[float | None], *, lower_is_better: bool) -> float | None:
    """Return the median of a seed's runs, the worse of two in the middle; a failure is worse than any score.

    Args:
        scores: at least one, None of a failure.
        lower_is_better: whether the best is the least.
    """
    sign = -1.0 if lower_is_better else 1.0
    ordered = sorted(scores, key=lambda score: -math.inf if score is None else sign * score)
    return ordered[(len(ordered) - 1) // 2]


def _scale(table: Table, behind: BoardRuns) -> "Scale | None":
    from aira_bench.statistics.normalized import Scale

    anchors = behind.anchors(table)
    if anchors is None or PUBLISHED not in anchors.sota:
        return None
    return Scale(anchors.worst, anchors.sota[PUBLISHED], anchors.optimum, lower_is_better=table.section.lower_is_better)


def _has_length(runs: "Sequence[Run]", task: str, scale: "Scale", how: "StatisticsSettings") -> bool:
    """Whether the worst score is worse than the best known: the worst observed need not be."""
    from aira_bench.statistics.runs import Runs

    try:
        Runs.of(run for run in runs if run.task == task).normalized({task: scale}, how.worst, how.spacing)
    except ValueError:
        return False
    return True


def over_tasks_records(found: Sequence[OverTasks]) -> list[dict[str, object]]:
    """Return what groups of tables say, for JSON."""
    return [
        {
            "shared": each.shared,
            "tasks": each.tasks,
            "agents": each.agents,
            "greedy": each.greedy,
            "ratings": _by_name(dict(zip(each.ratings.players, each.ratings.ratings, strict=True)))
            if each.ratings
            else None,
            "normalized": _statistics_record(each.statistics) if each.statistics else None,
            "not_normalized": each.not_normalized,
        }
        for each in found
    ]


def _statistics_record(found: "SuiteStatistics") -> dict[str, object]:
    return {
        "over_tasks": {str(how): _by_name(of_agents) for how, of_agents in found.over_tasks.items()},
        "over_agents": _by_name(found.over_agents),
        "over_greedy_agents": _by_name(found.over_chosen_agents),
        "bands": {name: str(band) for name, band in found.bands.items()},
        "ranks": {
            name: {"best_rank": rank.best, "worst_rank": rank.worst}
            for name, rank in zip(found.agents, found.ranks, strict=True)
        },
        "comparisons": [
            asdict(each)
            | {"first": found.agents[each.first], "second": found.agents[each.second], "verdict": str(each.verdict)}
            | {"difference": each.difference if each.blocks else None}
            for each in found.comparisons
        ],
    }


def _by_name(estimates: "Mapping[str, IntervalEstimate]") -> dict[str, object]:
    return {name: asdict(estimate) for name, estimate in estimates.items()}


def over_tasks_lines(found: OverTasks) -> list[str]:
    """Return what people read of a group of tables.

    Args:
        found: of one group.
    """
    tasks = "one task" if len(found.tasks) == 1 else f"{len(found.tasks)} tasks"
    lines = [f"Over {tasks} ({', '.join(found.tasks)}), {', '.join(found.shared)}"]
    if found.ratings is None:
        lines.append("  No ratings: one agent alone.")
    else:
        lines.append("  Ratings (Bradley-Terry on the Elo scale, mean 1000; intervals from runs drawn anew):")
        rated = zip(found.ratings.players, found.ratings.ratings, strict=True)
        for name, rating in sorted(rated, key=lambda each: -each[1].value):
            lines.append(f"    {name}: {_shown(rating, 0)}")
    if found.not_normalized and found.ratings:
        lines.append(f"  In ratings alone, without normalized scores: {', '.join(found.not_normalized)}.")
    return lines + (_statistics_lines(found) if found.statistics else [])


def _statistics_lines(group: OverTasks) -> list[str]:
    from aira_bench.statistics.resampling import Aggregate

    found = group.statistics
    assert found is not None
    lines = ["  Normalized scores over tasks (mean; median; interquartile mean), ranks with ties:"]
    means = found.over_tasks[Aggregate.MEAN]
    for name, rank in sorted(zip(found.agents, found.ranks, strict=True), key=lambda each: -means[each[0]].value):
        shown = "; ".join(_shown(found.over_tasks[how][name], 3) for how in Aggregate)
        lines.append(f"    rank {rank}: {name}: {shown}")
    told = sum(each.why == "" for each in found.comparisons)
    lines.append(f"    {told} of {len(found.comparisons)} pairs are told apart (paired permutation, one family).")
    lines.append("  Tasks, by difficulty (mean over greedy agents; over all agents):")
    for task, mean in sorted(found.over_agents.items(), key=lambda each: -each[1].value):
        greedy = found.over_chosen_agents.get(task)
        lines.append(f"    {task}, {found.bands[task]}: {_shown(greedy, 3) if greedy else '-'}; {_shown(mean, 3)}")
    return lines


def _shown(estimate: "IntervalEstimate", places: int) -> str:
    between = "" if estimate.low is None else f" ({estimate.low:.{places}f} to {estimate.high:.{places}f})"
    return f"{estimate.value:.{places}f}{between}"
