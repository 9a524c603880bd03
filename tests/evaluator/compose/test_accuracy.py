"""Micro and macro accuracy over scored positions."""

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st
from hypothesis.extra.numpy import arrays
from numpy.typing import NDArray

from aira_evaluator.compose.mad.metrics import diverged_accuracy, task_accuracy
from aira_evaluator.compose.training.examples import IGNORED

CLASSES = 5
labels = arrays(np.int16, (4, 6), elements=st.sampled_from((IGNORED, *range(CLASSES))))
guesses = arrays(np.int64, (4, 6), elements=st.integers(0, CLASSES - 1))


@given(guesses, labels)
def test_agrees_with_counting_by_hand(predicted: NDArray[np.int64], due: NDArray[np.int16]) -> None:
    pairs = [(p, d) for p, d in zip(predicted.flat, due.flat, strict=True) if d != IGNORED]
    if not pairs:
        return
    result = task_accuracy(predicted, due, CLASSES)
    assert result.micro == pytest.approx(sum(p == d for p, d in pairs) / len(pairs))
    recalls = []
    for label in range(CLASSES):
        support = [p for p, d in pairs if d == label]
        if support or any(p == label for p, _ in pairs):
            recalls.append(sum(p == label for p in support) / len(support) if support else 0.0)
    assert result.macro == pytest.approx(sum(recalls) / len(recalls))
    assert result.scored == len(pairs)


@given(labels)
def test_the_truth_scores_one(due: NDArray[np.int16]) -> None:
    if (due == IGNORED).all():
        return
    result = task_accuracy(np.maximum(due, 0), due, CLASSES)
    assert (result.micro, result.macro) == (1.0, 1.0)


def test_a_class_that_is_never_due_lowers_macro_alone() -> None:
    due = np.array([[0, 1, IGNORED]], dtype=np.int16)
    result = task_accuracy(np.array([[0, 4, 4]]), due, CLASSES)
    assert result.micro == 0.5
    assert result.macro == pytest.approx(1 / 3)


def test_nothing_scored_is_an_error_not_a_number() -> None:
    with pytest.raises(ValueError, match="no scored position"):
        task_accuracy(np.zeros((1, 2), dtype=np.int64), np.full((1, 2), IGNORED, dtype=np.int16), CLASSES)


def test_divergence_is_the_worst_score() -> None:
    result = diverged_accuracy(np.array([[0, IGNORED]], dtype=np.int16))
    assert (result.micro, result.macro, result.scored, result.diverged) == (0.0, 0.0, 1, True)
