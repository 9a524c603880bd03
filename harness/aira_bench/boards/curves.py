"""Anytime curves of a board's rows: what would have been submitted after so many steps, GPU-seconds and dollars.

A curve has at each moment the test score of the step that the search would have submitted then. Its area is the mean
over a horizon that all rows of a table share: the most that any row spent on average. A row that spent less keeps what
it had, and several runs of one seed count as their mean. Before its first valid step a run has the worst score: the
task's, or where that is unknown, or on request, the worst of the table. A cached score counts with what it first cost,
so that running again is not cheaper.

Needs the extra `aira-bench[stats]`. Not covered: estimators (`aira_bench.statistics.curves`).
"""

from collections.abc import Mapping, Sequence
from dataclasses import asdict, dataclass
from math import inf
from statistics import fmean
from typing import TYPE_CHECKING

from aira_bench.boards.board import Section, Table
from aira_bench.boards.board_runs import BoardRuns, row_names
from aira_bench.boards.endings import entropy
from aira_bench.record.node import Node
from aira_bench.record.scores import TrustedScore
from aira_bench.record.seed_record import SeedRecord
from aira_bench.shown_numbers import figure

if TYPE_CHECKING:
    from aira_bench.statistics.curves import Curve, CurveEstimate

STEPS, GPU_SECONDS, SECONDS, DOLLARS = "steps", "GPU-seconds", "seconds of processors", "dollars"
POINTS = 10


@dataclass(frozen=True)
class CostCurves:
    """The curves of a table's rows over one kind of cost."""

    cost: str
    horizon: float
    at: tuple[float, ...]
    """Costs of the points, the last at the horizon."""
    rows: Mapping[str, "CurveEstimate"]
    """By the row's name; without those whose costs are unknown."""
    unknown: tuple[str, ...]
    """Rows with a step whose cost nobody stated."""


@dataclass(frozen=True)
class TableCurves:
    """All curves of a table."""

    section: Section
    before: float
    """The score before the first valid step."""
    costs: tuple[CostCurves, ...]
    """Without kinds of cost of which no row spent anything."""


def curves_of(table: Table, behind: BoardRuns, *, observed_worst: bool = False) -> TableCurves | None:
    """Return the curves of a table; None where no step has a score.

    Args:
        table: its rows keep their order.
        behind: the runs it was built from.
        observed_worst: begin at the worst score of the table, not at the task's.
    """
    seeds = {
        name: [behind.seed(each) for each in row.judged] for name, row in zip(row_names(table), table.rows, strict=True)
    }
    tests = [score.test for found in seeds.values() for seed in found for score in seed.scores.values()]
    if not tests:
        return None
    manifest = behind.manifest(table)
    anchors = manifest.anchors if manifest else None
    worst_seen = max(tests) if table.section.lower_is_better else min(tests)
    before = worst_seen if anchors is None or observed_worst else anchors.worst
    on_gpus = any(node.gpu_use for found in seeds.values() for seed in found for node in seed.nodes)
    kinds = (STEPS, GPU_SECONDS if on_gpus else SECONDS, DOLLARS)
    made = (_cost_curves(kind, seeds, table.section, before) for kind in kinds)
    return TableCurves(table.section, before, tuple(each for each in made if each is not None))


def _cost_curves(
    kind: str, seeds: Mapping[str, Sequence[SeedRecord]], section: Section, before: float
) -> CostCurves | None:
    import numpy as np

    from aira_bench.statistics.curves import curve_estimate

    known: dict[str, tuple[list[Curve], list[int]]] = {}
    unknown, spent = [], []
    for name, found in seeds.items():
        curves = [seed_curve(kind, seed, lower_is_better=section.lower_is_better) for seed in found]
        if any(curve is None for curve in curves):
            unknown.append(name)
        elif curves:
            known[name] = [curve for curve in curves if curve is not None], [seed.seed for seed in found]
            spent.append(_mean_over_seeds(*known[name]))
    horizon = max(spent, default=0.0)
    if horizon <= 0:
        return None
    at = horizon * np.arange(1, POINTS + 1) / POINTS
    rows = {
        name: curve_estimate(
            curves, at, horizon, before, np.random.default_rng(entropy(kind, name, section)), seeds=of_seed
        )
        for name, (curves, of_seed) in known.items()
    }
    return CostCurves(kind, horizon, tuple(map(float, at)), rows, tuple(unknown))


