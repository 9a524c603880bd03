"""Training one architecture on windows of text, and its loss on others.

The model, its initial weights and the optimizer are those of the MAD tasks: AdamW at a constant rate, no weight decay.
All randomness comes from the `seed` argument. Nothing in the loop waits for the device; a loss that is not finite is
noticed at the end of an epoch. Memory is the model, one batch, and, on an accelerator, the stream as int32.

Shapes: B windows, L positions, V tokens. Not covered: mixed precision, several devices.
"""

from collections.abc import Callable, Sequence

import numpy as np
import torch
from torch import Tensor, nn
from torch.nn import functional

from aira_contract.training_series import MOST_POINTS, TrainingPoint
from aira_evaluator.compose.text.profiles import TextProfile
from aira_evaluator.compose.text.windows import Windows
from aira_evaluator.compose.training.loss_log import LossLog
from aira_evaluator.compose.training.optimizer import FusedAdamW
from aira_evaluator.compose.training.steps import Diverged, training_step
from aira_kernels.backbone import LanguageModel

_LOGITS_AT_ONCE = 1 << 24


class _Batches:
    """Windows by index, as inputs and targets on a device."""

    def __init__(self, windows: Windows, device: torch.device) -> None:
        self._stream, self._length, self._device = windows.tokens(), windows.length, device
        self._offsets = torch.arange(windows.length + 1, device=device)
        self._resident: Tensor | None = None
        if device.type != "cpu":
            self._resident = torch.from_numpy(self._stream.astype(np.int32)).to(device)

    def take(self, rows: Tensor) -> tuple[Tensor, Tensor]:
        """Inputs and targets, each (B, L), of the windows `rows`, which are on the device."""
        # Window i begins at i L and holds L + 1 tokens: the last is the first of the next, and each is predicted once.
        places = rows[:, None] * self._length + self._offsets
        if self._resident is None:
            tokens = torch.from_numpy(self._stream[places.numpy()].astype(np.int64))
        else:
            tokens = self._resident[places].long()
        return tokens[:, :-1].contiguous(), tokens[:, 1:].contiguous()


def train(
    architecture: Sequence[str],
    windows: Windows,
    profile: TextProfile,
    *,
    seed: int,
    device: torch.device,
    on_trained: Callable[[Sequence[TrainingPoint]], None] = lambda points: None,
) -> nn.Module:
    """Train from scratch and return the model after the last epoch. `on_trained` is told how it went, even if it fails.

    Raises:
        Diverged: an epoch's loss is not finite.
    """
    generator = torch.Generator().manual_seed(seed)
    model = LanguageModel(architecture, profile.vocabulary, profile.sizes, generator=generator).to(device).train()
    optimizer = FusedAdamW(model.parameters(), learning_rate=profile.learning_rate)
    batches = _Batches(windows, device)
    losses, step, trained_on = LossLog(device), 0, 0
    steps = profile.epochs * -(-len(windows) // profile.batch_size)
    try:
        for _ in range(profile.epochs):
            order = torch.randperm(len(windows), generator=generator).to(device)
            for rows in torch.split(order, profile.batch_size):
                losses.add(training_step(model, optimizer, *batches.take(rows)))
                step, trained_on = step + 1, trained_on + len(rows)
                # `MOST_POINTS` stretches that differ by a step at most, or a stretch a step; the last step ends one.
                if step * MOST_POINTS // steps > (step - 1) * MOST_POINTS // steps:
                    losses.mark(step, trained_on * windows.length)
            if not losses.is_finite():
                raise Diverged
    finally:
        on_trained(losses.points())
    return model


def mean_loss(model: nn.Module, windows: Windows, profile: TextProfile, *, device: torch.device) -> float:
    """Cross-entropy in nats a token over all predicted tokens, summed in float64.

    Raises:
        Diverged: it is not finite.
    """
    model.eval()
    batches = _Batches(windows, device)
    # Logits of a batch take windows x length x vocabulary numbers; the mean does not depend on how they are cut.
    at_once = max(1, _LOGITS_AT_ONCE // (profile.length * profile.vocabulary))
    total = torch.zeros((), dtype=torch.float64, device=device)
    with torch.inference_mode():
        for rows in torch.split(torch.arange(len(windows), device=device), at_once):
            inputs, targets = batches.take(rows)
            losses = functional.cross_entropy(model(inputs).flatten(0, 1), targets.flatten(), reduction="none")
            total += losses.double().sum()
    mean = float(total) / (len(windows) * profile.length)
    if not np.isfinite(mean):
        raise Diverged
    return mean
