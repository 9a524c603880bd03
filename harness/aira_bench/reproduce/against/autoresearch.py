"""Tables 5 and 19 to 21 beside measured values: best bits per byte, and what improvement steps changed.

Shares and medians are of improvement steps, compared with the best step before as the paper does, and their intervals
of seeds drawn anew. Published counts become shares of 160 steps, the one number that all percentages of Table 21 fit
(the text says 156), with the spread that drawing 160 steps has. How the paper read its features is not published
(docs/analysis.md): where the two differ, the reader may, and not what the agents did.

Not covered: means and bests of gains, which single steps decide, and solo counts, which the paper has too few of.
"""

from collections.abc import Callable, Sequence
from dataclasses import dataclass
from math import sqrt

import numpy as np

from aira_bench.agent_code.features import CATEGORIES, FEATURES
from aira_bench.analysis.improvements import Improvement, run_improvements
from aira_bench.boards.endings import entropy
from aira_bench.boards.published_rows import AUTORESEARCH, WITH_LITERATURE
from aira_bench.published_tables import read_table
from aira_bench.record.run_record import RunRecord
from aira_bench.reproduce.against.agreement import (
    Agreement,
    ComparedCell,
    JudgedAgreement,
    interval_text,
    judge_best,
    judge_mean,
)
from aira_bench.reproduce.against.paper_runs import (
    AGENTS,
    GREEDY,
    SEEDS,
    ChosenRuns,
    SeedRun,
    agent_of,
    choose,
    command_for_more,
)
from aira_bench.statistics.arrays import Floats, IntervalEstimate, percentile_estimate

PLAIN_AGENTS = ("cwm", "gemini3pro", "gemini31pro", "gpt-oss-120b", "gpt5", "opus45", "opus46")
LITERATURE_AGENTS = ("gpt5", "opus45", "opus46")
PUBLISHED_STEPS = 160
_RESAMPLES = 1000
_NONE = "—"
Found = tuple[list[ComparedCell], list[SeedRun]]


def best_cells(runs: Sequence[RunRecord]) -> Found:
    """Return Table 5: the lowest bits per byte of an agent's ten seeds, each seed's best step counting."""
    cells, used = list[ComparedCell](), list[SeedRun]()
    last = {
        (row["agent"], row["literature"]): row["val_bpb"]
        for row in read_table("5", ("agent", "literature", "step", "val_bpb"))
    }
    for (name, literature), published in last.items():
        card = next(card for card, known in AGENTS.items() if known == name)
        task = WITH_LITERATURE if literature == "yes" else AUTORESEARCH
        own = [run for run in runs if agent_of(run.manifest) == card]
        chosen = choose(own, [task], (GREEDY,), LITERATURE_AGENTS if literature == "yes" else PLAIN_AGENTS)
        used += chosen.seeds
        scored = [(each.seed.seed, score) for each in chosen.seeds if (score := _best_validation(each)) is not None]
        best = [score for _, score in scored]
        measured, judged = "-", JudgedAgreement(Agreement.NOT_MEASURED, "no run with a score")
        if best:
            measured = f"{min(best):.4f} of {_counted(len({seed for seed, _ in scored}), len(best))}"
            judged = judge_best(float(published), SEEDS[GREEDY], best, lower_is_better=True)
            if chosen.why_not:
                judged = JudgedAgreement(Agreement.NOT_COMPARABLE, ", ".join(chosen.why_not))
        command = command_for_more(chosen, (card,), task)
        row, column = f"{name}{' with literature' if literature == 'yes' else ''}", "best bits per byte"
        cells.append(
            ComparedCell("5", row, column, published, measured, judged.agreement, judged.reason, chosen.runs, command)
        )
    return cells, used


def _counted(seeds: int, runs: int) -> str:
    """How many seeds, and how many runs of them where some were run again."""
    return f"{seeds} seed{'' if seeds == 1 else 's'}" + ("" if runs == seeds else f" in {runs} runs")


def _best_validation(each: SeedRun) -> float | None:
    """The best validation score of a seed's valid steps, by the judge."""
    scores = [
        each.seed.scores[node.step] for node in each.seed.nodes if node.is_valid and node.step in each.seed.scores
    ]
    known = [score.validation for score in scores if score.validation is not None and not score.unranked]
    return min(known, default=None)


@dataclass(frozen=True)
class _Steps:
    """Improvement steps as columns, and how often each resample of seeds has each of them."""

    changed: dict[str, Floats]
    """By feature, and by category under its own name: shape (steps,), 1 where the step changed it."""
    added: dict[str, Floats]
    removed: dict[str, Floats]
    """By toggle: 1 where the step turned it on, or off."""
    gains: Floats
    weights: Floats
    """Shape (1 + resamples, steps): times each step is drawn; the first row is the steps themselves."""
    seeds: int

    def share(self, name: str) -> IntervalEstimate | None:
        """The share of steps that changed a feature or category; None without any step."""
        if self.gains.size == 0:
            return None
        drawn = self.weights.sum(axis=1)
        shares = (self.weights @ self.changed[name])[drawn > 0] / drawn[drawn > 0]
        return percentile_estimate(float(shares[0]), shares[1:], self.seeds)

    def median(self, mine: Floats) -> IntervalEstimate | None:
        """The median gain of some steps; None where there is none."""
        if not mine.any():
            return None
        order = np.argsort(self.gains, kind="stable")
        order = order[mine[order] > 0]
        gains, sums = self.gains[order], np.cumsum(self.weights[:, order], axis=1)
        sums = sums[sums[:, -1] > 0]  # resamples that have any such step
        half = sums[:, -1:] / 2
        low, high = (sums >= half).argmax(axis=1), (sums > half).argmax(axis=1)
        medians = (gains[low] + gains[high]) / 2
        return percentile_estimate(float(medians[0]), medians[1:], self.seeds)