def _mean_over_seeds(curves: Sequence["Curve"], seeds: Sequence[int]) -> float:
    """What runs spent, mean over seeds of the mean over a seed's runs."""
    spent: dict[int, list[float]] = {}
    for curve, seed in zip(curves, seeds, strict=True):
        spent.setdefault(seed, []).append(float(curve.costs[-1:].sum()))
    return fmean(map(fmean, spent.values()))


def seed_curve(kind: str, seed: SeedRecord, *, lower_is_better: bool) -> "Curve | None":
    """Return what a seed would have submitted as its cost grew; None where the cost of a step is unknown.

    Args:
        kind: of cost, such as `STEPS`. Steps that infrastructure took cost nothing.
        seed: its record.
        lower_is_better: whether the best is the least.
    """
    import numpy as np

    from aira_bench.statistics.curves import submission_curve

    nodes = [node for node in seed.nodes if not node.is_lost]
    scores = [seed.scores.get(node.step) for node in nodes]
    costs = [_cost(kind, node, score) for node, score in zip(nodes, scores, strict=True)]
    if any(cost is None for cost in costs):
        return None
    without = inf if lower_is_better else -inf  # `best_node` puts what has no fitness below all that has one
    chosen = [
        (without if node.fitness is None else node.fitness)
        if node.is_valid and score is not None and not score.unranked
        else np.nan for node, score in zip(nodes, scores, strict=True)
    ]  # fmt: skip
    tests = [np.nan if score is None else score.test for score in scores]
    return submission_curve(
        np.array(chosen, np.float64), np.array(tests, np.float64), np.array(costs, np.float64),
        lower_is_better=lower_is_better,
    )  # fmt: skip


def _cost(kind: str, node: Node, score: TrustedScore | None) -> float | None:
    if kind == STEPS:
        return 1.0
    if kind == DOLLARS:
        return node.model_use.cost_usd
    cached = score is not None and score.cached
    return node.timings.execute_s + (score.seconds if cached and score else node.timings.evaluate_s)


def curves_records(tables: Sequence[TableCurves]) -> list[dict[str, object]]:
    """Return curves for JSON: a record a table."""
    return [
        {
            "task": table.section.task,
            "profile": table.section.profile,
            "score_before": table.before,
            "costs": [
                {
                    "cost": each.cost,
                    "horizon": each.horizon,
                    "at": each.at,
                    "rows": [
                        {"name": name, "points": [asdict(point) for point in found.points], "area": asdict(found.area)}
                        for name, found in each.rows.items()
                    ],
                    "unknown": each.unknown,
                }
                for each in table.costs
            ],
        }
        for table in tables
    ]


def curves_lines(table: TableCurves) -> list[str]:
    """Return what people read of curves: for each kind of cost a line a row, with the score at tenths of the horizon.

    Args:
        table: of one section.
    """
    lines = []
    for each in table.costs:
        lines.append(
            f"What would have been submitted over {each.cost}, to {each.horizon:.4g}; before, {table.before:g}:"
        )
        for name, found in each.rows.items():
            area = found.area
            between = "" if area.low is None or area.high is None else f" ({figure(area.low)} to {figure(area.high)})"
            shown = ", ".join(figure(found.points[place].value) for place in (1, 4, POINTS - 1))
            lines.append(f"  {name}: mean {figure(area.value)}{between}; at 20, 50 and 100 %: {shown}")
        lines += [f"  {name}: its {each.cost} are unknown" for name in each.unknown]
    return lines
