"""Which rows of a board can be told apart: ranks with ties, from tests on common seeds.

Only rows with a place in their table's order are compared (`Table.ordered`), by the scores that rank: means over the
trainings that confirm a submission. Of each seed counts the mean over its replicates. A judged replicate without a
submission that may be ranked has the worst score of the table, the paper's convention for normalized scores (section
5): what failed counts, and counts as badly as anything did.

Two rows are ordered if a paired test tells them apart *and* their difference exceeds what the noise of training makes
of equals. That noise is the task's measured floor; where nobody measured it, what the trainings of the table's own
submissions show.

Needs the extra `aira-bench[stats]`. Not covered: estimators (`aira_bench.statistics`), and orders over several tasks.
"""

import hashlib
import math
from collections.abc import Sequence, Set
from dataclasses import asdict, dataclass, replace
from itertools import combinations
from typing import TYPE_CHECKING

from aira_bench.boards.board import Section, Table
from aira_bench.boards.board_runs import row_names
from aira_bench.boards.replicates import SeedResult
from aira_bench.boards.rows import Entry, Row, RowStanding, worst_score
from aira_bench.shown_numbers import figure

if TYPE_CHECKING:
    import numpy as np

    from aira_bench.statistics.arrays import Floats, IntervalEstimate
    from aira_bench.statistics.noise import NoiseFloor
    from aira_bench.statistics.paired import PairComparison, RankRange
    from aira_bench.statistics.resampling import TwoLevels


@dataclass(frozen=True)
class RowOrder:
    """What is known of one row's place."""

    entry: Entry
    name: str
    """What it is called; no two rows of a table are called alike."""
    rank: "RankRange"
    score: "IntervalEstimate | None"
    """Mean over seeds with its bootstrap interval, failures included; None where no seed has a score."""
    interquartile_mean: "IntervalEstimate | None"
    levels: "TwoLevels | None"
    """Mean over searches of the mean over trainings, failures left out; its interval draws both. None without any."""
    failed: int
    """Replicates that count with the table's worst score."""


@dataclass(frozen=True)
class TableOrder:
    """The order of one table, as far as there is one."""

    section: Section
    basis: str
    """`confirmed`, or `test` where the task has one set of hidden data: which scores were compared."""
    rows: tuple[RowOrder, ...]
    """Of the table's ordered rows."""
    comparisons: tuple["PairComparison", ...]
    """Of all pairs of rows, by their places in `rows`; a positive difference is in favour of the first."""
    floor: "NoiseFloor | None"
    """What training alone does; None where nothing shows it."""
    apart: int
    """How many rows of the table have no place in the order."""


def with_ranks(tables: Sequence[Table]) -> list[Table]:
    """Return tables whose ordered rows have their ranks; needs the libraries of the extra."""
    return [_with_ranks(table) for table in tables]


def _with_ranks(table: Table) -> Table:
    ranks = iter(order_of(table).rows)
    ordered = set(map(id, table.ordered))
    rows = [replace(row, rank=str(next(ranks).rank)) if id(row) in ordered else row for row in table.rows]
    return replace(table, rows=tuple(rows))


def order_of(table: Table, alpha: float = 0.05) -> TableOrder:
    """Compare the ordered rows of a table pairwise on their common seeds.

    Draws are seeded by the table's section, so that the same runs give the same figures.

    Args:
        table: its rows keep their order.
        alpha: error rate of all comparisons of the table together.
    """
    import numpy as np

    from aira_bench.statistics.paired import rank_ranges
    from aira_bench.statistics.resampling import Aggregate, stratified_estimate

    ordered, generator = table.ordered, np.random.default_rng(_entropy(table.section))
    sign = -1.0 if table.section.lower_is_better else 1.0
    worst = worst_score(ordered, lower_is_better=table.section.lower_is_better)
    blocks = _blocks(table)
    comparisons = comparisons_of(table, generator, alpha)
    rows = []
    ranks = rank_ranges(len(ordered), comparisons)
    names = [
        name for name, row in zip(row_names(table), table.rows, strict=True) if row.standing is RowStanding.CONFIRMED
    ]
    for table_row, name, rank, row in zip(ordered, names, ranks, blocks, strict=True):
        failed = sum(score is None for each in table_row.scores_by_seed.values() for score in each)
        values = sign * row[np.isfinite(row)]
        mean, middle = (
            stratified_estimate([values], how, generator) if values.size and worst is not None else None
            for how in (Aggregate.MEAN, Aggregate.INTERQUARTILE_MEAN)
        )
        levels = _levels_of(table_row, generator)
        rows.append(RowOrder(table_row.entry, name, rank, mean, middle, levels, failed))
    floor = _floor(table)
    return TableOrder(table.section, table.section.ordered_by, tuple(rows), comparisons, floor, len(table.apart))


