"""Counterparts of tables 4, 13 and 14: normalized scores by task, constants tried, and the best modules.

Not covered: how their LaTeX is written (`latex_table`).
"""

from collections.abc import Iterator, Sequence

import numpy as np

from aira_bench.agent_code.reading import NotRead, read_in_process
from aira_bench.boards.endings import entropy
from aira_bench.boards.published_rows import CONFIGURABLE, LRA
from aira_bench.boards.replicates import SeedResult
from aira_bench.boards.rows import Row
from aira_bench.figures.charts import NONE, NoCounterpart, PaperTable, Result
from aira_bench.figures.comparisons import normalized_runs
from aira_bench.figures.material import FigureSource, dataset_of, is_greedy, setup_of
from aira_bench.record.node import Node
from aira_bench.record.normalized import PUBLISHED
from aira_bench.reproduce.against.lra import constants_tried, parameter_names, scored_module, values_tried
from aira_bench.reproduce.against.paper_runs import SeedRun
from aira_bench.statistics.arrays import IntervalEstimate
from aira_bench.statistics.runs import mean_over_agents

_SHOWN_CONSTANTS = ("SEQ_LEN", "NUM_LAYERS", "EMB_DIM", "MLP_DIM", "LR", "BATCH_SIZE")
"""Those that the paper's Table 14 shows."""


def mean_scores(material: FigureSource) -> Result:
    """Return the counterpart of table 4: each task's mean normalized score over greedy agents, and over all."""
    name, number = "table04_normalized_scores", "Table 4"
    tasks = [task for task in material.tasks if task in material.group.scales]
    if not tasks:
        return NoCounterpart(name, number, "no run on the Long Range Arena has normalized scores here (see Figure 10)")
    runs = normalized_runs(material, tasks)
    found = {}
    for who, among in (("greedy", material.group.greedy), ("all", None)):
        generator = np.random.default_rng(entropy("figures", "table 4", who, material.shared))
        found[who] = (mean_over_agents(runs, generator, among=among), _agents(runs.agents, material, who))
    header = [
        "Task",
        *(f"{who} ({count}), {setup}" for who, (_, count) in found.items() for setup in ("non-config.", "config.")),
    ]
    body = [
        (
            dataset,
            *(
                _interval(means.get(_only(material, f"{title}{suffix}", tasks)))
                for means, _ in found.values()
                for suffix in ("", CONFIGURABLE)
            ),
        )
        for title, dataset in LRA.items()
        if any(material.section(task).task.removesuffix(CONFIGURABLE) == title for task in tasks)
    ]  # fmt: skip
    caption = (
        "Mean normalized scores over agents of their means over seeds, 0 for a seed without a submission; 0 lies at "
        f"the {material.how.worst} worst score of a task. In brackets 95 % percentile intervals of seeds drawn anew "
        "within agents; agents are not drawn. The number of agents is that of all tasks together."
    )
    return material.drawn(name, number, caption, PaperTable(tuple(header), tuple(body)), tasks)


def constants(material: FigureSource) -> Result:
    """Return the counterpart of table 13: ranges and numbers of values that greedy agents tried of each constant."""
    name, number = "table13_constants_tried", "Table 13"
    tasks = material.tasks_on([f"{title}{CONFIGURABLE}" for title in LRA])
    if not tasks:
        return NoCounterpart(name, number, "no run is on a configurable task of the Long Range Arena")
    seeds = {task: [each for _, each, row in _ended(material, [task]) if is_greedy(row)] for task in tasks}
    tried = {task: constants_tried(each) for task, each in seeds.items() if each}
    if not any(tried.values()):
        return NoCounterpart(name, number, "no valid step of a greedy agent left a module that sets constants")
    header = ["Parameter", *(f"{_short(material, task)}, {what}" for task in tried for what in ("range", "values"))]
    body = []
    for parameter, names in parameter_names().items():
        cells = [cell for found in tried.values() for cell in _range(values_tried(found, names))]
        if any(cell != NONE for cell in cells):
            body.append((parameter, *cells))
    if not body:
        return NoCounterpart(
            name, number, "the modules of valid steps set none of the constants of the paper's Table 12"
        )
    steps = ", ".join(
        f"{sum(each.result.valid_steps for each in seeds[task])} on {_short(material, task)}" for task in tried
    )
    caption = (
        f"Constants that greedy agents' modules set, over valid steps ({steps}): the range, and how many values there "
        "were."
    )
    used = [task for task in tried if tried[task]]
    return material.drawn(name, number, caption, PaperTable(tuple(header), tuple(body)), used)


