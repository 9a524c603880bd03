"""The estimator against populations of which everything is known: enumerated, simulated, and by a direct regression."""

import math
from itertools import combinations

import numpy as np
import pytest
from hypothesis import assume, given, settings
from hypothesis import strategies as st

from aira_evaluator.autoresearch.contract.hidden_rows import SplitRows
from aira_evaluator.autoresearch.contract.profiles import PROFILES
from aira_evaluator.autoresearch.contract.references import References
from aira_evaluator.autoresearch.judge.estimator import COST_CAP_NATS, LEAST_QUESTIONS, Estimate, estimate
from aira_evaluator.autoresearch.judge.questions import Questions, draw_questions

BYTES = 3


def references_of(values: np.ndarray) -> References:
    """Of a population whose targets [rows, T] are all scored, with values [rows, T, references]."""
    return References.of(values.astype(np.float16), np.full(values.shape[:2], BYTES))


def census(nats: np.ndarray) -> float:
    """Bits per byte with everything asked."""
    return float(np.minimum(nats, COST_CAP_NATS).mean()) / (math.log(2) * BYTES)


def all_draws(rows: int, tokens: int, rows_drawn: int, count: int) -> list[Questions]:
    """Every sample of the design, all equally likely."""
    return [
        Questions(
            np.array([row for row, _ in chosen]), np.array([position for _, position in chosen]),
            np.zeros(count, dtype=np.int64), rows_drawn, rows, rows_drawn * tokens,
        )
        for drawn in combinations(range(rows), rows_drawn)
        for chosen in combinations([(row, position) for row in drawn for position in range(1, tokens + 1)], count)
    ]  # fmt: skip


def judged(questions: Questions, nats: np.ndarray, references: References) -> Estimate:
    return estimate(questions, nats[questions.row, questions.position - 1], references, least=1)


def test_over_all_samples_the_mean_is_the_census_and_the_variance_the_mean_of_its_estimates() -> None:
    nats = np.random.default_rng(1).gamma(1.0, 3.0, (2, 4))
    references = references_of(np.zeros((2, 4, 0)))  # without references the estimator is the mean, and exact
    found = [judged(questions, nats, references) for questions in all_draws(2, 4, 2, 3)]
    scores = np.array([one.bpb for one in found])
    assert len(found) == 56
    assert scores.mean() == pytest.approx(census(nats), rel=1e-12)
    assert np.mean([one.standard_error**2 for one in found]) == pytest.approx(scores.var(), rel=1e-12)


def test_over_all_samples_of_rows_and_positions_it_is_unbiased_and_its_variance_sees_the_rows() -> None:
    rng = np.random.default_rng(2)
    nats = rng.gamma(1.0, 3.0, (5, 4)) + 20 * rng.random((5, 1))  # rows differ more than targets within them
    references = references_of(np.zeros((5, 4, 0)))
    found = [judged(questions, nats, references) for questions in all_draws(5, 4, 3, 6)]
    scores = np.array([one.bpb for one in found])
    assert scores.mean() == pytest.approx(census(nats), rel=1e-12)
    told = np.mean([one.standard_error**2 for one in found])
    assert told == pytest.approx(scores.var(), rel=0.25), "approximate: the numbers of questions by row are not fixed"
    flat = [
        judged(Questions(q.row, q.position, q.container, 5, 5, 20), nats, references) for q in all_draws(5, 4, 3, 6)
    ]
    assert np.mean([one.standard_error**2 for one in flat]) < 0.6 * scores.var(), (
        "blind to rows it would say too little"
    )


@given(seed=st.integers(0, 2**32 - 1), references=st.integers(1, 5))
@settings(max_examples=40, deadline=None)
def test_it_is_the_regression_on_the_references_taken_at_their_mean(seed: int, references: int) -> None:
    rng = np.random.default_rng(seed)
    known = references_of(rng.gamma(2.0, 0.5, (8, 40, references)))
    nats = (known.values.astype(np.float64) @ rng.random(references)) + rng.gamma(1.0, 1.0, (8, 40))
    rows, positions = np.divmod(rng.choice(320, 90, replace=False), 40)
    questions = Questions(rows, positions + 1, np.zeros(90, dtype=np.int64), 8, 8, 320)
    found = judged(questions, nats, known)
    assume(found.lowest_weight > 0 and 2 * nats.max() + 1 < COST_CAP_NATS)
    design = np.column_stack([np.ones(90), known.values[rows, positions].astype(np.float64)])
    beta, *_ = np.linalg.lstsq(design, nats[rows, positions], rcond=None)
    population = np.r_[1.0, known.values.astype(np.float64).mean(axis=(0, 1))]
    assert found.bpb == pytest.approx(population @ beta / (math.log(2) * BYTES), rel=1e-9)
    # Independent of what is added to all costs, and proportional to them.
    shifted = judged(questions, 2 * nats + 1, known)
    assert shifted.bpb == pytest.approx(2 * found.bpb + 1 / (math.log(2) * BYTES), rel=1e-9)
    assert shifted.standard_error == pytest.approx(2 * found.standard_error, rel=1e-6)