def _steps(seeds: Sequence[SeedRun]) -> _Steps:
    runs = {each.run.manifest.run_id: each.run for each in seeds}
    place_of = {key: place for place, key in enumerate(dict.fromkeys(each.drawn_with for each in seeds))}
    places = {(each.run.manifest.run_id, each.seed.seed): place_of[each.drawn_with] for each in seeds}
    count = len(place_of)
    found = [
        (places[run_id, step.seed], step)
        for run_id, run in runs.items()
        for step in run_improvements(run, "best")
        if (run_id, step.seed) in places  # others have not ended
    ]
    improvements = [step for _, step in found]
    of_seed = np.array([place for place, _ in found], np.int64)
    draws = np.random.default_rng(entropy("improvements")).multinomial(count, np.full(count, 1 / count), _RESAMPLES)
    weights = np.concatenate([np.ones((1, len(improvements))), draws[:, of_seed].astype(np.float64)])
    by_category = {
        category: {feature.name for feature in FEATURES if feature.category == category} for category in CATEGORIES
    }
    changed = {feature.name: _column(improvements, _changes(feature.name)) for feature in FEATURES}
    changed |= {
        category: _column(improvements, lambda step, names=names: bool(names & step.changed.keys()))  # type: ignore[misc]
        for category, names in by_category.items()
    }
    toggles = [feature.name for feature in FEATURES if feature.is_toggle]
    return _Steps(
        changed,
        {name: _column(improvements, _turns(name, on=True)) for name in toggles},
        {name: _column(improvements, _turns(name, on=False)) for name in toggles},
        np.array([step.delta for step in improvements], np.float64),
        weights,
        count,
    )


def _column(steps: Sequence[Improvement], holds: Callable[[Improvement], bool]) -> Floats:
    return np.array([float(holds(step)) for step in steps], np.float64)


def _changes(name: str) -> Callable[[Improvement], bool]:
    return lambda step: name in step.changed


def _turns(name: str, *, on: bool) -> Callable[[Improvement], bool]:
    return lambda step: name in step.changed and bool(step.changed[name][1]) is on


def improvement_cells(table: str) -> Callable[[Sequence[RunRecord]], Found]:
    """Return what makes Table `19`, `20` or `21` beside measured shares and medians."""
    return lambda runs: _improvement_cells(table, runs)


def _improvement_cells(table: str, runs: Sequence[RunRecord]) -> Found:
    chosen = choose(runs, [AUTORESEARCH, WITH_LITERATURE], (GREEDY,), PLAIN_AGENTS)
    steps = _steps(chosen.seeds) if chosen.seeds else None
    if table == "20":
        return _toggle_cells(steps, chosen), list(chosen.seeds)
    key = {"19": "feature", "21": "category"}[table]
    cells = []
    for row in read_table(table, (key, "count", "delta_median")):
        share = int(row["count"]) / PUBLISHED_STEPS
        half = 1.96 * sqrt(share * (1 - share) / PUBLISHED_STEPS)
        published = f"{share:.3f} +- {half:.3f} ({row['count']} of {PUBLISHED_STEPS})"
        found = steps.share(row[key]) if steps else None
        cells.append(_cell(table, row[key], "share of steps", published, share, half, found, chosen))
        found = steps.median(steps.changed[row[key]]) if steps else None
        cells.append(_median_cell(table, row[key], "median gain", row["delta_median"], found, chosen))
    return cells, list(chosen.seeds)


def _toggle_cells(steps: _Steps | None, chosen: ChosenRuns) -> list[ComparedCell]:
    cells = []
    for row in read_table("20", ("feature", "add_median", "remove_median")):
        name = row["feature"]
        for column, printed in (("add_median", "added"), ("remove_median", "removed")):
            if row[column] == _NONE:
                continue
            found = steps.median((steps.added if printed == "added" else steps.removed)[name]) if steps else None
            cells.append(_median_cell("20", name, f"median gain {printed}", row[column], found, chosen))
    return cells


def _median_cell(
    table: str, row: str, column: str, printed: str, found: IntervalEstimate | None, chosen: ChosenRuns
) -> ComparedCell:
    return _cell(table, row, column, printed, float(printed), None, found, chosen)


def _cell(
    table: str, row: str, column: str, printed: str, published: float, half: float | None,
    found: IntervalEstimate | None, chosen: ChosenRuns,
) -> ComparedCell:  # fmt: skip
    command = command_for_more(chosen, PLAIN_AGENTS[::-1], AUTORESEARCH)
    if found is None:
        reason = "no improvement step of it" if chosen.seeds else "no run"
        return ComparedCell(table, row, column, printed, "-", Agreement.NOT_MEASURED, reason, chosen.runs, command)
    judged = judge_mean(published, half, found, 0.0)
    if chosen.why_not:
        judged = JudgedAgreement(Agreement.NOT_COMPARABLE, ", ".join(chosen.why_not))
    return ComparedCell(
        table, row, column, printed, interval_text(found, 4), judged.agreement, judged.reason, chosen.runs, command,
        found,
    )  # fmt: skip


CELLS: dict[str, Callable[[Sequence[RunRecord]], Found]] = {
    "5": best_cells, "19": improvement_cells("19"), "20": improvement_cells("20"), "21": improvement_cells("21"),
}  # fmt: skip
"""By table."""
