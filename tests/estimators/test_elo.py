"""Ratings: wins by hand, likelihoods by scikit-learn, and players that nobody can place."""

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from sklearn.linear_model import LogisticRegression

from aira_bench.statistics.elo import battles, bradley_terry, ratings

SCORES = st.lists(st.lists(st.sampled_from([0.0, 0.25, 0.5, 1.0, np.nan]), max_size=4), min_size=2, max_size=4)


def generator(seed: int = 0) -> np.random.Generator:
    return np.random.default_rng(seed)


def test_battles_by_hand() -> None:
    """Against the second the first wins 2 and ties 1 of 6; a failure loses to a score and ties with a failure."""
    won = battles([np.array([1.0, 0.5]), np.array([0.5, 2.0, np.nan]), np.array([np.nan])])
    assert won[0].tolist() == [0, 1 + 0 + 1 + 0.5 + 1, 2]
    assert won[1].tolist() == [6 - 3.5, 0, 2.5]
    assert won[2].tolist() == [0, 0.5, 0]


@given(SCORES)
def test_battles_are_those_of_every_run_with_every_other(drawn: list[list[float]]) -> None:
    scores = [np.array(each, np.float64) for each in drawn]
    won = battles(scores)
    for a, first in enumerate(scores):
        for b, second in enumerate(scores):
            x, y = (np.nan_to_num(each, nan=-1) for each in (first, second))
            ties = np.isclose(x[:, None], y[None, :], atol=1e-6)
            expected = ((x[:, None] > y[None, :]) & ~ties).sum() + ties.sum() / 2
            assert won[a, b] == (0 if a == b else expected)


def test_two_players_by_hand() -> None:
    """Three wins of four: 400 log10 3 points apart."""
    found = bradley_terry(np.array([[0.0, 3.0], [1.0, 0.0]]), prior_ties=0)
    assert found.mean() == pytest.approx(1000)
    assert found[0] - found[1] == pytest.approx(400 * np.log10(3))


def test_ratings_are_those_of_a_logistic_regression() -> None:
    """As AIRS-Bench fits them: no intercept, no penalty, a win doubly, a tie once to each side, features +-ln 10."""
    wins = generator(4).integers(1, 9, (6, 6)).astype(float)
    wins[np.diag_indices(6)] = 0
    rows, weights, won = [], [], []
    for a in range(6):
        for b in range(6):
            if a != b:
                row = np.zeros(6)
                row[a], row[b] = np.log(10), -np.log(10)
                rows += [row, row]
                won += [1, 0]
                weights += [wins[a, b], wins[b, a]]
    model = LogisticRegression(fit_intercept=False, C=np.inf, tol=1e-10, max_iter=10_000)
    model.fit(np.array(rows), np.array(won), sample_weight=np.array(weights))
    theirs = 400 * model.coef_[0]
    assert bradley_terry(wins, prior_ties=0) == pytest.approx(theirs - theirs.mean() + 1000, abs=0.05)


def test_a_player_that_never_won_has_no_rating_without_a_prior() -> None:
    wins = np.array([[0.0, 4.0], [0.0, 0.0]])
    with pytest.raises(ValueError, match="never won"):
        bradley_terry(wins, prior_ties=0)
    found = bradley_terry(wins)
    assert found[0] - found[1] == pytest.approx(400 * np.log10(4.5 / 0.5))


def test_hopeless_players_settle_however_many_battles() -> None:
    wins = np.triu(np.full((12, 12), 1e5), 1)
    found = bradley_terry(wins)
    assert (np.diff(found) < 0).all()
    assert np.isfinite(found).all()


@settings(max_examples=30)
@given(st.integers(2, 6), st.integers(0, 99))
def test_the_order_of_players_says_nothing(players: int, seed: int) -> None:
    wins = generator(seed).integers(0, 9, (players, players)).astype(float)
    wins[np.diag_indices(players)] = 0
    order = generator(seed + 1).permutation(players)
    turned = bradley_terry(wins[np.ix_(order, order)])
    assert turned == pytest.approx(bradley_terry(wins)[order], abs=1e-3)


@settings(max_examples=30)
@given(st.integers(2, 5), st.integers(0, 99))
def test_one_more_win_never_lowers_a_rating(players: int, seed: int) -> None:
    wins = generator(seed).integers(0, 5, (players, players)).astype(float)
    wins[np.diag_indices(players)] = 0
    more = wins.copy()
    more[0, 1] += 1
    assert bradley_terry(more)[0] >= bradley_terry(wins)[0] - 1e-6


def test_the_state_of_the_art_plays_along() -> None:
    tasks = [
        {"a": np.array([0.9, 0.8, 0.7]), "b": np.array([0.5, 0.4, np.nan])},
        {"a": np.array([-1.0, -2.0]), "b": np.array([-3.0, -1.0])},
    ]
    found = ratings(tasks, generator(), best_known=[0.95, None], resamples=200)
    assert found.players == ("a", "b", "published best")
    points = {name: estimate.value for name, estimate in zip(found.players, found.ratings, strict=True)}
    assert points["published best"] > points["a"] > points["b"]
    for estimate in found.ratings:
        assert estimate.low is not None
        assert estimate.high is not None
        assert estimate.low <= estimate.value <= estimate.high


def test_who_has_one_run_of_each_task_has_no_interval() -> None:
    """Nothing of its luck is known. What was published is the same in each draw, and plays against runs that are drawn."""
    tasks = [{"a": np.array([0.9]), "b": np.array([0.5, 0.7])}, {"a": np.array([0.2]), "b": np.array([0.3])}]
    found = ratings(tasks, generator(), best_known=[0.6, None], resamples=100)
    counts = {name: (each.count, each.low is None) for name, each in zip(found.players, found.ratings, strict=True)}
    assert counts == {"a": (2, True), "b": (3, False), "published best": (2, False)}
    alone = ratings([{"a": np.array([0.9])}], generator(), best_known=[0.6], resamples=100)
    assert [(each.count, each.low) for each in alone.ratings] == [(1, None), (1, None)]


def test_winning_all_of_two_is_no_certainty() -> None:
    found = ratings([{"a": np.array([0.9, 0.8]), "b": np.array([0.2, 0.3])}], generator(), resamples=100)
    assert [(each.low, each.count) for each in found.ratings] == [(None, 2), (None, 2)]


def test_intervals_hold_the_rating_of_the_distribution() -> None:
    """Runs, not battles, are drawn anew: the truth is the rating of very many runs."""
    shifts = {"a": 0.0, "b": 0.5, "c": 1.0}
    draws = generator(8)
    many = [{name: draws.normal(shift, 1, 4000) for name, shift in shifts.items()}]
    truth = [each.value for each in ratings(many, draws, prior_ties=0, resamples=0).ratings]
    held = []
    for _ in range(100):
        task = {name: draws.normal(shift, 1, 20) for name, shift in shifts.items()}
        found = ratings([task], draws, prior_ties=0.01, resamples=200)
        held += [estimate.holds(value) for estimate, value in zip(found.ratings, truth, strict=True)]
    assert np.mean(held) >= 0.88
