"""Paired tests: values by hand and by scipy, ties, and that a placebo has no winner."""

from collections.abc import Callable
from itertools import product

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from scipy import stats

from aira_bench.statistics.noise import NoiseFloor, least_difference, noise_floor
from aira_bench.statistics.paired import Verdict, compare, holm, rank_ranges, sign_flip_p

GAPS = st.lists(st.floats(-5, 5, allow_nan=False), min_size=1, max_size=9)


def generator(seed: int = 0) -> np.random.Generator:
    return np.random.default_rng(seed)


def test_p_values_by_hand() -> None:
    """Of the eight sign patterns of 1, 2, 3 only +++ and --- reach 6; of 1, 1, -1 all but none fall short of 1."""
    assert sign_flip_p(np.array([1.0, 2.0, 3.0]), generator()) == 2 / 8
    assert sign_flip_p(np.array([1.0, 1.0, -1.0]), generator()) == 1
    assert sign_flip_p(np.array([1.0, 1.0, 0.0]), generator()) == 4 / 8  # a zero stays in: it takes both signs
    assert sign_flip_p(np.array([]), generator()) == 1


@given(GAPS)
def test_exact_p_values_are_those_of_all_patterns(gaps: list[float]) -> None:
    values = np.array(gaps)
    sums = np.array([np.dot(signs, values) for signs in product((-1, 1), repeat=len(gaps))])
    expected = np.mean(np.abs(sums) >= abs(values.sum()) - 1e-9 * np.abs(values).sum())
    assert sign_flip_p(values, generator()) == pytest.approx(expected)


def test_exact_and_drawn_p_values_are_scipys() -> None:
    draws = generator(5)
    for count, slack in ((12, 1e-12), (40, 0.008)):
        gaps = draws.normal(0.3, 1, count)
        theirs = stats.permutation_test(
            (gaps,), np.mean, permutation_type="samples", n_resamples=4096 if count == 12 else 100_000, rng=generator(6)
        )
        assert sign_flip_p(gaps, generator(7)) == pytest.approx(theirs.pvalue, abs=slack)


@given(GAPS, st.randoms(use_true_random=False))
def test_the_order_of_blocks_and_of_the_two_says_nothing(gaps: list[float], random: "object") -> None:
    values = np.array(gaps)
    other = -np.random.default_rng(len(gaps)).permutation(values)
    assert sign_flip_p(values, generator()) == pytest.approx(sign_flip_p(other, generator()))


def test_holm_by_hand_and_by_scipy() -> None:
    assert holm([0.01, 0.04, 0.03]) == pytest.approx([0.03, 0.06, 0.06])
    assert holm([0.5, 0.9]) == pytest.approx([1, 1])
    assert holm([]).size == 0


@given(st.lists(st.floats(0, 1), min_size=1, max_size=15))
def test_holm_lies_between_the_raw_values_and_bonferronis(raw: list[float]) -> None:
    values = np.array(raw)
    corrected = holm(values)
    assert (corrected >= values).all()
    assert (corrected <= np.minimum(1, values * len(raw)) + 1e-12).all()
    order = np.argsort(values, kind="stable")
    assert (np.diff(corrected[order]) >= 0).all()


def test_only_common_blocks_are_compared() -> None:
    nan = np.nan
    found = compare(np.array([[1.0, 2, 3, nan], [0, 0, nan, 9], [nan, nan, nan, 1]]), generator())
    assert [(each.first, each.second, each.blocks) for each in found] == [(0, 1, 2), (0, 2, 0), (1, 2, 1)]
    assert found[0].difference == 1.5
    assert found[1].why == "no common seeds"
    assert all(each.verdict is Verdict.TIED for each in found)


def test_few_seeds_say_that_they_cannot_tell() -> None:
    """Five seeds allow 2 / 32, whatever they say; six allow 2 / 64, and that among any number of names."""
    scores = np.vstack([np.full(6, 1.0), *[np.zeros(6)] * 9])
    five = compare(scores[:, :5], generator())[0]
    assert five.least_p == five.p == 2 / 32
    assert (five.why, five.corrected_p) == ("too few common seeds (5) to tell anything apart", 1)
    six = compare(scores, generator())[0]
    assert (six.verdict, six.corrected_p, six.holm_p) == (Verdict.FIRST, 2 / 64, 1)


