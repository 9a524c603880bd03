"""Anytime curves, rates, bands and means: values by hand."""

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st
from scipy import stats

from aira_bench.statistics.counts import Submissions, class_counts, mean_rate
from aira_bench.statistics.curves import anytime_curve, curve_estimate, submission_curve
from aira_bench.statistics.normalized import Scale, Spacing
from aira_bench.statistics.resampling import Aggregate
from aira_bench.statistics.runs import Band, Run, Runs, Worst, difficulty_bands, mean_over_agents, mean_over_tasks
from aira_bench.statistics.suite import StatisticsSettings, suite_statistics

NAN = np.nan
SCORES = st.lists(st.floats(0, 1) | st.just(NAN), min_size=1, max_size=10)


def generator() -> np.random.Generator:
    return np.random.default_rng(0)


def test_a_curve_by_hand() -> None:
    """Nothing for 2, then 0.5 for 3, then 0.7 to the end: (2 * 0.1 + 3 * 0.5 + 5 * 0.7) / 10."""
    curve = anytime_curve(np.array([NAN, 0.5, 0.4, 0.7]), np.array([1.0, 1.0, 2.0, 1.0]), lower_is_better=False)
    assert curve.at(np.array([0.0, 1.5, 2.0, 4.9, 5.0, 99.0]), 0.1).tolist() == [0.1, 0.1, 0.5, 0.5, 0.7, 0.7]
    assert curve.area(10, 0.1) == pytest.approx(0.52)
    assert curve.area(3, 0.1) == pytest.approx((2 * 0.1 + 0.5) / 3)


def test_a_loss_falls() -> None:
    curve = anytime_curve(np.array([3.0, 4.0, 1.0]), np.ones(3), lower_is_better=True)
    assert curve.best.tolist() == [3, 3, 1]
    assert curve.area(4, 5.0) == pytest.approx((5 + 3 + 3 + 1) / 4)


def test_free_and_missing_steps() -> None:
    free = anytime_curve(np.array([0.2, 0.4]), np.zeros(2), lower_is_better=False)
    assert free.area(2, 0.0) == 0.4
    none = anytime_curve(np.array([]), np.array([]), lower_is_better=False)
    assert none.area(2, 0.3) == 0.3
    with pytest.raises(ValueError, match="same steps"):
        anytime_curve(np.ones(2), np.ones(3), lower_is_better=False)
    with pytest.raises(ValueError, match="cost"):
        anytime_curve(np.ones(1), np.array([-1.0]), lower_is_better=False)
    with pytest.raises(ValueError, match="horizon"):
        free.area(0, 0)


@given(SCORES, st.floats(0.1, 20))
def test_an_area_is_the_mean_height(scores: list[float], horizon: float) -> None:
    curve = anytime_curve(np.array(scores), np.full(len(scores), 0.7), lower_is_better=False)
    moments = (np.arange(20_000) + 0.5) / 20_000 * horizon
    assert curve.area(horizon, 0.0) == pytest.approx(curve.at(moments, 0.0).mean(), abs=2e-3)


@given(SCORES, st.integers(0, 9), st.floats(0, 1))
def test_a_better_step_never_lowers_a_curve(scores: list[float], place: int, better: float) -> None:
    values = np.array(scores)
    changed = values.copy()
    changed[place % values.size] = np.fmax(changed[place % values.size], better)
    costs = np.ones(values.size)
    first, second = (anytime_curve(each, costs, lower_is_better=False) for each in (values, changed))
    assert second.area(5, 0.0) >= first.area(5, 0.0) - 1e-12


def test_mean_curves_and_areas() -> None:
    """0.2 and 0.4 from cost 1 on, 0 before: half of each over two; drawn anew either may be drawn twice."""
    curves = [anytime_curve(np.array([value]), np.ones(1), lower_is_better=False) for value in (0.2, 0.4)]
    found = curve_estimate(curves, np.array([0.5, 1.0]), 2, 0.0, generator())
    assert [point.value for point in found.points] == pytest.approx([0, 0.3])
    assert (found.points[0].low, found.points[0].high) == (0, 0)
    assert (found.points[1].low, found.points[1].high) == pytest.approx((0.2, 0.4))
    assert (found.area.value, found.area.low, found.area.high) == pytest.approx((0.15, 0.1, 0.2))
    assert curve_estimate(curves[:1], np.array([1.0]), 2, 0.0, generator()).area.low is None


