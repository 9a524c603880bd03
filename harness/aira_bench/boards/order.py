"""Which rows of a board can be told apart: ranks with ties, from tests on common seeds.

Of each seed counts the mean over its replicates. Scores are those of confirmations where any row has them, and of the
search else, which inherit its luck. A judged replicate without a submission that may be ranked has the worst score of
the table, the paper's convention for normalized scores (section 5): what failed counts, and counts as badly as
anything did. A submission that is not confirmed, or awaits confirmation, is unknown and in no comparison.

Needs the extra `aira-bench[stats]`. Not covered: estimators (`aira_bench.statistics`), and orders over several tasks.
"""

import hashlib
import statistics as plain
from collections.abc import Sequence
from dataclasses import asdict, dataclass
from typing import TYPE_CHECKING

from aira_bench.boards.board import Section, Table
from aira_bench.boards.replicates import SeedResult
from aira_bench.boards.rows import Entry, Row

if TYPE_CHECKING:
    from aira_bench.statistics.arrays import IntervalEstimate
    from aira_bench.statistics.paired import PairComparison, RankRange


@dataclass(frozen=True)
class RowOrder:
    """What is known of one row's place."""

    entry: Entry
    rank: "RankRange"
    score: "IntervalEstimate | None"
    """Mean over seeds with its bootstrap interval, failures included; None where no seed has a score."""
    interquartile_mean: "IntervalEstimate | None"
    failed: int
    """Replicates that count with the table's worst score."""


@dataclass(frozen=True)
class TableOrder:
    """The order of one table, as far as there is one."""

    section: Section
    basis: str
    """`confirmed` or `test`: which scores were compared."""
    rows: tuple[RowOrder, ...]
    comparisons: tuple["PairComparison", ...]
    """Of all pairs of rows, by their places in `rows`; a positive difference is in favour of the first."""


def order_of(table: Table, alpha: float = 0.05) -> TableOrder:
    """Compare all rows of a table pairwise on their common seeds.

    Draws are seeded by the table's section, so that the same runs give the same figures.

    Args:
        table: its rows keep their order.
        alpha: error rate of all comparisons of the table together.
    """
    import numpy as np

    from aira_bench.statistics.paired import compare, rank_ranges
    from aira_bench.statistics.resampling import Aggregate, stratified_estimate

    basis = basis_of(table)
    by_row = [scores_by_seed(row, basis) for row in table.rows]
    known = [score for scores in by_row for each in scores.values() for score in each if score is not None]
    sign = -1.0 if table.section.lower_is_better else 1.0
    worst = max(known, key=lambda score: -sign * score, default=0.0)
    seeds = sorted({seed for scores in by_row for seed in scores})
    blocks = np.full((len(by_row), len(seeds)), np.nan)
    for row, scores in zip(blocks, by_row, strict=True):
        for seed, each in scores.items():
            row[seeds.index(seed)] = sign * plain.fmean(worst if score is None else score for score in each)
    generator = np.random.default_rng(_entropy(table.section))
    comparisons = compare(blocks, generator, alpha=alpha)
    rows = []
    ranks = rank_ranges(len(by_row), comparisons)
    for table_row, rank, row, scores in zip(table.rows, ranks, blocks, by_row, strict=True):
        failed = sum(score is None for each in scores.values() for score in each)
        values = sign * row[np.isfinite(row)]
        mean, middle = (
            stratified_estimate([values], how, generator) if values.size and known else None
            for how in (Aggregate.MEAN, Aggregate.INTERQUARTILE_MEAN)
        )
        rows.append(RowOrder(table_row.entry, rank, mean, middle, failed))
    return TableOrder(table.section, basis, tuple(rows), comparisons)


def basis_of(table: Table) -> str:
    """Return which scores of a table are compared: `confirmed` where any row has them, else `test`."""
    return "confirmed" if any(result.confirmed is not None for row in table.rows for result in row.ranked) else "test"


def scores_by_seed(row: Row, basis: str) -> dict[int, list[float | None]]:
    """Return by seed the scores of a row's replicates, None of a failure; those whose score is unknown are left out.

    Args:
        row: of a table.
        basis: that table's (`basis_of`).
    """
    found: dict[int, list[float | None]] = {}
    for result in row.judged:
        failed = result.submitted is None or bool(result.unranked)
        score = None if failed else _ranked_score(result, basis)
        if failed or score is not None:
            found.setdefault(result.seed, []).append(score)
    return found


def _ranked_score(result: SeedResult, basis: str) -> float | None:
    if result.awaits_confirm:
        return None
    return result.confirmed if basis == "confirmed" else result.test


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
            "rows": [
                {
                    "agent": row.entry.agent,
                    "scaffold": row.entry.scaffold,
                    "steps": row.entry.steps,
                    "best_rank": row.rank.best,
                    "worst_rank": row.rank.worst,
                    "mean": asdict(row.score) if row.score else None,
                    "failed": row.failed,
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
    searched = "" if order.basis == "confirmed" else " (not confirmed: they inherit the luck of the search)"
    lines = [f"Order by {order.basis} scores{searched}:"]
    for row in order.rows:
        name = f"{row.entry.agent}, {row.entry.scaffold}, {row.entry.steps} steps"
        lines.append(f"  rank {row.rank}: {name}: {_shown(row.score)}, {row.failed} failed")
    told = sum(each.why == "" for each in order.comparisons)
    lines.append(f"  {told} of {len(order.comparisons)} pairs are told apart (paired permutation, one family).")
    reasons = dict.fromkeys(each.why for each in order.comparisons if each.why)
    return lines + [f"  {sum(each.why == why for each in order.comparisons)}: {why}" for why in reasons]


def _shown(score: "IntervalEstimate | None") -> str:
    if score is None:
        return "no score"
    between = "" if score.low is None else f" ({score.low:.4f} to {score.high:.4f})"
    seeds = "one seed" if score.count == 1 else f"{score.count} seeds"
    return f"{score.value:.4f}{between}, {seeds}"
