"""Counterparts of figures 8 to 11: agents beside each other, by best score, submissions, normalized score and gap.

Not covered: how they look (`drawing`).
"""

import statistics
from collections.abc import Callable, Iterable, Mapping, Sequence
from dataclasses import replace

import numpy as np

from aira_bench.boards.board import Table
from aira_bench.boards.endings import entropy, missed_by, submissions_of
from aira_bench.boards.replicates import SeedResult, by_seed
from aira_bench.boards.rows import Row
from aira_bench.figures.charts import Dot, DotChart, DotPanel, NoCounterpart, Result, Series
from aira_bench.figures.material import ARENA, FigureSource, dataset_of, measured, setup_of
from aira_bench.statistics.arrays import IntervalEstimate
from aira_bench.statistics.counts import Submissions
from aira_bench.statistics.resampling import Aggregate, stratified_estimate
from aira_bench.statistics.runs import Runs, mean_over_tasks

BOOTSTRAP = "Bars are 95 % percentile intervals of seeds drawn anew, too narrow where seeds are few"
_PLAIN = "all seeds"
_NO_NORMALIZED = (
    "no task has normalized scores here: they are of profile paper on real data, of tasks with a published state of "
    "the art, and of rows all of whose submissions are confirmed"
)


def best_test(material: FigureSource) -> Result:
    """Return the counterpart of figure 8: the mean over seeds of the best test score of any step."""
    name, number = _named(material, "figure08_best_test", "Figure 8")
    tasks = material.tasks

    def dot(table: Table, agent: str, row: Row) -> Dot | None:
        return _mean_dot(agent, "best", table, row.ended, lambda each: each.best_test)

    chart = _by_task(material, tasks, dot, lambda table: measured(table.section, "best test"))
    if chart is None:
        return NoCounterpart(name, number, _nothing(material) or "no seed that ended has a scored step")
    caption = (
        "Best test score of any step, submitted or not: mean over the seeds that ended with a scored step. "
        f"{BOOTSTRAP}; an agent of one such seed has none; {_seeds(chart)}. It is chosen on test, so it is no "
        "estimate of what the agent hands in."
    )
    return material.drawn(name, number, caption, chart, tasks)


def submission_rates(material: FigureSource) -> Result:
    """Return the counterpart of figure 9: the share of runs that submitted a valid solution."""
    name, number = _named(material, "figure09_valid_submissions", "Figure 9")
    tasks = material.tasks

    def dot(table: Table, agent: str, row: Row) -> Dot | None:
        rate = row.published_submission_rate
        if rate is None:
            return None
        once = len({each.seed for each in row.ended}) == len(row.ended)
        between = _as_published(submissions_of(row)).interval() if once else None
        low, high = between or (None, None)
        return Dot(agent, rate, low, high, len(row.ended))

    chart = _by_task(material, tasks, dot, lambda table: "valid submission rate (share of runs)", ends=(0.0, 1.0))
    if chart is None:
        return NoCounterpart(name, number, _nothing(material) or "no seed has ended")
    caption = (
        "Valid submission rate as the paper defines it (equation 1): seeds that submitted over all seeds that ended, "
        "also those that infrastructure took. Bars are exact 95 % intervals (Clopper and Pearson); where a seed was "
        f"run again there is none; {_seeds(chart)}."
    )
    return material.drawn(name, number, caption, chart, tasks)


def normalized_scores(material: FigureSource) -> Result:
    """Return the counterpart of figure 10: each agent's mean normalized score over tasks."""
    name, number = _named(material, "figure10_normalized", "Figure 10")
    tasks = [task for task in material.tasks if task in material.group.scales]
    if not tasks:
        return NoCounterpart(name, number, _nothing(material) or _NO_NORMALIZED)
    made = []
    for setup in dict.fromkeys(setup_of(material.section(task).task) for task in tasks):
        of_setup = [task for task in tasks if setup_of(material.section(task).task) == setup]
        dots = (Dot.of(agent, each) for agent, each in _normalized(material, setup, of_setup).items())
        made.append(Series(setup or _PLAIN, tuple(dots)))
    axis = "mean normalized score (1: published state of the art)"
    panel = DotPanel(material.part, axis, tuple(made), ("state of the art", 1.0))
    chart = DotChart(_present(material, [made]), (panel,))
    caption = (
        "Mean over tasks of each agent's mean normalized score over seeds (equations 2 and 3), 0 for a seed without "
        f"a submission; 0 lies at the {material.how.worst} worst score of a task. {BOOTSTRAP} within each task; "
        f"{_seeds(chart)}. Rows without a place in their table's order are left out."
    )
    return material.drawn(name, number, caption, chart, tasks)


