"""Training one architecture on one task, and predicting with it.

AdamW at a constant rate, no weight decay, no early stopping: MAD-lab stops on its test accuracy, which would
select on the very numbers reported here. All randomness comes from the `seed` argument, so the same inputs
give the same weights on the same machine and thread count. Not covered: mixed precision, several devices.
"""

from collections.abc import Sequence

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor, nn
from torch.nn import functional

from aira_evaluator.compose.profiles import Profile
from aira_evaluator.compose.synthetic import IGNORED, Examples, SyntheticTask, Tokens
from aira_kernels.backbone import AutoEncoder, LanguageModel

_PREDICTION_BATCH = 256


class Diverged(Exception):
    """A loss or a logit is not finite; the architecture gets the worst score on this task."""


def build_model(
    architecture: Sequence[str], task: SyntheticTask, profile: Profile, *, generator: torch.Generator
) -> nn.Module:
    """The task's backbone around the architecture, on the CPU, mapping ids (B, L) to logits (B, L, V)."""
    if task.backbone == "autoencoder":
        return AutoEncoder(architecture, task.vocabulary, task.model_length, profile.sizes, generator=generator)
    return LanguageModel(architecture, task.vocabulary, profile.sizes, generator=generator)


def train(
    architecture: Sequence[str],
    task: SyntheticTask,
    examples: Examples,
    profile: Profile,
    *,
    seed: int,
    device: torch.device,
) -> nn.Module:
    """Train from scratch and return the model after the last epoch.

    Raises:
        Diverged: an epoch's loss is not finite.
    """
    generator = torch.Generator().manual_seed(seed)
    model = build_model(architecture, task, profile, generator=generator).to(device).train()
    optimizer = torch.optim.AdamW(model.parameters(), lr=profile.learning_rate, weight_decay=0.0, fused=True)
    inputs, targets = _to_device(examples.inputs, device), _to_device(examples.targets, device)
    for _ in range(profile.epochs):
        order = torch.randperm(len(examples), generator=generator).to(device)
        # Summed on the device and read once an epoch: a read per step would stall an accelerator.
        total = torch.zeros((), device=device)
        for batch in torch.split(order, profile.batch_size):
            total += training_step(model, optimizer, inputs[batch], targets[batch])
        if not bool(torch.isfinite(total)):
            raise Diverged
    return model


def predict(model: nn.Module, inputs: Tokens, *, device: torch.device) -> NDArray[np.int64]:
    """The likeliest token at every position, shape (N, L).

    Raises:
        Diverged: a logit is not finite.
    """
    model.eval()
    guesses = []
    with torch.inference_mode():
        for batch in torch.split(_to_device(inputs, device), _PREDICTION_BATCH):
            logits = model(batch)
            if not bool(torch.isfinite(logits).all()):
                raise Diverged
            guesses.append(logits.argmax(dim=-1).cpu())
    predicted: NDArray[np.int64] = torch.cat(guesses).numpy()
    return predicted


def training_step(model: nn.Module, optimizer: torch.optim.Optimizer, inputs: Tensor, targets: Tensor) -> Tensor:
    """One optimizer step on ids and labels of shape (B, L); the batch's loss, detached and left on its device."""
    logits = model(inputs)
    loss = functional.cross_entropy(logits.flatten(0, 1), targets.flatten(), ignore_index=IGNORED)
    optimizer.zero_grad(set_to_none=True)
    loss.backward()  # type: ignore[no-untyped-call]
    optimizer.step()
    return loss.detach()


def _to_device(tokens: Tokens, device: torch.device) -> Tensor:
    return torch.from_numpy(tokens.astype(np.int64)).to(device)