def test_corrected_p_values_by_hand() -> None:
    """a - b is 1 in six blocks, a - c too but for a block of 0, and b - c is -1 in that block alone, 0 else.

    Six equal signs alone reach 6 / sqrt(6): 2 of 64. a - c reaches 5 with its five signs equal, in 4 of 64, and b - c
    reaches 1 always. Holm: 3 * 2 / 64, 2 * 4 / 64 and 1.
    """
    scores = np.array([[1.0] * 6, [0] * 6, [0, 0, 0, 0, 0, 1]])
    found = {(each.first, each.second): each for each in compare(scores, generator())}
    assert [found[pair].corrected_p for pair in ((0, 1), (0, 2), (1, 2))] == [2 / 64, 4 / 64, 1]
    assert [found[pair].holm_p for pair in ((0, 1), (0, 2), (1, 2))] == [6 / 64, 8 / 64, 1]


@settings(max_examples=30)
@given(st.integers(2, 4), st.integers(6, 8), st.integers(0, 10**6))
def test_corrected_p_values_are_those_of_all_patterns(agents: int, blocks: int, seed: int) -> None:
    """By the definition of Westfall and Young, each rank with the maximum over the ranks that are left."""
    scores = generator(seed).normal(size=(agents, blocks))
    found = sorted(compare(scores, generator()), key=lambda each: -abs(each.difference))
    gaps = np.array([scores[each.first] - scores[each.second] for each in found])
    patterns = np.array(list(product((-1, 1), repeat=blocks)))
    last = 0.0
    for place, each in enumerate(found):
        rivals = np.abs(patterns @ gaps[place:].T).max(axis=1)
        last = max(last, float(np.mean(rivals >= abs(gaps[place].sum()) - 1e-9)))
        assert each.corrected_p == pytest.approx(last)


def test_a_pair_with_few_blocks_does_not_stand_in_the_way() -> None:
    """The third name ran two seeds, and scored far better: nothing is known of it, and the other two are ordered."""
    nan = np.nan
    scores = np.array([[1.0] * 8, [0] * 8, [99, 99, *[nan] * 6]])
    found = {(each.first, each.second): each for each in compare(scores, generator())}
    assert found[0, 1].verdict is Verdict.FIRST
    assert found[0, 2].why == "too few common seeds (2) to tell anything apart"


def test_the_noise_floor_refuses_to_order() -> None:
    scores = np.vstack([np.linspace(0.50, 0.51, 12) + 0.004, np.linspace(0.50, 0.51, 12)])
    assert compare(scores, generator())[0].verdict is Verdict.FIRST
    refused = compare(scores, generator(), least_differences=0.01)[0]
    assert (refused.verdict, refused.why) == (Verdict.TIED, "within the noise of training")
    assert compare(-scores, generator(), least_differences={(0, 1): 0.001})[0].verdict is Verdict.SECOND


def test_a_family_holds_each_pair_once() -> None:
    for pairs in ([(0, 0)], [(0, 1), (1, 0)]):
        with pytest.raises(ValueError, match="once"):
            compare(np.zeros((2, 3)), generator(), pairs=pairs)


def test_ranks_leave_ties_open() -> None:
    good = np.linspace(0, 0.01, 12)
    found = compare(np.vstack([good + 1, good + 1.0, good, np.full(12, np.nan)]), generator())
    assert [str(each) for each in rank_ranges(4, found)] == ["1-3", "1-3", "3-4", "1-4"]
    assert [str(each) for each in rank_ranges(3, [])] == ["1-3"] * 3


FLOOR = 0.029
"""Of one training on mad-2p cpu."""


def placebo(draws: np.random.Generator, seeds: int = 14, names: int = 10) -> np.ndarray:
    """Ten names of one agent: blocks differ, names do not."""
    return (
        draws.normal(0, 0.03, (1, seeds))
        + draws.normal(0, 0.02, (names, seeds))
        + draws.normal(0, FLOOR, (names, seeds))
    )


def ordered(scores: np.ndarray, draws: np.random.Generator) -> list[tuple[int, int]]:
    least = least_difference(NoiseFloor(FLOOR, 30), scores.shape[1], scores.shape[1])
    return [
        (each.first, each.second)
        for each in compare(scores, draws, least_differences=least)
        if each.verdict is not Verdict.TIED
    ]