def best_modules(material: FigureSource) -> Result:
    """Return the counterpart of table 14: the module with the best test score of any step on each task."""
    name, number = "table14_best_modules", "Table 14"
    tasks, body = material.tasks, []
    if not tasks:
        return NoCounterpart(name, number, "no run is on a task of the Long Range Arena")
    for task in tasks:
        section, anchors = material.section(task), material.behind.anchors(material.group.tasks[task])
        best = _best(material, task)
        if best is not None:
            score, agent, seed, node = best
            sota = f"{anchors.sota[PUBLISHED]:.4f}" if anchors and PUBLISHED in anchors.sota else NONE
            where = f"{seed.run.name} {seed.seed.seed}:{node.step}"
            named, set_to = _described(seed, node)
            body.append(
                (dataset_of(section.task), setup_of(section.task), sota, f"{score:.4f}", agent, named, set_to, where)
            )
    if not body:
        return NoCounterpart(name, number, "no seed that ended has a scored step")
    header = (
        "Task",
        "Setup",
        "State of the art",
        "Test",
        "Agent",
        "Mechanisms its code names",
        "Constants",
        "Run, seed:step",
    )
    caption = (
        "The best test score of any step of each task, submitted or not, and what the code behind it names; it is "
        "chosen on test, over all seeds of all agents. The state of the art is published, and stands where scores "
        "compare with it."
    )
    return material.drawn(name, number, caption, PaperTable(header, tuple(body), wide=(4, 5, 6, 7)), tasks)


def _agents(agents: Sequence[str], material: FigureSource, who: str) -> int:
    return sum(who == "all" or agent in material.group.greedy for agent in agents)


def _only(material: FigureSource, title: str, tasks: Sequence[str]) -> str:
    """The table of a task; of several that do not compare the first by name."""
    return next((task for task in tasks if material.section(task).task == title), "")


def _short(material: FigureSource, task: str) -> str:
    title = material.section(task).task
    return dataset_of(title) + task.removeprefix(title)


def _interval(estimate: IntervalEstimate | None) -> str:
    if estimate is None:
        return NONE
    between = "" if estimate.low is None else f" ({estimate.low:.3f} to {estimate.high:.3f})"
    return f"{estimate.value:.3f}{between}"


def _range(values: Sequence[float]) -> tuple[str, str]:
    if not values:
        return NONE, NONE
    return f"{min(values):g} to {max(values):g}", str(len(set(values)))


def _ended(material: FigureSource, tasks: Sequence[str]) -> Iterator[tuple[str, SeedRun, Row]]:
    for task in tasks:
        for agent, row in material.rows(task):
            for result in row.ended:
                yield agent, _seed_run(material, result), row


def _seed_run(material: FigureSource, result: SeedResult) -> SeedRun:
    return SeedRun(material.behind.runs[result.run_id], material.behind.seed(result), result)


def _best(material: FigureSource, task: str) -> tuple[float, str, SeedRun, Node] | None:
    """The first of the steps with the best test score that may be ranked, as the best scores of a board count them."""
    lower, best = material.section(task).lower_is_better, None
    for agent, each, _ in _ended(material, [task]):
        reached = each.result.best_test
        if reached is None or (best is not None and (reached >= best[0] if lower else reached <= best[0])):
            continue
        node = next(node for node in each.seed.nodes if _test_of(each, node) == reached)
        best = (reached, agent, each, node)
    return best


def _test_of(each: SeedRun, node: Node) -> float | None:
    score = each.seed.scores.get(node.step)
    return None if score is None or score.unranked else score.test


def _described(each: SeedRun, node: Node) -> tuple[str, str]:
    """What the code behind a step names, and the constants it sets; said where it cannot be read."""
    text = scored_module(each, node)
    if text is None:
        return "file is gone", NONE
    answer = read_in_process("describe", [text])[0]
    if isinstance(answer, NotRead):
        return "not read", NONE
    names = parameter_names()
    found = {
        parameter: next((answer["constants"][name] for name in names[parameter] if name in answer["constants"]), None)
        for parameter in _SHOWN_CONSTANTS
    }
    shown = [f"{parameter} {value:g}" for parameter, value in found.items() if isinstance(value, int | float)]
    return ", ".join(answer["mechanisms"]) or NONE, ", ".join(shown) or NONE
