"""Accuracy over the scored positions of one task, micro and macro.

Micro is the share of scored positions that are right. Macro is the mean over classes of the share of that
class's positions that are right; a class that is predicted but never due counts as 0, and a class that is
neither is left out: torchmetrics' definition, which MAD-lab uses. MAD-lab averages it over batches, here it
is taken over the whole split, so that it does not depend on the batch size. Not covered: confidence
intervals.
"""

from collections.abc import Sequence
from dataclasses import dataclass
from statistics import fmean

import numpy as np
from numpy.typing import NDArray

from aira_evaluator.compose.training.examples import IGNORED


@dataclass(frozen=True)
class TaskAccuracy:
    """Accuracies in [0, 1] on one split of one task."""

    micro: float
    macro: float
    scored: int
    """Number of positions that were scored."""
    diverged: bool = False
    """True where training or prediction met a non-finite number; both accuracies are then 0, the worst."""


def task_accuracy(predicted: NDArray[np.integer], due: NDArray[np.integer], classes: int) -> TaskAccuracy:
    """Compare predictions with labels, both of shape (N, L); positions labelled -100 are left out.

    Raises:
        ValueError: no position is scored.
    """
    mask = due != IGNORED
    scored = int(mask.sum())
    if scored == 0:
        raise ValueError("no scored position")
    guess, truth = predicted[mask], due[mask]
    hits = np.bincount(truth[guess == truth], minlength=classes)
    support = np.bincount(truth, minlength=classes)
    # Recall of a class is hits over support; a class only guessed has no support and recall 0 (torchmetrics).
    present = (support > 0) | (np.bincount(guess, minlength=classes) > 0)
    recall = hits[present] / np.maximum(support[present], 1)
    return TaskAccuracy(micro=float(hits.sum() / scored), macro=float(recall.mean()), scored=scored)


def mean_accuracy(accuracies: Sequence[TaskAccuracy]) -> TaskAccuracy:
    """Return the mean of accuracies on the same positions, taken at different times of one training."""
    return TaskAccuracy(
        micro=fmean(each.micro for each in accuracies),
        macro=fmean(each.macro for each in accuracies),
        scored=accuracies[0].scored,
    )


def diverged_accuracy(due: NDArray[np.integer]) -> TaskAccuracy:
    """Return the worst result, for a training that met a non-finite number."""
    return TaskAccuracy(micro=0.0, macro=0.0, scored=int((due != IGNORED).sum()), diverged=True)
