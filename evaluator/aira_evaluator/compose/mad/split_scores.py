"""From an architecture to its scores: one training a task, any number of held-out splits.

The score of a split is the mean over the six tasks of the micro accuracy, each the mean over the profile's scored
epochs; macro is recorded beside it. On a CPU the
tasks are trained one after the other; on a GPU beside each other, their steps captured as CUDA graphs.

Precision on a GPU: weights, activations and moments are float32; matrix products round their inputs to TF32 (10 bits of
mantissa), without which the products alone of a `paper` candidate take longer than its whole budget. bfloat16 is not
used. Not covered: reading files (`splits`), reading submissions (`aira_contract.architectures`).
"""

from collections.abc import Callable, Mapping, Sequence
from dataclasses import asdict, dataclass
from statistics import fmean

import torch

from aira_contract.training_series import TrainingPoint
from aira_evaluator.compose.mad.fitting import Candidate, fit_concurrently, fit_in_turn
from aira_evaluator.compose.mad.metrics import TaskAccuracy, diverged_accuracy, mean_accuracy, task_accuracy
from aira_evaluator.compose.mad.profiles import MadProfile
from aira_evaluator.compose.training.examples import Corpus
from aira_evaluator.compose.training.loss_log import together


@dataclass(frozen=True)
class SplitScore:
    """The accuracies of one architecture on one held-out split, by task."""

    tasks: Mapping[str, TaskAccuracy]

    @property
    def accuracy(self) -> float:
        """The score: mean over tasks of the micro accuracy, in [0, 1]."""
        return fmean(task.micro for task in self.tasks.values())

    def details(self) -> dict[str, object]:
        """Plain values for a report: both means, and every task's accuracies."""
        return {
            "micro": self.accuracy,
            "macro": fmean(task.macro for task in self.tasks.values()),
            "tasks": {name: asdict(task) for name, task in self.tasks.items()},
        }


def train_and_score(
    architecture: Sequence[str],
    profile: MadProfile,
    train_corpus: Corpus,
    held_out: Mapping[str, Corpus],
    *,
    seed: int,
    device: torch.device,
    on_task: Callable[[str], None] = lambda name: None,
    on_trained: Callable[[Sequence[TrainingPoint]], None] = lambda points: None,
) -> dict[str, SplitScore]:
    """Train once a task and score every held-out split with the same weights.

    Args:
        architecture: canonical symbols.
        profile: sizes and training settings.
        train_corpus: training examples by task.
        held_out: corpora to score, by split name.
        seed: decides initial weights and the order of examples; tasks get independent streams of it.
        device: where to train.
        on_task: called with a task's name before its training.
        on_trained: told how the trainings went: a point an epoch, with the mean of their losses.

    Returns:
        One score a split. A task whose training diverges counts as 0 on every split.
    """
    fit = fit_concurrently if device.type == "cuda" else fit_in_turn
    results: dict[str, dict[str, TaskAccuracy]] = {split: {} for split in held_out}
    curves: dict[str, Sequence[TrainingPoint]] = {}
    candidate = Candidate(architecture, profile, train_corpus, seed, device)
    for name, guesses in fit(candidate, held_out, on_task, curves.__setitem__):
        for split, corpus in held_out.items():
            due = corpus[name].scored
            results[split][name] = (
                diverged_accuracy(due)
                if guesses is None or split not in guesses
                else mean_accuracy(
                    [task_accuracy(each, due, profile.tasks[name].vocabulary) for each in guesses[split]]
                )
            )
    on_trained(together(list(curves.values()), beside=device.type == "cuda"))
    return {split: SplitScore(tasks) for split, tasks in results.items()}