def test_a_submission_is_chosen_by_fitness() -> None:
    """By fitness steps 2 and 4 lead; step 3 has the best score, and nobody chose it."""
    fitness, scores = np.array([NAN, 0.5, 0.4, 0.7]), np.array([NAN, 0.3, 0.9, 0.2])
    curve = submission_curve(fitness, scores, np.ones(4), lower_is_better=False)
    assert curve.at(np.array([0, 1, 2, 3, 4]), 0.1).tolist() == [0.1, 0.1, 0.3, 0.3, 0.2]
    falling = submission_curve(-fitness, scores, np.ones(4), lower_is_better=True)
    assert falling.best.tolist()[1:] == [0.3, 0.3, 0.2]
    assert submission_curve(np.array([]), np.array([]), np.array([]), lower_is_better=True).area(2, 0.3) == 0.3
    with pytest.raises(ValueError, match="same steps"):
        submission_curve(np.ones(2), np.ones(3), np.ones(2), lower_is_better=False)


def test_what_has_no_fitness_is_submitted_until_something_has() -> None:
    """As `best_node` has it: the first of those without any, then the best of the others, however bad."""
    fitness, scores = np.array([NAN, -np.inf, -np.inf, -9.0]), np.array([NAN, 0.3, 0.9, 0.2])
    for sign in (1.0, -1.0):
        curve = submission_curve(sign * fitness, scores, np.ones(4), lower_is_better=sign < 0)
        assert curve.at(np.array([1, 2, 3, 4]), 0.1).tolist() == [0.1, 0.3, 0.3, 0.2]


@given(st.lists(st.floats(0.01, 5000), min_size=1, max_size=20), st.integers(1, 10))
def test_all_that_was_spent_holds_the_last_step(costs: list[float], seeds: int) -> None:
    """Whatever rounding makes of a total that is summed, averaged over seeds, and cut into tenths."""
    curve = anytime_curve(np.arange(len(costs), dtype=float), np.array(costs), lower_is_better=False)
    total = float(np.mean([curve.costs[-1]] * seeds))
    assert curve.at(total * np.arange(1, 11) / 10, 0.0)[-1] == len(costs) - 1


def test_both_rates_by_hand() -> None:
    found = Submissions(valid=6, disqualified=1, none=2, lost=3)
    assert found.published_rate == pytest.approx(7 / 12)
    assert found.rate == pytest.approx(6 / 9)
    low, high = found.interval() or (0, 0)
    assert low == pytest.approx(stats.beta.ppf(0.025, 6, 4))
    assert high == pytest.approx(stats.beta.ppf(0.975, 7, 3))
    empty = Submissions(0, 0, 0, 2)
    assert (empty.rate, empty.published_rate, empty.interval()) == (None, 0, None)
    assert Submissions(0, 0, 0, 0).published_rate is None


def test_the_mean_rate_over_tasks_has_students_interval() -> None:
    found = mean_rate([0.2, None, 0.4, 0.6])
    assert found is not None
    expected = stats.ttest_1samp([0.2, 0.4, 0.6], 0).confidence_interval(0.95)
    assert found.value == pytest.approx(0.4)
    assert (found.low, found.high) == (max(0.0, expected.low), pytest.approx(expected.high))
    assert mean_rate([None]) is None


def test_classes_are_counted_with_zeros() -> None:
    names, counts = class_counts({"a": ["ok", "ok", "timeout"], "b": ["oom"], "c": []})
    assert names == ("ok", "oom", "timeout")
    assert counts == {"a": (2, 0, 1), "b": (0, 1, 0), "c": (0, 0, 0)}


SCALES = {
    "x": Scale(0.5, 0.9, 1.0, lower_is_better=False),
    "y": Scale(4.0, 1.0, 0.0, lower_is_better=True),
}


def small() -> Runs:
    return Runs.of(
        [
            Run("b", "y", 0, 2.0), Run("a", "x", 1, None), Run("a", "x", 0, 0.9),
            Run("a", "y", 0, 1.0), Run("b", "x", 0, 0.5), Run("b", "x", 1, 0.5), Run("b", "x", 2, 0.7),
        ]
    )  # fmt: skip


