"""Counterparts of figures 18 to 20: how each agent's searches for architectures went on, step by step.

The text of the paper says of them that they show the search dynamic per agent on its three data sets of two primitives;
which of them is which number, and their axes, it does not say. Here they are numbered in the order of its Table 1.

Not covered: how they look (`drawing`).
"""

import numpy as np

from aira_bench.boards.curves import STEPS, seed_curve
from aira_bench.boards.endings import entropy
from aira_bench.boards.rows import Row
from aira_bench.figures.charts import NoCounterpart, Result, SearchChart, SearchPanel
from aira_bench.figures.material import FigureSource, measured
from aira_bench.record.seed_record import SeedRecord
from aira_bench.statistics.arrays import IntervalEstimate
from aira_bench.statistics.curves import curve_estimate

SEARCHES = {
    "mad-2p": ("figure18_search_mad-2p", "Figure 18"),
    "babistories-2p": ("figure19_search_babistories-2p", "Figure 19"),
    "dclm-2p": ("figure20_search_dclm-2p", "Figure 20"),
    "mad-3p": ("search_mad-3p", "as Figure 18, three primitives"),
}
"""Of each task its file's name, and what it is the counterpart of."""
_MOST_POINTS = 200


def searches(material: FigureSource) -> list[Result]:
    """Return the counterparts of figures 18 to 20, and the same of the task with three primitives."""
    return [_search(material, title, *named) for title, named in SEARCHES.items()]


def _search(material: FigureSource, title: str, name: str, number: str) -> Result:
    tasks = material.tasks_on([title])
    if not tasks:
        return NoCounterpart(name, number, f"no run is on {title}")
    if len(tasks) > 1:
        return NoCounterpart(
            name, number, f"the runs on {title} do not compare: they are of {len(tasks)} evaluators or data"
        )
    task = tasks[0]
    made = [_panel(material, task, agent, row) for agent, row in material.rows(task)]
    panels = tuple(
        sorted((each for each in made if each is not None), key=lambda each: material.agents.index(each.agent))
    )
    if not panels:
        return NoCounterpart(name, number, "no seed that ended has a scored step")
    caption = (
        f"{title}: dots are the test scores of all scored steps of the seeds that ended. The line is the test score "
        "of what would have been submitted after so many steps, mean over seeds, with 95 % percentile intervals of "
        "seeds drawn anew, from the step on at which every seed had something to submit; a seed that ended earlier "
        "keeps what it had. Steps that infrastructure took are not counted."
    )
    return material.drawn(name, number, caption, SearchChart(measured(material.section(task), "test"), panels), tasks)


def _panel(material: FigureSource, task: str, agent: str, row: Row) -> SearchPanel | None:
    lower = material.section(task).lower_is_better
    seeds = [(each, material.behind.seed(each)) for each in row.judged]
    scored = [
        (material.behind.runs[result.run_id].name, record.seed, step, score)
        for result, record in seeds
        for step, score in _scored(record)
    ]
    if not scored:
        return None
    curve = _curve(agent, task, [record for _, record in seeds], lower_is_better=lower)
    return SearchPanel(agent, len({record.seed for _, record in seeds}), tuple(scored), tuple(curve))


def _scored(seed: SeedRecord) -> list[tuple[int, float]]:
    """Scores that may be ranked, by the number of the step among those that were not lost."""
    kept = [node for node in seed.nodes if not node.is_lost]
    found = ((number, seed.scores.get(node.step)) for number, node in enumerate(kept, start=1))
    return [(number, score.test) for number, score in found if score is not None and not score.unranked]


def _curve(
    agent: str, task: str, seeds: list[SeedRecord], *, lower_is_better: bool
) -> list[tuple[int, IntervalEstimate]]:
    """The mean curve, at no more than 200 steps; none where a seed never had anything to submit."""
    made = [seed_curve(STEPS, seed, lower_is_better=lower_is_better) for seed in seeds]
    curves = [curve for curve in made if curve is not None]
    firsts = [int(np.argmax(np.isfinite(curve.best))) + 1 for curve in curves if np.isfinite(curve.best).any()]
    if len(firsts) < len(curves):
        return []
    first, last = max(firsts), max(len(curve.costs) for curve in curves)
    steps = np.unique(np.linspace(first, last, min(_MOST_POINTS, last - first + 1)).round().astype(np.int64))
    found = curve_estimate(
        curves, steps.astype(np.float64), float(last), np.nan,
        np.random.default_rng(entropy("figures", "search", agent, task)), seeds=[seed.seed for seed in seeds],
    )  # fmt: skip
    return list(zip(map(int, steps), found.points, strict=True))
