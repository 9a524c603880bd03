"""Counterparts of figures 12 and 13 and tables 5 and 19 to 21: scripts, their best scores and what improved them.

Improvement steps are compared with the best step before them, as the paper does (`aira_bench.analysis.improvements`).

Not covered: the curve of the original Autoresearch repository in figure 13, which is not published as numbers.
"""

import statistics
from collections.abc import Sequence
from dataclasses import dataclass, replace

from aira_bench.analysis.improvements import Improvement, improvement_steps, run_improvements
from aira_bench.analysis.tables import make_tables
from aira_bench.boards.board_runs import not_comparable
from aira_bench.boards.published_rows import WITH_LITERATURE
from aira_bench.boards.replicates import by_seed
from aira_bench.errors import AiraError
from aira_bench.figures.charts import (
    NONE,
    NoCounterpart,
    PaperTable,
    Result,
    SeedValue,
    StepChart,
    StripChart,
    Trajectory,
)
from aira_bench.figures.material import FigureSource, measured
from aira_bench.published_tables import read_table
from aira_bench.record.node import best_node
from aira_bench.record.run_record import RunRecord
from aira_bench.record.seed_record import SeedRecord

LEAST_SEEDS = 3
"""Of an agent, for quartiles."""
_MOST_LINES = 6
"""Colours that can be told apart."""
_LITERATURE = " +Lit"
_ARTIFACTS = {
    "spread": ("figure12_best_bpb", "Figure 12"),
    "lines": ("figure13_trajectories", "Figure 13"),
    "steps": ("table05_improvement_steps", "Table 5"),
    "features": ("table19_features", "Table 19"),
    "toggles": ("table20_toggles", "Table 20"),
    "categories": ("table21_categories", "Table 21"),
}


@dataclass(frozen=True)
class _Best:
    """The best seed of an agent, by the score that drove its search."""

    line: Trajectory
    run: RunRecord
    seed: SeedRecord


def script_results(material: FigureSource) -> list[Result]:
    """Return the counterparts of figures 12 and 13 and of tables 5 and 19 to 21."""
    tasks = material.tasks
    if not tasks:
        return [NoCounterpart(*named, "no run is on an autoresearch task") for named in _ARTIFACTS.values()]
    best = sorted(_best_seeds(material, tasks), key=lambda each: (_rank(each, material, tasks), each.line.agent))
    shown = best[:_MOST_LINES]
    found, why = _improvements(material.runs_on(tasks))
    return [
        _spread(material, tasks),
        _lines(material, tasks, shown, len(best)),
        _steps(material, shown, found, why),
        *_tables(material, tasks, found, why),
    ]


def _improvements(runs: Sequence[RunRecord]) -> tuple[list[Improvement], str]:
    """All improvement steps, and why there are none where a script cannot be read."""
    try:
        return [each for run in runs for each in run_improvements(run, "best")], ""
    except AiraError as error:
        return [], error.message


def _agent(name: str, title: str) -> str:
    return name + (_LITERATURE if title == WITH_LITERATURE else "")


def _spread(material: FigureSource, tasks: Sequence[str]) -> Result:
    name, number = _ARTIFACTS["spread"]
    found: dict[str, tuple[SeedValue, ...]] = {}
    for task in tasks:
        for agent, row in material.rows(task):
            values = by_seed(row.ended, lambda each: each.best_test)
            runs = {each.seed: material.behind.runs[each.run_id].name for each in row.ended}
            made = [SeedValue(runs[seed], seed, statistics.fmean(each)) for seed, each in values.items()]
            if made:
                found[_unused(_agent(agent, material.section(task).task), found)] = tuple(
                    sorted(made, key=lambda each: (each.value, each.seed))
                )
    most = max(map(len, found.values()), default=0)
    if most < LEAST_SEEDS:
        return NoCounterpart(
            name,
            number,
            f"too few seeds: a distribution needs {LEAST_SEEDS} scored seeds of an agent, the most is {most}",
        )
    sign = 1.0 if material.section(tasks[0]).lower_is_better else -1.0
    order = sorted(found, key=lambda agent: (sign * statistics.median(each.value for each in found[agent]), agent))
    chart = StripChart(
        measured(material.section(tasks[0]), "best test"), tuple(order), tuple(found[agent] for agent in order),
        _baseline(material, tasks[0]),
    )  # fmt: skip
    caption = (
        "Best test score of any step, submitted or not, a dot for each seed that ended with a scored step; boxes are "
        f"quartiles, the thick line is the median; agents of fewer than {LEAST_SEEDS} seeds have no box. Several runs "
        "of a seed count as their mean. +Lit: with literature."
    )
    return material.drawn(name, number, caption, chart, tasks)