def test_columns_and_cells() -> None:
    runs = small()
    assert (runs.agents, runs.tasks) == (("a", "b"), ("x", "y"))
    assert runs.cells[0, 0][0] == 0.9
    assert np.isnan(runs.cells[0, 0][1])
    assert runs.cells[1, 0].tolist() == [0.5, 0.5, 0.7]
    blocks = runs.blocks()
    assert blocks.shape == (2, 4)
    assert blocks[1].tolist() == [0.5, 0.5, 0.7, 2.0]
    with pytest.raises(ValueError, match="twice"):
        Runs.of([Run("a", "x", 0, 1.0), Run("a", "x", 0, 2.0)])
    with pytest.raises(ValueError, match="at least one"):
        Runs.of([])
    with pytest.raises(ValueError, match="finite number or None, not inf"):
        Runs.of([Run("a", "x", 0, float("inf"))])


def test_a_whole_suite_says_the_same_of_runs_in_any_order() -> None:
    runs = [Run(agent, task, seed, 0.6 + 0.01 * seed) for agent in "abc" for task in "xy" for seed in range(4)]
    settings = StatisticsSettings(resamples=50, rating_resamples=50)
    first, second = (
        suite_statistics(Runs.of(each), SCALES, generator(), chosen=["a"], settings=settings)
        for each in (runs, runs[::-1])
    )
    assert first == second
    assert [str(rank) for rank in first.ranks] == ["1-3"] * 3
    assert first.ratings.players == ("a", "b", "c", "published best")
    alone = suite_statistics(Runs.of([Run("a", "x", 0, None)]), SCALES, generator(), settings=settings)
    assert (alone.comparisons, [str(rank) for rank in alone.ranks]) == ((), ["1"])


def test_normalizing_by_the_fixed_and_by_the_observed_worst() -> None:
    runs = small()
    linear = runs.normalized(SCALES, Worst.FIXED, Spacing.LINEAR)
    assert linear.cells[0, 0].tolist() == [1, 0]
    assert linear.cells[1, 0] == pytest.approx([0, 0, 0.5])
    assert linear.cells[1, 1] == pytest.approx([2 / 3])
    observed = runs.normalized(SCALES, Worst.OBSERVED, Spacing.MARCH_OF_NINES)
    assert observed.cells[1, 1] == pytest.approx([0])
    failed = Runs.of([Run("a", "x", 0, None)]).normalized(SCALES, Worst.OBSERVED, Spacing.LINEAR)
    assert failed.score.tolist() == [0]


def test_means_over_tasks_and_agents() -> None:
    scores = small().normalized(SCALES, Worst.FIXED, Spacing.LINEAR)
    agents = mean_over_tasks(scores, Aggregate.MEAN, generator())
    assert agents["a"].value == pytest.approx((0.5 + 1) / 2)
    assert agents["b"].value == pytest.approx((0.5 / 3 + 2 / 3) / 2)
    tasks = mean_over_agents(scores, generator())
    assert tasks["x"].value == pytest.approx((0.5 + 0.5 / 3) / 2)
    assert mean_over_agents(scores, generator(), among=["a"])["x"].value == pytest.approx(0.5)
    assert mean_over_agents(scores, generator(), among=[]) == {}


def test_eight_agents_at_zero_make_twelve_twentieths() -> None:
    """Table 4: the right half is the left times 12/20."""
    runs = [Run(f"greedy{agent}", "x", seed, 0.6 + agent / 100) for agent in range(12) for seed in range(10)]
    runs += [Run(f"one-shot{agent}", "x", seed, None) for agent in range(8) for seed in range(20)]
    scores = Runs.of(runs).normalized(SCALES, Worst.FIXED, Spacing.MARCH_OF_NINES)
    greedy = [name for name in scores.agents if name.startswith("greedy")]
    left, right = (mean_over_agents(scores, generator(), among=among)["x"].value for among in (greedy, None))
    assert right == pytest.approx(left * 12 / 20)


def test_bands_quarter_tasks() -> None:
    means = {f"t{place}": 1 - place / 10 for place in range(8)}
    assert list(difficulty_bands(means).values()) == [
        Band.EASY, Band.EASY, Band.MEDIUM, Band.MEDIUM, Band.HARD, Band.HARD, Band.EXPERT, Band.EXPERT
    ]  # fmt: skip
    assert set(difficulty_bands({"a": 0.5, "b": 0.5}).values()) == {Band.EASY}
    assert difficulty_bands({}) == {}