def _levels_of(row: Row, generator: "np.random.Generator") -> "TwoLevels | None":
    """Both levels of a row's spread; trainings of all runs of a seed are that seed's, which weighs once."""
    import numpy as np

    from aira_bench.statistics.resampling import two_levels

    groups: dict[int, list[float]] = {}
    for each in row.ranked:
        if each.confirmed is not None:
            groups.setdefault(each.seed, []).extend(each.trainings)
    if not groups:
        return None
    found, spread = two_levels([np.array(group) for group in groups.values()], generator), row.spread
    return replace(found, search_deviation=spread.search, training_deviation=spread.training)


def comparisons_of(table: Table, generator: "np.random.Generator", alpha: float = 0.05) -> "tuple[PairComparison, ...]":
    """Return what is known of every pair of a table's ordered rows.

    Args:
        table: of a board.
        generator: draws sign patterns where seeds are too many for all of them.
        alpha: error rate of all comparisons together.
    """
    from aira_bench.statistics.paired import compare

    least = _least_differences(table.ordered, _floor(table))
    return compare(_blocks(table), generator, alpha=alpha, least_differences=least)


def _blocks(table: Table) -> "Floats":
    """Scores of ordered rows by row and seed, more is better; NaN for a gap, the table's worst for a failure."""
    import numpy as np

    sign = -1.0 if table.section.lower_is_better else 1.0
    worst = worst_score(table.ordered, lower_is_better=table.section.lower_is_better)
    by_row = [row.means_by_seed(0.0 if worst is None else worst) for row in table.ordered]
    place = {seed: index for index, seed in enumerate(sorted({seed for means in by_row for seed in means}))}
    blocks = np.full((len(by_row), len(place)), np.nan)
    for row, means in zip(blocks, by_row, strict=True):
        for seed, score in means.items():
            row[place[seed]] = sign * score
    return blocks


def _floor(table: Table) -> "NoiseFloor | None":
    """The task's noise floor; where none was measured, what the submissions of the table itself show."""
    import numpy as np

    from aira_bench.statistics.noise import NoiseFloor, noise_floor

    if table.noise is not None:
        return NoiseFloor(table.noise.deviation, table.noise.freedom)
    found = {
        each.trainings for row in table.ordered for each in row.ranked if len(each.trainings) > 1
    }  # as `_luck` has it
    return noise_floor([np.array(each) for each in sorted(found)]) if found else None


def _least_differences(rows: Sequence[Row], floor: "NoiseFloor | None") -> dict[tuple[int, int], float]:
    """Of each pair what its mean difference on common seeds has to exceed."""
    from aira_bench.statistics.noise import least_difference

    found = {}
    for first, second in combinations(range(len(rows)), 2):
        common = {each.seed for each in rows[first].decided} & {each.seed for each in rows[second].decided}
        if floor is None or not common:
            continue
        added = [_luck(rows[row], common) for row in (first, second)]
        if any(added):
            found[first, second] = least_difference(floor, *(1 / each if each else math.inf for each in added))
    return found