def _unused(agent: str, found: dict[str, tuple[SeedValue, ...]]) -> str:
    """The name; of tables that do not compare, with a number."""
    return agent if agent not in found else f"{agent} ({sum(name.startswith(agent) for name in found) + 1})"


def _baseline(material: FigureSource, task: str) -> tuple[str, float] | None:
    """The published score of the script that agents begin with, where scores compare with it."""
    if not_comparable(material.section(task)):
        return None
    claims = {row["claim"]: row["value"] for row in read_table("headline", ("claim", "value"))}
    return "published baseline", float(claims["Autoresearch baseline"])


def _best_seeds(material: FigureSource, tasks: Sequence[str]) -> list[_Best]:
    """Of each agent on each task the seed with the best final search score, ended or not; the first of equals."""
    found = []
    for task in tasks:
        lower = material.section(task).lower_is_better
        for agent, row in material.rows(task):
            seeds = [(material.behind.runs[each.run_id], material.behind.seed(each)) for each in row.results]
            lines = [
                _Best(line, run, seed)
                for run, seed in seeds
                if (line := _trajectory(_agent(agent, material.section(task).task), run, seed, lower=lower))
            ]
            if lines:
                found.append(min(lines, key=lambda each: each.line.values[-1] * (1.0 if lower else -1.0)))
    return found


def _trajectory(agent: str, run: RunRecord, seed: SeedRecord, *, lower: bool) -> Trajectory | None:
    """The steps at which a seed's best search score changed; None where no step has one."""
    first = next((node for node in seed.nodes if node.is_valid and node.fitness is not None), None)
    if first is None or best_node(seed.nodes, lower_is_better=lower) is None:
        return None
    nodes = [first, *(node for node, _ in improvement_steps(seed.nodes, lower_is_better=lower, against="best"))]
    values = tuple(node.fitness for node in nodes if node.fitness is not None)
    return Trajectory(agent, run.name, seed.seed, tuple(node.step for node in nodes), values, seed.nodes[-1].step)


def _rank(best: _Best, material: FigureSource, tasks: Sequence[str]) -> float:
    return best.line.values[-1] * (1.0 if material.section(tasks[0]).lower_is_better else -1.0)


def _lines(material: FigureSource, tasks: Sequence[str], shown: Sequence[_Best], all_agents: int) -> Result:
    name, number = _ARTIFACTS["lines"]
    if not shown:
        return NoCounterpart(name, number, "no step is valid and has a search score")
    lines = tuple(replace(each.line, agent=f"{each.line.agent} (seed {each.seed.seed})") for each in shown)
    chart = StepChart(measured(material.section(tasks[0]), "best search"), lines, _baseline(material, tasks[0]))
    left_out = "" if all_agents <= len(shown) else f" The best {len(shown)} of {all_agents} agents are drawn."
    caption = (
        "Search score of the best step so far: of each agent the seed with the best final one, so this is its "
        f"luckiest seed and no estimate of it. Markers are improvement steps.{left_out} +Lit: with literature."
    )
    return material.drawn(
        name, number, caption, chart, material.tasks, tuple(dict.fromkeys(each.run.name for each in shown))
    )


