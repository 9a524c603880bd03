"""Thinning and rounding of a training's curve, worked by hand."""

import math

import pytest
from hypothesis import given
from hypothesis import strategies as st

from aira_contract.training_series import MOST_POINTS, TrainingPoint, require_series, series_of, thinned


def points(count: int) -> list[TrainingPoint]:
    return [TrainingPoint(step, 1 / step, 10 * step, step / 7) for step in range(1, count + 1)]


def test_of_seven_points_four_are_the_first_every_second_and_the_last() -> None:
    assert [point.step for point in thinned(points(7), 4)] == [1, 3, 5, 7]


def test_uneven_numbers_are_cut_downwards() -> None:
    """Numbers 0, 9/4, 18/4, 27/4 and 9 of ten, cut: 0, 2, 4, 6, 9."""
    assert [point.step for point in thinned(points(10), 5)] == [1, 3, 5, 7, 10]


@given(st.integers(0, 3000))
def test_a_series_is_bounded_rises_and_keeps_both_ends(count: int) -> None:
    every = points(count)
    series = series_of(every)
    require_series(series)
    assert len(series) == min(count, MOST_POINTS)
    if every:
        assert (series[0].step, series[-1].step) == (1, count)
    assert series == series_of(every)


def test_numbers_are_rounded_as_a_reader_can_use_them() -> None:
    (point,) = series_of([TrainingPoint(3, 12.3456789, 96, 1.23456)])
    assert point == (3, 12.3457, 96, 1.235)
    (point,) = series_of([TrainingPoint(3, 0.000123456789, None, None)])
    assert point == (3, 0.000123457, None, None)


@pytest.mark.parametrize("loss", [math.nan, math.inf, -math.inf])
def test_a_series_ends_before_the_first_loss_that_is_not_finite(loss: float) -> None:
    broken = points(9)
    broken[4] = broken[4]._replace(loss=loss)
    assert [point.step for point in series_of(broken)] == [1, 2, 3, 4]
    with pytest.raises(ValueError, match="not finite"):
        require_series(broken)


def test_a_time_that_is_not_finite_is_refused() -> None:
    with pytest.raises(ValueError, match="not finite"):
        require_series([TrainingPoint(1, 1.0, 1, math.inf)])
