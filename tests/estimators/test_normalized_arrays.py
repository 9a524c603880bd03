"""Normalized scores of arrays: values by hand, and the scalar form that boards use."""

import math

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from aira_bench.record.normalized import Anchors, normalized
from aira_bench.statistics.normalized import Scale, Spacing, normalized_scores, observed_worst

TEXT = Scale(worst=0.5, best_known=0.9053, optimum=1.0, lower_is_better=False)
SCORES = st.floats(0, 1, allow_nan=False)


def test_values_by_hand() -> None:
    """Half of what is left at the worst: 0.5 to 0.25 is log 2 of log(0.5 / 0.0947)."""
    found = normalized_scores(np.array([0.5, 0.75, 0.9053, 0.4, np.nan]), TEXT)
    assert found == pytest.approx([0, math.log(2) / math.log(0.5 / 0.0947), 1, 0, 0])
    assert normalized_scores(np.array([0.84]), TEXT)[0] == pytest.approx(0.6848, abs=1e-4)  # Table 14, text
    linear = normalized_scores(np.array([0.5, 0.70265, 0.9053, 1.0, np.nan]), TEXT, Spacing.LINEAR)
    assert linear == pytest.approx([0, 0.5, 1, 0.5 / 0.4053, 0])


def test_a_loss_counts_downwards_on_both_scales() -> None:
    scale = Scale(worst=4.0, best_known=1.0, optimum=0.0, lower_is_better=True)
    assert normalized_scores(np.array([4.0, 2.0, 1.0, 0.5]), scale) == pytest.approx([0, 0.5, 1, 1.5])
    assert normalized_scores(np.array([4.0, 2.5, 1.0]), scale, Spacing.LINEAR) == pytest.approx([0, 0.5, 1])


def test_the_observed_worst_leaves_failures_out() -> None:
    scores = np.array([[0.7, np.nan], [0.55, 0.9]])
    assert observed_worst(scores, lower_is_better=False) == 0.55
    assert observed_worst(scores, lower_is_better=True) == 0.9
    with pytest.raises(ValueError, match="no run"):
        observed_worst(np.array([np.nan]), lower_is_better=True)


@pytest.mark.parametrize("spacing", Spacing)
def test_a_scale_without_length_is_refused(spacing: Spacing) -> None:
    with pytest.raises(ValueError, match="no worse"):
        normalized_scores(np.array([0.5]), Scale(0.5, 0.5, 1.0, False), spacing)


@given(SCORES, st.floats(0, 0.6), st.floats(0.65, 1))
def test_it_is_what_boards_compute_score_by_score(score: float, worst: float, best: float) -> None:
    scale = Scale(worst, best, 1.0, lower_is_better=False)
    anchors = Anchors(worst=worst, optimum=1.0, sota={"published": best})
    assert normalized_scores(np.array([score]), scale)[0] == pytest.approx(normalized(score, anchors), abs=1e-12)


@given(st.lists(SCORES, min_size=2, max_size=20), st.sampled_from(Spacing))
def test_better_scores_are_never_normalized_lower(scores: list[float], spacing: Spacing) -> None:
    found = normalized_scores(np.sort(np.array(scores)), TEXT, spacing)
    assert (np.diff(found) >= 0).all()
    assert (found >= 0).all()