def _steps(material: FigureSource, shown: Sequence[_Best], found: Sequence[Improvement], why: str) -> Result:
    name, number = _ARTIFACTS["steps"]
    if why or not shown:
        return NoCounterpart(name, number, why or "no step is valid and has a search score")
    by_place = {(each.run, each.seed, each.step): each for each in found}
    body = []
    for each in shown:
        last = None
        for count, (step, value) in enumerate(zip(each.line.steps, each.line.values, strict=True)):
            at = by_place.get((each.run.name, each.seed.seed, step))
            gain = NONE if last is None else f"{abs(value - last):.4f}"
            changed = "first valid step" if at is None else _changes(at)
            body.append((each.line.agent, str(each.seed.seed), str(count), str(step), f"{value:.4f}", gain, changed))
            last = value
    header = ("Agent", "Seed", "Improvement", "Step", "Search score", "Gain", "Features changed")
    caption = (
        "Improvement steps of each agent's best seed, as in Figure 13, with the features in which the script differs "
        "from that of the best step before; there are 27 features, and what else changed is not named. +Lit: with "
        "literature."
    )
    return material.drawn(
        name,
        number,
        caption,
        PaperTable(header, tuple(body), wide=(0, 6)),
        material.tasks,
        tuple(dict.fromkeys(each.run.name for each in shown)),
    )


def _changes(step: Improvement) -> str:
    if not step.read:
        return "script not read"
    told = []
    for feature, (before, after) in step.changed.items():
        if isinstance(before, bool) or isinstance(after, bool):
            told.append(f"{feature} {'on' if after else 'off'}")
        else:
            told.append(f"{feature} {_value(before)} to {_value(after)}")
    return ", ".join(told) or "none of the 27"


def _value(value: object) -> str:
    return "unset" if value is None else f"{value:g}" if isinstance(value, float) else str(value)


def _tables(material: FigureSource, tasks: Sequence[str], found: Sequence[Improvement], why: str) -> list[Result]:
    named = [_ARTIFACTS[each] for each in ("features", "toggles", "categories")]
    if not found:
        return [NoCounterpart(*each, why or "no step improved on the first valid one of its seed") for each in named]
    tables = make_tables(found)
    told = f"{len(found)} improvement steps of {len({(each.run, each.seed) for each in found})} seeds"
    credited = f"Over {told}; each feature is credited with the whole gain of a step, whose others changed it too."
    features = PaperTable(
        ("Feature", "Category", "Count", "Solo", "Median gain", "Mean gain", "Best gain", "Solo median"),
        tuple(
            (
                row.feature, row.category, str(row.count), str(row.solo),
                *_gains(row.delta_median, row.delta_mean, row.delta_best, row.solo_median),
            )
            for row in tables.features
        ),
    )  # fmt: skip
    toggles = PaperTable(
        ("Feature", "Added", "Median gain", "Removed", "Median gain", "Verdict"),
        tuple(
            (
                row.feature, str(row.add_count), *_gains(row.add_median), str(row.remove_count),
                *_gains(row.remove_median), row.verdict,
            )
            for row in tables.toggles
        ),
    )  # fmt: skip
    categories = PaperTable(
        ("Category", "Count", "Share of improvements", "Median gain", "Mean gain", "Best gain"),
        tuple(
            (
                row.category, str(row.count), f"{row.percent_of_improvements:.0f} %",
                *_gains(row.delta_median, row.delta_mean, row.delta_best),
            )
            for row in tables.categories
        ),
    )  # fmt: skip
    rest = (
        f" Steps that changed none of the 27 features: {tables.unattributed}; scripts read as text: "
        f"{tables.read_as_text}; not read: {tables.not_read}."
    )
    results: list[Result] = []
    for (name, number), table in zip(named, (features, toggles, categories), strict=True):
        if table.body:
            results.append(material.drawn(name, number, credited + rest, table, tasks))
        else:
            results.append(NoCounterpart(name, number, "no improvement step changed one of its features"))
    return results


def _gains(*values: float | None) -> list[str]:
    return [NONE if value is None else f"{value:.4f}" for value in values]
