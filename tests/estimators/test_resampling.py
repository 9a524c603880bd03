"""Aggregates and their intervals: values by hand and by scipy, and how often intervals hold the truth."""

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st
from numpy.testing import assert_allclose, assert_array_equal
from scipy import stats

from aira_bench.statistics.arrays import IntervalEstimate, percentile_estimate
from aira_bench.statistics.noise import NoiseFloor, least_difference
from aira_bench.statistics.resampling import Aggregate, aggregate, stratified_estimate, two_levels

VALUES = st.lists(st.floats(-10, 10, allow_nan=False), min_size=1, max_size=12)


def generator(seed: int = 0) -> np.random.Generator:
    return np.random.default_rng(seed)


def test_aggregates_by_hand() -> None:
    strata = [np.array([0.0, 2.0]), np.array([4.0, 6.0]), np.array([10.0, 30.0])]
    assert aggregate(strata, Aggregate.MEAN) == pytest.approx((1 + 5 + 20) / 3)
    assert aggregate(strata, Aggregate.MEDIAN) == 5
    # six runs: one is cut at either end, which leaves 2, 4, 6 and 10
    assert aggregate(strata, Aggregate.INTERQUARTILE_MEAN) == pytest.approx(5.5)


def test_strata_of_other_sizes_weigh_the_same_in_the_mean() -> None:
    assert aggregate([np.zeros(20), np.ones(10)], Aggregate.MEAN) == 0.5


@pytest.mark.parametrize("runs", range(1, 30))
def test_the_middle_half_is_that_of_scipy(runs: int) -> None:
    values = np.random.default_rng(runs).normal(size=(20, runs))
    assert_array_equal(aggregate([values], Aggregate.INTERQUARTILE_MEAN), stats.trim_mean(values, 0.25, axis=-1))


@pytest.mark.parametrize("freedom", [1, 2, 7, 30])
def test_quantiles_of_a_floor_are_those_of_scipy(freedom: int) -> None:
    floor = NoiseFloor(0.3, freedom)
    low, high = stats.chi2.interval(0.95, freedom)
    assert_allclose(floor.interval(0.95), (0.3 * (freedom / high) ** 0.5, 0.3 * (freedom / low) ** 0.5), rtol=1e-12)
    half = stats.t.ppf(0.975, freedom) * 0.3 * (1 / 3 + 1 / 4) ** 0.5
    assert least_difference(floor, 3, 4, level=0.95) == pytest.approx(half, rel=1e-12)


def test_an_empty_stratum_is_refused() -> None:
    for strata in ([], [np.array([])]):
        with pytest.raises(ValueError, match="at least one run"):
            aggregate(strata, Aggregate.MEAN)


def test_the_interval_is_that_of_scipys_bootstrap() -> None:
    values = generator(3).normal(0, 1, 40)
    ours = stratified_estimate([values], Aggregate.MEAN, generator(1), resamples=20_000)
    theirs = stats.bootstrap((values,), np.mean, n_resamples=20_000, method="percentile", rng=generator(2))
    assert ours.low == pytest.approx(theirs.confidence_interval.low, abs=0.02)
    assert ours.high == pytest.approx(theirs.confidence_interval.high, abs=0.02)


def test_runs_are_drawn_within_their_stratum() -> None:
    """Two strata far apart and each constant: whatever is drawn, the mean stays."""
    found = stratified_estimate([np.zeros(5), np.full(5, 100.0)], Aggregate.MEAN, generator())
    assert (found.low, found.value, found.high) == (50, 50, 50)


def test_single_runs_have_no_interval() -> None:
    assert stratified_estimate([np.array([1.0])] * 3, Aggregate.MEAN, generator()) == IntervalEstimate(
        1.0, None, None, 3
    )
    assert two_levels([np.array([1.0])], generator()).mean == IntervalEstimate(1.0, None, None, 1)


