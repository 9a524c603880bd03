"""Curves of one line, and texts cut to columns."""

import math

import pytest
from hypothesis import given
from hypothesis import strategies as st
from rich.cells import cell_len

from aira_bench.looking.sparkline import ASCII_BARS, BARS, fit, sparkline

VALUES = st.lists(st.none() | st.floats(allow_nan=True, allow_infinity=True), max_size=300)


@pytest.mark.parametrize(
    ("values", "lower", "expected"),
    [
        ([0.0, 7.0], False, "▁█"),
        ([0.0, 1.0, 2.0, 3.0, 4.0, 5.0, 6.0, 7.0], False, BARS),
        ([7.0, 0.0], True, "▁█"),
        ([None, 0.5, None, 1.0], False, " ▁ █"),
        ([0.5], False, "█"),
        ([0.5, 0.5], True, "██"),
        ([None], False, ""),
        ([], False, ""),
        ([math.inf, 1.0, 2.0], False, " ▁█"),
        ([-1.7e308, 1.7e308], False, "▁█"),
        ([0.0, 5e-324], False, "▁█"),
    ],
)
def test_curves_worked_by_hand(values: list[float | None], lower: bool, expected: str) -> None:
    assert sparkline(values, 10, lower_is_better=lower) == expected


def test_a_long_curve_ends_with_its_last_value() -> None:
    """Ten values in five columns: each shows the second of its two."""
    assert sparkline([0, 0, 0, 7, 0, 0, 0, 0, 0, 7], 5, lower_is_better=False) == "▁█▁▁█"


@given(VALUES, st.integers(-1, 40), st.booleans(), st.sampled_from([BARS, ASCII_BARS]))
def test_a_curve_is_never_wider_than_its_place(values: list[float | None], width: int, lower: bool, bars: str) -> None:
    shown = sparkline(values, width, lower_is_better=lower, bars=bars)
    assert len(shown) <= max(min(width, len(values)), 0)
    assert set(shown) <= {*bars, " "}


@given(st.lists(st.floats(-1e6, 1e6), min_size=2, max_size=60, unique=True), st.booleans())
def test_the_best_is_highest_and_the_worst_lowest(values: list[float], lower: bool) -> None:
    shown = sparkline(values, 60, lower_is_better=lower)
    best, worst = (min(values), max(values)) if lower else (max(values), min(values))
    assert (shown[values.index(best)], shown[values.index(worst)]) == (BARS[-1], BARS[0])


@given(st.text(st.characters(exclude_categories=("C", "M", "Z"))), st.integers(-2, 50), st.booleans())
def test_a_text_fits_and_what_fits_stays(text: str, width: int, ascii_only: bool) -> None:
    shown = fit(text, width, ascii_only=ascii_only)
    assert cell_len(shown) <= max(width, 0)
    assert shown == text or cell_len(text) > width
    assert shown.isascii() or not (ascii_only and text.isascii())


def test_a_cut_is_marked() -> None:
    assert fit("abcdef", 4) == "abc…"
    assert fit("abcdef", 4, ascii_only=True) == "abc~"
    assert fit("日本語", 4) == "日 …"