def test_a_model_that_references_explain_is_known_exactly_and_so_is_one_asked_for_everything() -> None:
    rng = np.random.default_rng(3)
    known = references_of(rng.gamma(2.0, 1.0, (10, 30, 2)))
    explained = 0.5 + known.values.astype(np.float64) @ np.array([0.7, 0.2])
    split = SplitRows("test", np.zeros((10, 31), dtype=np.uint16), np.array([BYTES]), np.zeros(10, dtype=np.int64), 10)
    few = judged(draw_questions(split, b"", "", 40), explained, known)
    assert few.bpb == pytest.approx(census(explained), rel=1e-9)
    assert few.standard_error < 1e-9
    assert few.plain_bpb != pytest.approx(census(explained), rel=1e-3)
    other = rng.gamma(1.0, 3.0, (10, 30))
    every = draw_questions(split, b"", "", 10_000)
    found = estimate(every, other[every.row, every.position - 1], known)
    assert (found.bpb, found.standard_error) == (pytest.approx(census(other)), 0)


def test_twice_the_same_reference_changes_nothing() -> None:
    rng = np.random.default_rng(4)
    values = rng.gamma(2.0, 1.0, (10, 30, 1))
    nats = values[..., 0] + rng.gamma(1.0, 1.0, (10, 30))
    split = SplitRows("test", np.zeros((10, 31), dtype=np.uint16), np.array([BYTES]), np.zeros(10, dtype=np.int64), 10)
    questions = draw_questions(split, b"", "", 50)
    once = judged(questions, nats, references_of(values))
    twice = judged(questions, nats, references_of(np.concatenate([values, values], axis=2)))
    assert twice.bpb == pytest.approx(once.bpb, rel=1e-6)
    assert twice.standard_error == pytest.approx(once.standard_error, rel=1e-6)


@pytest.mark.parametrize("rows_drawn", [200, 40])
def test_intervals_cover_what_they_say(rows_drawn: int) -> None:
    """Heavy tails, rows that differ, references that see half of it: 400 draws, so 95 % is 95 +- 2.2."""
    rng = np.random.default_rng(5)
    easy = rng.gamma(0.5, 5.0, (200, 100))
    known = references_of(np.stack([easy + rng.gamma(0.5, 2.0, easy.shape), 0.5 * easy], axis=2))
    nats = 0.8 * easy + rng.gamma(0.3, 3.0, easy.shape) + 0.5 * rng.random((200, 1))
    tokens = np.zeros((200, 101), dtype=np.uint16)
    split = SplitRows("test", tokens, np.array([BYTES]), np.zeros(200, dtype=np.int64), rows_drawn)
    found = [judged(draw_questions(split, b"", str(draw), 1000), nats, known) for draw in range(400)]
    scores, errors = np.array([one.bpb for one in found]), np.array([one.standard_error for one in found])
    assert abs(scores.mean() - census(nats)) < 3 * scores.std() / 20
    assert 0.925 <= np.mean(np.abs(scores - census(nats)) <= 1.96 * errors) <= 0.975
    assert errors.mean() == pytest.approx(scores.std(), rel=0.1)


def test_the_difference_of_two_models_asked_the_same_is_told_more_precisely_than_either() -> None:
    rng = np.random.default_rng(6)
    known = references_of(rng.gamma(2.0, 1.0, (50, 100, 1)))
    first = rng.gamma(1.0, 3.0, (50, 100))
    second = first + 0.1 * rng.standard_normal((50, 100)) + 0.05
    tokens = np.zeros((50, 101), dtype=np.uint16)
    split = SplitRows("test", tokens, np.array([BYTES]), np.zeros(50, dtype=np.int64), 50)
    questions = draw_questions(split, b"", "", 1000)
    difference = judged(questions, second - first, known)
    one, other = judged(questions, first, known), judged(questions, second, known)
    assert difference.bpb == pytest.approx(other.bpb - one.bpb, rel=1e-9)
    assert difference.standard_error < 0.1 * one.standard_error
    assert abs(difference.bpb - census(second - first)) < 4 * difference.standard_error


def test_costs_without_limit_buy_no_score_below_the_honest_one() -> None:
    """A cost of 1e30 where references are worst: with a weight below zero it would be a score of minus 1e26."""
    rng = np.random.default_rng(7)
    values = rng.gamma(0.3, 3.0, (40, 50, 1))
    known, dear = references_of(values), values[..., 0] > np.quantile(values, 0.995)
    nats = np.where(dear, 1e30, values[..., 0])
    tokens = np.zeros((40, 51), dtype=np.uint16)
    split = SplitRows("test", tokens, np.array([BYTES]), np.zeros(40, dtype=np.int64), 40)
    found = [judged(draw_questions(split, b"", str(draw), 60), nats, known) for draw in range(300)]
    assert min(one.lowest_weight for one in found) < 0, "so few questions are needed for this to show"
    assert min(one.bpb for one in found) > 0.5 * census(np.where(dear, 0, nats))
    assert max(one.bpb for one in found) < 10


def test_both_profiles_ask_enough() -> None:
    for profile in PROFILES.values():
        assert set(profile.questions) == {"search", "final"}
        assert LEAST_QUESTIONS <= profile.questions["search"] < profile.questions["final"]


def test_too_few_questions_or_answers_are_refused() -> None:
    known = references_of(np.zeros((40, 50, 1)))
    tokens = np.zeros((40, 51), dtype=np.uint16)
    split = SplitRows("test", tokens, np.array([BYTES]), np.zeros(40, dtype=np.int64), 40)
    questions = draw_questions(split, b"", "", LEAST_QUESTIONS - 1)
    with pytest.raises(ValueError, match=r"999 questions are too few .* expected 1000 or more"):
        estimate(questions, np.zeros(999), known)
    with pytest.raises(ValueError, match="answers to 999 questions"):
        estimate(questions, np.zeros(998), known)
