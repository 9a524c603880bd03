"""Luck of the search and noise of training: the two deviations against the analysis of variance, and scipy's F."""

import math

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st
from scipy import stats

from aira_bench.statistics.components import Components, components

scores = st.integers(-500, 500).map(lambda number: number / 100)
balanced = st.integers(2, 5).flatmap(
    lambda size: st.lists(st.lists(scores, min_size=size, max_size=size), min_size=2, max_size=6)
)


@given(balanced)
def test_balanced_groups_have_the_estimators_of_the_analysis_of_variance(groups: list[list[float]]) -> None:
    """within = MSW; between = (MSB - MSW) / n, cut off at 0 (Searle, Casella and McCulloch 1992, section 3.5)."""
    table = np.array(groups)
    count, size = table.shape
    between = size * float(table.mean(axis=1).var(ddof=1))
    within = float(((table - table.mean(axis=1, keepdims=True)) ** 2).sum()) / (count * (size - 1))
    found = components(groups)
    assert found.training == pytest.approx(math.sqrt(within), abs=1e-9)
    assert found.search == pytest.approx(math.sqrt(max(0.0, (between - within) / size)), abs=1e-6)
    if within > 1e-6:
        statistic = float(stats.f_oneway(*groups).statistic)
        assert found.search is not None
        assert (found.search > 1e-6) == (statistic > 1 + 1e-9) or statistic == pytest.approx(1, abs=1e-3)


def test_what_cannot_be_known_is_none() -> None:
    assert components([]) == Components(None, None)
    assert components([[1.0]]) == Components(None, None)
    assert components([[1.0, 3.0], []]) == Components(None, pytest.approx(math.sqrt(2)))
    assert components([[1.0], [3.0]]) == Components(pytest.approx(math.sqrt(2)), None)
