"""From an architecture to its scores: one training a task, any number of held-out splits.

The score of a split is the mean over the six tasks of the micro accuracy; macro is recorded beside it. Not
covered: reading files (`splits`), reading submissions (`aira_kernels.architecture`).
"""

import os
from collections.abc import Callable, Mapping, Sequence
from dataclasses import asdict, dataclass
from statistics import fmean

import numpy as np
import torch

from aira_evaluator.compose.metrics import TaskAccuracy, diverged_accuracy, task_accuracy
from aira_evaluator.compose.profiles import Profile
from aira_evaluator.compose.synthetic import Corpus
from aira_evaluator.compose.training import Diverged, predict, train


@dataclass(frozen=True)
class SplitScore:
    """The result on one held-out split."""

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


def make_deterministic() -> None:
    """Set this process up so that the same inputs give the same scores to the last digit.

    One thread, since the order of a reduction depends on how many share it; deterministic kernels on CUDA.
    Entry points call it; it changes the process's torch settings.
    """
    os.environ["CUBLAS_WORKSPACE_CONFIG"] = ":4096:8"
    torch.set_num_threads(1)
    torch.use_deterministic_algorithms(True)


def choose_device() -> torch.device:
    """The CUDA device where there is one, else the CPU."""
    return torch.device("cuda" if torch.cuda.is_available() else "cpu")


def train_and_score(
    architecture: Sequence[str],
    profile: Profile,
    train_corpus: Corpus,
    held_out: Mapping[str, Corpus],
    *,
    seed: int,
    device: torch.device,
    on_task: Callable[[str], None] = lambda name: None,
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

    Returns:
        One score a split. A task whose training diverges counts as 0 on every split.
    """
    results: dict[str, dict[str, TaskAccuracy]] = {split: {} for split in held_out}
    for index, (name, task) in enumerate(profile.tasks.items()):
        on_task(name)
        task_seed = int(np.random.SeedSequence([seed, index]).generate_state(1, np.uint64)[0] >> np.uint64(1))
        try:
            model = train(architecture, task, train_corpus[name], profile, seed=task_seed, device=device)
            accuracies = {
                split: task_accuracy(
                    predict(model, corpus[name].inputs, device=device), corpus[name].scored, task.vocabulary
                )
                for split, corpus in held_out.items()
            }
        except Diverged:
            accuracies = {split: diverged_accuracy(corpus[name].scored) for split, corpus in held_out.items()}
        for split, accuracy in accuracies.items():
            results[split][name] = accuracy
    return {split: SplitScore(tasks) for split, tasks in results.items()}
