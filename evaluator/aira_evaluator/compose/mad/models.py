"""The beginning and the end of a training: model, data and order on a device; guesses of the trained model.

AdamW at a constant rate, no weight decay, no early stopping: MAD-lab stops on its test accuracy, which would
select on the very numbers reported here. All randomness comes from the `seed` argument, so the same inputs
give the same weights on the same machine and thread count. Not covered: the steps between
(`training.steps`, `fitting`), several devices.
"""

from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor, nn

from aira_evaluator.compose.mad.profiles import MadProfile
from aira_evaluator.compose.mad.synthetic_task import SyntheticTask
from aira_evaluator.compose.training.examples import Examples, Tokens
from aira_evaluator.compose.training.steps import Diverged, Epochs, TaskTraining, to_device
from aira_kernels.backbone import AutoEncoder, LanguageModel

_PREDICTION_BATCH = {"cpu": 256, "cuda": 2048}
"""Sequences predicted at once. Rounding may depend on it, so it is fixed for each kind of device."""


def build_model(
    architecture: Sequence[str], task: SyntheticTask, profile: MadProfile, *, generator: torch.Generator
) -> nn.Module:
    """Return the task's backbone around the architecture, on the CPU, mapping ids (B, L) to logits (B, L, V)."""
    if task.backbone == "autoencoder":
        return AutoEncoder(
            architecture, task.vocabulary, task.model_length, profile.sizes,
            generator=generator, embedding_std=profile.embedding_std,
        )  # fmt: skip
    return LanguageModel(
        architecture, task.vocabulary, profile.sizes, generator=generator, embedding_std=profile.embedding_std
    )


def begin_training(
    architecture: Sequence[str],
    task: SyntheticTask,
    examples: Examples,
    profile: MadProfile,
    *,
    seed: int,
    device: torch.device,
) -> TaskTraining:
    """Return a training with its model, data and order of examples on the device, before its first step."""
    generator = torch.Generator().manual_seed(seed)
    model = build_model(architecture, task, profile, generator=generator).to(device)
    epochs = Epochs(len(examples), profile.batch_size, profile.epochs)
    return TaskTraining(model, examples, epochs, learning_rate=profile.learning_rate, generator=generator)


@dataclass(frozen=True)
class Prediction:
    """Guesses that may still be on their way."""

    tokens: Tensor
    """The likeliest token at every position, shape (N, L)."""
    finite: Tensor
    """Whether every logit was finite."""

    def result(self) -> NDArray[np.int64]:
        """Wait for the guesses.

        Raises:
            Diverged: a logit is not finite.
        """
        if not bool(self.finite):
            raise Diverged
        guesses: NDArray[np.int64] = self.tokens.cpu().numpy()
        return guesses


def start_prediction(model: nn.Module, inputs: Tokens, *, device: torch.device) -> Prediction:
    """Start predicting the token at every position of `inputs`, shape (N, L), without waiting for the device.

    The model is left in the mode it was in: a training may go on.
    """
    training = model.training
    model.eval()
    guesses: list[Tensor] = []
    finite = torch.ones((), dtype=torch.bool, device=device)
    # Nothing here waits for the device: `Prediction.result` does, when all trainings have been started.
    with torch.inference_mode():
        for batch in torch.split(to_device(inputs, device), _PREDICTION_BATCH[device.type]):
            logits = model(batch)
            finite = finite & torch.isfinite(logits).all()
            guesses.append(logits.argmax(dim=-1))
        model.train(training)
        return Prediction(torch.cat(guesses), finite)
