"""Differences on common seeds: intervals that hold together as often as they say, and open ones where nothing is known."""

import math

import numpy as np
import pytest

from aira_bench.statistics.against_reference import differences_from, mean_of


@pytest.mark.parametrize(("models", "seeds"), [(5, 3), (3, 2), (8, 5)])
def test_all_intervals_hold_together_in_95_of_100_tables(models: int, seeds: int) -> None:
    rng, held, tables = np.random.default_rng(1), 0, 2000
    for _ in range(tables):
        levels = rng.normal(3.0, 0.1, models)
        values = levels[:, None] + rng.normal(0, 0.5, seeds) + rng.normal(0, 0.02, (models, seeds))
        found = differences_from(values.tolist(), 0)
        held += all(each.holds(level - levels[0]) for each, level in zip(found, levels, strict=True))
    assert held / tables >= 0.95 - 2 * math.sqrt(0.95 * 0.05 / tables)


def test_what_seeds_have_in_common_is_no_noise() -> None:
    values = np.array([[3.0, 9.0, 5.0], [3.1, 9.1, 5.1]])
    found = differences_from(values.tolist(), 0)[1]
    assert (found.low, found.high) == pytest.approx((0.1, 0.1))
    alone = mean_of(values[0].tolist())
    assert alone.low is not None
    assert alone.low < alone.value - 3


def test_one_seed_tells_nothing() -> None:
    (reference, other) = differences_from([[3.0], [2.0]], 0)
    assert (reference.low, reference.high) == (0.0, 0.0)
    assert (other.value, other.low, other.high) == (-1.0, None, None)
    assert mean_of([3.0]).low is None


def test_a_gap_is_refused() -> None:
    with pytest.raises(ValueError, match="not finite"):
        differences_from([[3.0, math.nan], [2.0, 2.0]], 0)