def best_against_submitted(material: FigureSource) -> Result:
    """Return the counterpart of figure 11: the best test score met, the submission's, and the gap between them."""
    name, number = _named(material, "figure11_generalization_gap", "Figure 11")
    panels, tasks, dots = [], material.tasks, list[Series]()
    for task in tasks:
        table, best, submitted, gaps = material.group.tasks[task], list[Dot](), list[Dot](), list[Dot]()
        for agent, row in material.rows(task):
            both = [each for each in row.ranked if each.best_test is not None and each.test is not None]
            gap = missed_by(row, table.section)
            first = _mean_dot(agent, "best", table, both, lambda each: each.best_test)
            second = _mean_dot(agent, "submitted", table, both, lambda each: each.test)
            if first and second and gap:
                best.append(first)
                submitted.append(second)
                gaps.append(Dot.of(agent, gap))
        if best:
            section = table.section
            series = (Series("best of any step", tuple(best)), Series("submitted", tuple(submitted)))
            panels.append(
                DotPanel(task_title(material, task), measured(section, "test"), (*series, Series(GAP, tuple(gaps))))
            )
            dots += series
    if not panels:
        return NoCounterpart(name, number, _nothing(material) or "no seed ended with a submission that may be ranked")
    chart = DotChart(_present(material, [dots]), tuple(panels), joined=True)
    caption = (
        "Test score of the best step and of the submitted one: means over the seeds whose submission may be ranked, "
        f"joined for each agent. {BOOTSTRAP}; {_seeds(chart)}. The gap between them, with its own interval, is in the "
        "CSV file; it is never below 0."
    )
    return material.drawn(
        name,
        number,
        caption,
        DotChart(_present(material, [dots]), tuple(panels), joined=True),
        tasks,
    )


GAP = "gap"
"""The series that is in the rows of a joined chart and is not drawn: the distance of the two others."""


def task_title(material: FigureSource, task: str) -> str:
    """Return what a panel of one table is called."""
    title = material.section(task).task
    setup = setup_of(title)
    more = task.removeprefix(title)
    return f"{dataset_of(title)}, {setup}{more}" if setup else task


def _named(material: FigureSource, name: str, number: str) -> tuple[str, str]:
    """What a figure is called; the paper's own are of the Long Range Arena alone."""
    return (name, number) if material.part == ARENA else (f"{name}_other_tasks", f"as {number}, {material.part}")


def _nothing(material: FigureSource) -> str:
    """Why there is nothing at all; empty if there is something."""
    return "" if material.tasks else "no run is on a task of the Long Range Arena"


def _by_task(
    material: FigureSource,
    tasks: Sequence[str],
    dot: Callable[[Table, str, Row], Dot | None],
    axis: Callable[[Table], str],
    *,
    ends: tuple[float, float] | None = None,
) -> DotChart | None:
    """A panel for each data set, the two setups of one in two series."""
    panels: dict[str, tuple[str, list[Series]]] = {}
    for task in tasks:
        table = material.group.tasks[task]
        title = table.section.task
        found = [dot(table, agent, row) for agent, row in material.rows(task)]
        dots = tuple(each for each in found if each is not None)
        if dots:
            panel = dataset_of(title) + task.removeprefix(title)
            panels.setdefault(panel, (axis(table), []))[1].append(Series(setup_of(title) or _PLAIN, dots))
    if not panels:
        return None
    made = tuple(DotPanel(panel, said, tuple(series), ends=ends) for panel, (said, series) in panels.items())
    return DotChart(_present(material, [each.series for each in made]), made)


def _present(material: FigureSource, panels: Iterable[Iterable[Series]]) -> tuple[str, ...]:
    there = {dot.agent for panel in panels for series in panel for dot in series.dots}
    return tuple(agent for agent in material.agents if agent in there)


def _seeds(chart: DotChart) -> str:
    """How many seeds the dots rest on."""
    counts = [dot.count for panel in chart.panels for series in panel.series for dot in series.dots]
    return f"n = {min(counts)}" if min(counts) == max(counts) else f"n = {min(counts)} to {max(counts)}"


def _mean_dot(
    agent: str, what: str, table: Table, results: Sequence[SeedResult], value: Callable[[SeedResult], float | None]
) -> Dot | None:
    """The mean over seeds of the means over a seed's runs, as boards have it."""
    found = by_seed(results, value)
    if not found:
        return None
    values = np.array([statistics.fmean(each) for each in found.values()])
    generator = np.random.default_rng(entropy("figures", what, agent, table.section))
    return Dot.of(agent, stratified_estimate([values], Aggregate.MEAN, generator))


def _as_published(found: Submissions) -> Submissions:
    """The same with what the paper's rate counts: whatever was submitted, and what was lost as a failure."""
    return replace(found, valid=found.valid + found.disqualified, disqualified=0, none=found.none + found.lost, lost=0)


def _normalized(material: FigureSource, name: str, tasks: Sequence[str]) -> Mapping[str, IntervalEstimate]:
    scores = normalized_runs(material, tasks)
    generator = np.random.default_rng(entropy("figures", "normalized", name, material.shared))
    return mean_over_tasks(scores, Aggregate.MEAN, generator)


def normalized_runs(material: FigureSource, tasks: Sequence[str]) -> Runs:
    """Return the seeds of some tasks with normalized scores.

    Args:
        material: whose.
        tasks: some that have scales.
    """
    group, how = material.group, material.how
    runs = Runs.of(run for run in group.runs if run.task in tasks)
    return runs.normalized(group.scales, how.worst, how.spacing)