def test_a_placebo_is_ordered_nowhere_in_95_of_100_resamplings() -> None:
    draws = generator(2026)
    assert sum(not ordered(placebo(draws), draws) for _ in range(100)) >= 95


def test_a_planted_difference_of_two_noise_floors_is_found() -> None:
    """Of one name among ten with ten seeds: most pairs with it are ordered, and rightly, and hardly any other."""
    draws, found, wrong = generator(2027), 0, 0
    for _ in range(60):
        scores = draws.normal(0, FLOOR, (10, 10))
        scores[3] += 2 * FLOOR
        pairs = ordered(scores, draws)
        found += sum(3 in pair for pair in pairs) >= 5
        wrong += any(3 not in pair for pair in pairs)
    assert found >= 50
    assert wrong <= 6


LUCK: dict[str, Callable[[np.random.Generator, tuple[int, int]], np.ndarray]] = {
    "skewed": lambda draws, shape: draws.exponential(size=shape),
    "failing": lambda draws, shape: np.where(draws.random(shape) < 0.15, -8, draws.normal(size=shape)),
    "two values": lambda draws, shape: (draws.random(shape) < 0.5).astype(float),
}


@pytest.mark.parametrize("luck", LUCK)
def test_luck_that_is_not_symmetric_orders_no_placebo_either(luck: str) -> None:
    """Of 200 families at 5 % 10 are expected; 20 or more have a probability below 0.003. Bench has larger ones."""
    draws = generator(2028)
    alpha_hits = sum(
        any(each.corrected_p <= 0.05 for each in compare(LUCK[luck](draws, (10, 10)), draws)) for _ in range(200)
    )
    assert alpha_hits < 20


def test_what_differs_does_not_order_what_does_not() -> None:
    """Five names far above five others: at most one family in twenty orders anything among equals."""
    draws, wrong = generator(2029), 0
    for _ in range(200):
        scores = draws.normal(0, 1, (10, 10)) + np.repeat([0.0, 5.0], 5)[:, np.newaxis]
        wrong += any(
            each.corrected_p <= 0.05 and (each.first < 5) == (each.second < 5) for each in compare(scores, draws)
        )
    assert wrong < 20


def test_a_noise_floor_by_hand() -> None:
    floor = noise_floor([np.array([1.0, 3.0]), np.array([5.0, 5.0, 8.0]), np.array([9.0])])
    assert floor == NoiseFloor(pytest.approx(np.sqrt((2 + 6) / 3)), 3)
    low, high = floor.interval()
    assert low == pytest.approx(np.sqrt(8 / stats.chi2.ppf(0.975, 3)))
    assert high == pytest.approx(np.sqrt(8 / stats.chi2.ppf(0.025, 3)))
    with pytest.raises(ValueError, match="at least twice"):
        noise_floor([np.array([1.0])])


def test_the_least_difference_is_exceeded_by_equals_as_often_as_said() -> None:
    draws, beyond = generator(9), 0
    for _ in range(2000):
        floor = noise_floor(list(draws.normal(0, 1, (3, 5))))
        first, second = draws.normal(0, 1, 4).mean(), draws.normal(0, 1, 6).mean()
        beyond += abs(first - second) > least_difference(floor, 4, 6)
    assert 0.035 <= beyond / 2000 <= 0.065
    with pytest.raises(ValueError, match="at least one"):
        least_difference(NoiseFloor(1.0, 3), 0, 3)


@settings(max_examples=30)
@given(st.integers(2, 6), st.integers(1, 10))
def test_names_say_nothing(agents: int, blocks: int) -> None:
    scores = generator(blocks).normal(size=(agents, blocks))
    order = generator(agents).permutation(agents)
    straight = {(each.first, each.second): each.corrected_p for each in compare(scores, generator())}
    turned = compare(scores[order], generator())
    for each in turned:
        a, b = int(order[each.first]), int(order[each.second])
        assert each.corrected_p == pytest.approx(straight[min(a, b), max(a, b)])


@pytest.mark.parametrize("seed", range(6))
def test_a_correction_makes_no_p_value_smaller_where_patterns_are_drawn(seed: int) -> None:
    """The pairs' own p values and the family's are of other draws, or of all patterns: one was 0.8479 and then 0.8468."""
    generator = np.random.default_rng(seed)
    scores = generator.normal(size=(3, 20))
    scores[0, :10] = np.nan
    for found in compare(scores, generator, draws=500):
        assert found.corrected_p >= found.p
