"""One candidate fitted to all tasks, and its guesses on the held-out splits: in turn, or beside each other on a GPU.

Both ways train with the same steps on the same examples in the same order and differ in nothing but when the device
does what. `fit_in_turn` works on every device; `fit_concurrently` is for CUDA. Not covered: scores (`split_scores`).
"""

import gc
from collections.abc import Callable, Iterator, Mapping, Sequence
from contextlib import contextmanager
from dataclasses import dataclass

import numpy as np
import torch
from numpy.typing import NDArray

from aira_contract.reports import PUBLIC
from aira_contract.training_series import TrainingPoint
from aira_evaluator.compose.mad.models import Prediction, begin_training, start_prediction
from aira_evaluator.compose.mad.profiles import MadProfile
from aira_evaluator.compose.training.compiled_blocks import CompiledBlocks
from aira_evaluator.compose.training.cuda_graphs import WARM_UP_EPOCHS, GraphedSteps
from aira_evaluator.compose.training.examples import Corpus
from aira_evaluator.compose.training.schedule import run_epochs, run_interleaved
from aira_evaluator.compose.training.steps import Diverged, TaskTraining, to_device

Guesses = Mapping[str, NDArray[np.int64]]
"""The likeliest token at every position after each scored epoch, shape (scored epochs, N, L), by split. Public rows are
absent where a logit on them alone was not finite."""
Told = Callable[[str, Sequence[TrainingPoint]], None]
"""Told of each task how its training went, before its guesses are given."""
Predictions = Mapping[str, Prediction]
"""What was started after one epoch, by split."""


@dataclass(frozen=True)
class Candidate:
    """An architecture and everything that decides what becomes of it."""

    architecture: Sequence[str]
    profile: MadProfile
    train_corpus: Corpus
    seed: int
    device: torch.device
    blocks: CompiledBlocks | None = None
    """Train with compiled blocks, which changes scores; no judge does."""

    def begin(self, name: str) -> TaskTraining:
        """Return the training on one task, before its first step. Tasks get independent streams of the seed."""
        index = list(self.profile.tasks).index(name)
        # Halved: torch takes signed seeds.
        task_seed = int(np.random.SeedSequence([self.seed, index]).generate_state(1, np.uint64)[0] >> np.uint64(1))
        training = begin_training(
            self.architecture, self.profile.tasks[name], self.train_corpus[name], self.profile,
            seed=task_seed, device=self.device,
        )  # fmt: skip
        if self.blocks is not None:
            self.blocks.adopt(training.model, to_device(self.train_corpus[name].inputs[:1], self.device))
        return training


def fit_in_turn(
    candidate: Candidate,
    held_out: Mapping[str, Corpus],
    on_task: Callable[[str], None],
    on_trained: Told = lambda name, points: None,
) -> Iterator[tuple[str, Guesses | None]]:
    """Name and guesses of one task after the other; None in place of guesses where training or prediction diverged."""
    for name in candidate.profile.tasks:
        on_task(name)
        training = candidate.begin(name)
        started: list[Predictions] = []
        try:
            for epoch in range(1, training.epochs.epochs + 1):
                run_epochs(training.step, training.epochs, 1)
                training.end_epoch()
                training.check_finite()
                if candidate.profile.is_scored(epoch):
                    started.append(_start_predictions(training, name, held_out, candidate.device))
            guesses: Guesses | None = guesses_of(started)
        except Diverged:
            guesses = None
        on_trained(name, training.curve())
        yield name, guesses


def fit_concurrently(
    candidate: Candidate,
    held_out: Mapping[str, Corpus],
    on_task: Callable[[str], None],
    on_trained: Told = lambda name, points: None,
) -> Iterator[tuple[str, Guesses | None]]:
    """Train all tasks beside each other on a CUDA device: a stream a task, and graphs after the first epoch."""
    device = candidate.device
    # Graphs of an earlier candidate keep their memory until this: a capture in want of memory cannot ask for it.
    torch.cuda.empty_cache()
    runs: dict[str, GraphedSteps] = {}
    for name in candidate.profile.tasks:
        on_task(name)
        stream = torch.cuda.Stream(device)  # type: ignore[no-untyped-call]
        with torch.cuda.stream(stream):
            runs[name] = GraphedSteps(candidate.begin(name), stream)
        runs[name].warm_up()
    started: dict[str, list[Predictions]] = {name: [] for name in runs}

    def end_epoch(epoch: int) -> None:
        for name, steps in runs.items():
            with torch.cuda.stream(steps.stream):
                steps.training.end_epoch()
                if candidate.profile.is_scored(epoch):
                    started[name].append(_start_predictions(steps.training, name, held_out, device))

    end_epoch(WARM_UP_EPOCHS)
    if candidate.profile.epochs > WARM_UP_EPOCHS:
        # A capture sees the whole device: nothing else may run, and no memory may be freed, until it ends.
        torch.cuda.synchronize(device)
        with _no_collection():
            for steps in runs.values():
                steps.capture()
    trainings = [(steps, steps.training.epochs) for steps in runs.values()]
    run_interleaved(trainings, done=WARM_UP_EPOCHS, after_epoch=end_epoch)
    torch.cuda.synchronize(device)
    for name, predictions in started.items():
        on_trained(name, runs[name].training.curve())
        try:
            runs[name].training.check_finite()
            yield name, guesses_of(predictions)
        except Diverged:
            yield name, None


def _start_predictions(
    training: TaskTraining, name: str, held_out: Mapping[str, Corpus], device: torch.device
) -> Predictions:
    return {
        split: start_prediction(training.model, corpus[name].inputs, device=device)
        for split, corpus in held_out.items()
    }


def guesses_of(started: Sequence[Predictions]) -> Guesses:
    """Wait for what was predicted after each scored epoch, and return it.

    Raises:
        Diverged: a logit was not finite, on other rows than public ones.
    """
    guesses: dict[str, NDArray[np.int64]] = {}
    for split in started[-1]:
        try:
            guesses[split] = np.stack([predictions[split].result() for predictions in started])
        except Diverged:
            if split != PUBLIC:  # what is public has no say in hidden scores
                raise
    return guesses


@contextmanager
def _no_collection() -> Iterator[None]:
    """Keep the cycle collector from freeing an older candidate's device objects in the middle of a capture."""
    gc.collect()
    gc.disable()
    try:
        yield
    finally:
        gc.enable()
