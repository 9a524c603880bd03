"""Digits that people are shown: four after the point, or four in all where those would be none or no end."""

import pytest

from aira_bench.shown_numbers import figure


@pytest.mark.parametrize(
    ("value", "shown"),
    [(0.0, "0.0000"), (0.12345, "0.1235"), (-2.5, "-2.5000"), (5e-5, "0.0001"), (4.9e-5, "4.9e-05"), (1e-99, "1e-99"),
     (9e99, "9e+99"), (-9e99, "-9e+99"), (1e9, "1e+09"), (123456.789, "123456.7890"), (float("inf"), "inf")],
)  # fmt: skip
def test_no_number_is_endless_and_none_vanishes(value: float, shown: str) -> None:
    assert figure(value) == shown


def test_a_sign_and_thousands_are_asked_for() -> None:
    assert (figure(0.5, "+"), figure(12345.5, ",")) == ("+0.5000", "12,345.5000")
