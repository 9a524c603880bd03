"""Does the charge cover what a cheating model gained, as often as it says? On simulated models, many audits each."""

import math
from collections.abc import Callable

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st
from served_models import RULES, VOCABULARY

from aira_evaluator.autoresearch.audit import Charge, charge, largest_possible_gain
from aira_evaluator.autoresearch.bounds import unseen_fraction, upper_mean_bound

Floats = np.ndarray
POPULATION, PROBES, AUDITS = 50_000, 400, 150
ALLOWED_MISSES = 0.05 * AUDITS + 2.5 * math.sqrt(0.05 * 0.95 * AUDITS)


def honest(rng: np.random.Generator) -> Floats:
    """Nats of an honest model: many cheap tokens, some dear ones."""
    return np.asarray(rng.gamma(0.8, 3.0, POPULATION))


def everywhere(nats: Floats, rng: np.random.Generator) -> Floats:
    return 0.9 * nats


def at_random(share: float) -> Callable[[Floats, np.random.Generator], Floats]:
    return lambda nats, rng: np.where(rng.random(POPULATION) < share, nats, 0.0)


def at_the_dearest(share: float) -> Callable[[Floats, np.random.Generator], Floats]:
    def gain(nats: Floats, rng: np.random.Generator) -> Floats:
        return np.where(nats >= np.quantile(nats, 1 - share), nats, 0.0)

    return gain


def a_little_everywhere(nats: Floats, rng: np.random.Generator) -> Floats:
    return np.asarray(np.minimum(nats, 0.03))


def worse_elsewhere(nats: Floats, rng: np.random.Generator) -> Floats:
    """Gains at some positions, pays at others: only the sum counts."""
    return np.where(rng.random(POPULATION) < 0.1, nats, 0.0) - np.where(rng.random(POPULATION) < 0.5, 0.2, 0.0)


def audit(nats: Floats, gains: Floats, noise: float, rng: np.random.Generator) -> Charge:
    probed = rng.choice(POPULATION, PROBES, replace=False)
    prefix = nats[probed].astype(np.float32)
    parallel = (nats[probed] - gains[probed] + rng.normal(0, noise, PROBES)).astype(np.float32)
    possible = largest_possible_gain([prefix.astype(np.float64) - parallel], RULES.tolerance, VOCABULARY)
    return charge(prefix, parallel, possible, RULES)


@pytest.mark.parametrize("noise", [1e-5, 0.02])
@pytest.mark.parametrize(
    "cheat",
    [
        pytest.param(everywhere, id="everywhere"),
        pytest.param(at_random(0.3), id="three in ten"),
        pytest.param(at_random(0.02), id="one in fifty"),
        pytest.param(at_random(unseen_fraction(PROBES, 0.95)), id="as rarely as is just seen"),
        pytest.param(at_random(0.002), id="too rarely to be seen"),
        pytest.param(at_the_dearest(0.05), id="at the dearest twentieth"),
        pytest.param(at_the_dearest(unseen_fraction(PROBES, 0.95)), id="at the dearest, just seen"),
        pytest.param(at_the_dearest(0.002), id="at the dearest, unseen"),
        pytest.param(a_little_everywhere, id="a little everywhere"),
        pytest.param(worse_elsewhere, id="worse elsewhere"),
    ],
)
def test_no_more_than_the_stated_residual_is_gained_in_95_of_100_audits(
    cheat: Callable[[Floats, np.random.Generator], Floats], noise: float
) -> None:
    rng = np.random.default_rng(3)
    nats = honest(rng)
    gains = cheat(nats, rng)
    found = [audit(nats, gains, noise, rng) for _ in range(AUDITS)]
    misses = sum(gains.mean() > one.charged + one.residual for one in found)
    assert misses <= ALLOWED_MISSES


@pytest.mark.parametrize("share", [0.02, 0.1, 1.0])
def test_what_is_seen_often_enough_is_charged_in_full_without_the_residual(share: float) -> None:
    rng = np.random.default_rng(4)
    nats = honest(rng)
    gains = at_random(share)(nats, rng)
    found = [audit(nats, gains, 1e-5, rng) for _ in range(AUDITS)]
    assert sum(gains.mean() > one.charged for one in found) <= ALLOWED_MISSES


@pytest.mark.parametrize(("noise", "most_nats"), [(1e-6, 1e-6), (1e-4, 1e-4), (0.02, 0.006)])
def test_an_honest_model_pays_for_rounding_alone(noise: float, most_nats: float) -> None:
    rng = np.random.default_rng(5)
    nats = honest(rng)
    found = [audit(nats, np.zeros(POPULATION), noise, rng) for _ in range(AUDITS)]
    assert max(one.charged for one in found) <= most_nats


def test_students_bound_would_not_do() -> None:
    """Why the bound is not the usual one: rare large gains are missed far more often than 1 time in 20."""
    rng = np.random.default_rng(6)
    nats = honest(rng)
    gains = at_random(0.01)(nats, rng)
    samples = [gains[rng.choice(POPULATION, PROBES, replace=False)] for _ in range(AUDITS)]
    student = [sample.mean() + 1.65 * sample.std(ddof=1) / math.sqrt(PROBES) for sample in samples]
    assert sum(gains.mean() > bound for bound in student) > 2 * 0.05 * AUDITS
    ours = [upper_mean_bound(sample, 2 * math.log(VOCABULARY) + 20, 0.95) for sample in samples]
    assert sum(gains.mean() > bound for bound in ours) <= ALLOWED_MISSES


@given(values=st.lists(st.floats(-5, 5), min_size=1, max_size=60), largest=st.floats(5, 50))
def test_the_bound_lies_above_the_mean_below_the_largest_and_ignores_order(values: list[float], largest: float) -> None:
    sample = np.array(values)
    bound = upper_mean_bound(sample, largest, 0.95)
    assert sample.mean() <= bound + 1e-9
    assert 0.0 <= bound <= largest
    assert upper_mean_bound(sample[::-1], largest, 0.95) == pytest.approx(bound, abs=1e-9)


@given(zeros=st.integers(100, 20_000))
def test_seeing_nothing_is_the_rule_of_three(zeros: int) -> None:
    assert unseen_fraction(zeros, 0.95) == pytest.approx(3 / zeros, rel=0.02)
    assert (1 - unseen_fraction(zeros, 0.95)) ** zeros == pytest.approx(0.05)