def _luck(row: Row, seeds: Set[int]) -> float:
    """How many times the variance of one training is in a row's mean over seeds; a failure is as sure as can be.

    Seeds of trainings are the same in every run, so two seeds that submitted the same artifact, as those of the agent
    `baseline` all do, have the same luck, once: they are told by trainings that agree to the last digit.
    """
    by_seed: dict[int, list[SeedResult]] = {}
    for each in row.decided:
        if each.seed in seeds:
            by_seed.setdefault(each.seed, []).append(each)
    weights: dict[tuple[float, ...], float] = {}
    for group in by_seed.values():
        for each in group:
            if not each.failed:
                drawn = each.trainings or (each.deciding or 0.0,)
                weights[drawn] = weights.get(drawn, 0.0) + 1 / len(group) / len(by_seed)
    return sum(weight**2 / len(drawn) for drawn, weight in weights.items())


def _entropy(section: Section) -> int:
    return int.from_bytes(hashlib.sha256(repr(section).encode()).digest()[:8], "big")


def order_records(orders: Sequence[TableOrder]) -> list[dict[str, object]]:
    """Return orders for JSON: the section, the basis, a record a row and one a pair.

    Args:
        orders: of any number of tables.
    """
    return [
        {
            "task": order.section.task,
            "profile": order.section.profile,
            "seed_set": order.section.seed_set,
            "basis": order.basis,
            "noise_floor": asdict(order.floor) if order.floor else None,
            "rows_apart": order.apart,
            "rows": [
                {
                    "name": row.name,
                    "agent": row.entry.agent,
                    "scaffold": row.entry.scaffold,
                    "steps": row.entry.steps,
                    "best_rank": row.rank.best,
                    "worst_rank": row.rank.worst,
                    "mean": asdict(row.score) if row.score else None,
                    "failed": row.failed,
                    "levels": asdict(row.levels) if row.levels else None,
                    "interquartile_mean": asdict(row.interquartile_mean) if row.interquartile_mean else None,
                }
                for row in order.rows
            ],
            "comparisons": [_comparison_record(each) for each in order.comparisons],
        }
        for order in orders
    ]


def _comparison_record(each: "PairComparison") -> dict[str, object]:
    record: dict[str, object] = asdict(each)
    record["difference"] = each.difference if each.blocks else None
    record["verdict"] = str(each.verdict)
    return record


def order_lines(order: TableOrder) -> list[str]:
    """Return what people read of an order: one line a row, then why what is tied is tied.

    Args:
        order: of one table.
    """
    lines = [f"Order by {order.basis} scores:"]
    for row in order.rows:
        lines.append(f"  rank {row.rank}: {row.name}: {_shown(row.score)}, {row.failed} failed{_levels(row)}")
    if order.apart:
        lines.append(f"  {order.apart} more rows are not, or not wholly, confirmed, and in no comparison.")
    told = sum(each.why == "" for each in order.comparisons)
    lines.append(f"  {told} of {len(order.comparisons)} pairs are told apart (paired permutation, one family).")
    reasons = dict.fromkeys(each.why for each in order.comparisons if each.why)
    return lines + [f"  {sum(each.why == why for each in order.comparisons)}: {why}" for why in reasons]


def _levels(row: RowOrder) -> str:
    """The two deviations, and the interval of the mean that draws searches and trainings."""
    if row.levels is None:
        return ""
    named = {"search": row.levels.search_deviation, "training": row.levels.training_deviation}
    said = [f"{name} {figure(value)}" for name, value in named.items() if value is not None]
    mean = row.levels.mean
    between = "" if mean.low is None or mean.high is None else f", both drawn {figure(mean.low)} to {figure(mean.high)}"
    return f"; spread of {' and of '.join(said)}{between}" if said else ""


def _shown(score: "IntervalEstimate | None") -> str:
    if score is None:
        return "no score"
    between = "" if score.low is None or score.high is None else f" ({figure(score.low)} to {figure(score.high)})"
    seeds = "one seed" if score.count == 1 else f"{score.count} seeds"
    return f"{figure(score.value)}{between}, {seeds}"