def test_an_unknown_value_is_no_part_of_an_interval() -> None:
    """It was: value NaN, interval 1 to 2, no spread between seeds."""
    for odd in (np.nan, np.inf):
        with pytest.raises(ValueError, match="finite"):
            two_levels([np.array([odd, 1.0]), np.array([2.0])], generator())
        with pytest.raises(ValueError, match="finite"):
            stratified_estimate([np.array([odd, 1.0])], Aggregate.MEDIAN, generator())
    with pytest.raises(ValueError, match="needs resamples"):
        stratified_estimate([np.array([1.0, 2.0])], Aggregate.MEAN, generator(), resamples=0)


def test_a_level_outside_its_range_is_refused() -> None:
    with pytest.raises(ValueError, match="between 0 and 1"):
        percentile_estimate(0.0, np.zeros(3), 3, level=95)


@given(VALUES, st.sampled_from(Aggregate), st.randoms(use_true_random=False))
def test_the_order_of_runs_and_strata_says_nothing(values: list[float], how: Aggregate, random: "object") -> None:
    strata = [np.array(values), np.array(values[::-1]) + 1, np.array([3.0])]
    other = [np.random.default_rng(len(values)).permutation(stratum) for stratum in reversed(strata)]
    assert aggregate(strata, how) == pytest.approx(aggregate(other, how), abs=1e-9)


@given(VALUES, st.sampled_from(Aggregate), st.integers(0, 11), st.floats(0, 5))
def test_a_better_run_never_lowers_an_aggregate(values: list[float], how: Aggregate, place: int, more: float) -> None:
    better = np.array(values)
    better[place % better.size] += more
    strata = [np.array([1.0, 2.0]), np.array(values)]
    assert aggregate([strata[0], better], how) >= aggregate(strata, how) - 1e-9


def covered(trials: int, strata: int, runs: int, how: Aggregate) -> float:
    draws = generator(7)
    estimates = (
        stratified_estimate(list(draws.normal(0, 1, (strata, runs))), how, draws, resamples=400) for _ in range(trials)
    )
    return float(np.mean([estimate.holds(0.0) for estimate in estimates]))


@pytest.mark.parametrize(
    ("strata", "runs", "least", "most"), [(6, 10, 0.90, 0.98), (1, 10, 0.86, 0.95), (1, 3, 0.66, 0.80)]
)
def test_coverage_is_as_documented(strata: int, runs: int, least: float, most: float) -> None:
    assert least <= covered(300, strata, runs, Aggregate.MEAN) <= most


def test_coverage_of_the_interquartile_mean() -> None:
    assert 0.90 <= covered(300, 6, 10, Aggregate.INTERQUARTILE_MEAN) <= 0.99


def test_two_levels_by_hand() -> None:
    """Means 1 and 5, pooled within variance (2 + 2) / 2 = 2; between: 8 less 2 / 2."""
    found = two_levels([np.array([0.0, 2.0]), np.array([4.0, 6.0])], generator())
    assert found.mean.value == 3
    assert found.training_deviation == pytest.approx(np.sqrt(2))
    assert found.search_deviation == pytest.approx(np.sqrt(7))


def test_seeds_that_were_trained_differently_often() -> None:
    found = two_levels([np.array([0.0, 2.0, 4.0]), np.array([8.0])], generator())
    assert found.mean.value == 5
    assert found.training_deviation == 2
    assert found.search_deviation == pytest.approx(np.sqrt(18 - 4 * (1 / 3 + 1) / 2))
    assert two_levels([np.array([1.0]), np.array([2.0])], generator()).training_deviation is None
    assert two_levels([np.array([1.0, 2.0])], generator()).search_deviation is None


def test_two_levels_find_what_was_planted_and_cover_the_mean() -> None:
    draws, held, between, within = generator(11), [], [], []
    for _ in range(300):
        seeds = draws.normal(0, 0.03, (10, 1))
        found = two_levels(list(seeds + draws.normal(0, 0.029, (10, 3))), draws, resamples=400)
        held.append(found.mean.holds(0.0))
        between.append((found.search_deviation or 0) ** 2)
        within.append((found.training_deviation or 0) ** 2)
    assert 0.90 <= np.mean(held) <= 0.99
    assert np.sqrt(np.mean(between)) == pytest.approx(0.03, rel=0.06)
    assert np.sqrt(np.mean(within)) == pytest.approx(0.029, rel=0.03)
