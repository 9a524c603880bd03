"""One training as a sequence of identical device programs: gather a batch, forward, backward, update.

Everything a step reads or writes is a tensor of fixed address and shape on the training's device: the examples, the
order of all epochs drawn beforehand, a cursor into it that the step itself advances, the losses. So a step needs
nothing from the host but to be started, and `cuda_graphs` can capture it as it is. On a CPU the same step is simply
called. The last batch of an epoch may be smaller; it is a step of another size, with the numerics of its own size.

Not covered: which step runs when on several trainings (`schedule`), and CUDA (`cuda_graphs`).
"""

from collections.abc import Iterator
from dataclasses import dataclass
from typing import Protocol

import numpy as np
import torch
from torch import Tensor, nn
from torch.nn import functional

from aira_contract.training_series import TrainingPoint
from aira_evaluator.compose.training.examples import IGNORED, Examples, Tokens
from aira_evaluator.compose.training.loss_log import LossLog
from aira_evaluator.compose.training.optimizer import FusedAdamW


class Diverged(Exception):
    """A loss or a logit is not finite; the architecture gets the worst score on this task."""


class Optimizer(Protocol):
    """What a step needs of an optimizer."""

    def zero_grad(self) -> None:
        """Drop the gradients of the last step."""
        ...

    def step(self) -> object:
        """Move the parameters by their gradients."""
        ...


@dataclass(frozen=True)
class Epochs:
    """How examples are dealt into batches, the same in every epoch."""

    examples: int
    batch_size: int
    epochs: int

    def __post_init__(self) -> None:
        if min(self.examples, self.batch_size, self.epochs) < 1:
            raise ValueError(f"examples, batch size and epochs must be positive, got {self}")

    def batches(self) -> Iterator[int]:
        """Sizes of one epoch's batches in order; the last may be smaller."""
        for start in range(0, self.examples, self.batch_size):
            yield min(self.batch_size, self.examples - start)

    def sizes(self) -> tuple[int, ...]:
        """Return the one or two different batch sizes."""
        return tuple(dict.fromkeys(self.batches()))


class TaskTraining:
    """A model in training on one task. `step` is the device's work; nothing in it waits for the device."""

    def __init__(
        self,
        model: nn.Module,
        examples: Examples,
        epochs: Epochs,
        *,
        learning_rate: float,
        generator: torch.Generator,
    ) -> None:
        """Put the examples beside the model and draw the order of all epochs from `generator`, a CPU generator."""
        device = next(model.parameters()).device
        self.model = model.train()
        self.epochs = epochs
        self._optimizer = FusedAdamW(model.parameters(), learning_rate=learning_rate)
        self._inputs, self._targets = to_device(examples.inputs, device), to_device(examples.targets, device)
        order = [torch.randperm(epochs.examples, generator=generator) for _ in range(epochs.epochs)]
        self._order = torch.cat(order).to(device)
        self._ahead = torch.arange(epochs.batch_size, device=device)
        self._cursor = torch.zeros((), dtype=torch.int64, device=device)
        self._losses, self._epochs_done = LossLog(device), 0

    def step(self, batch_size: int) -> None:
        """Train on the next `batch_size` examples of the order."""
        rows = self._order.index_select(0, self._cursor + self._ahead[:batch_size])
        loss = training_step(
            self.model, self._optimizer, self._inputs.index_select(0, rows), self._targets.index_select(0, rows)
        )
        self._losses.add(loss)
        self._cursor += batch_size

    def end_epoch(self) -> None:
        """Put aside the losses of an epoch that has been started, on the training's stream; waits for nothing."""
        self._epochs_done += 1
        steps = self._epochs_done * len(list(self.epochs.batches()))
        self._losses.mark(steps, self._epochs_done * self.epochs.examples * self._inputs.shape[1])

    def curve(self) -> list[TrainingPoint]:
        """Wait for the epochs that have ended, and return the mean loss of the steps of each."""
        return self._losses.points()

    def check_finite(self) -> None:
        """Wait for the steps taken so far and look at their summed loss, which keeps every non-finite one.

        Raises:
            Diverged: a loss was not finite.
        """
        if not self._losses.is_finite():
            raise Diverged


def training_step(model: nn.Module, optimizer: Optimizer, inputs: Tensor, targets: Tensor) -> Tensor:
    """One optimizer step on ids and labels of shape (B, L); the batch's loss, detached and left on its device.

    Gradients are dropped afterwards: while a graph is captured the backward pass must find none.
    """
    logits = model(inputs)
    loss = functional.cross_entropy(logits.flatten(0, 1), targets.flatten(), ignore_index=IGNORED)
    loss.backward()  # type: ignore[no-untyped-call]
    optimizer.step()
    optimizer.zero_grad()
    return loss.detach()


def to_device(tokens: Tokens, device: torch.device) -> Tensor:
    """Token ids or labels as int64 on a device."""
    return torch.from_numpy(tokens.astype(np.int64)).to(device)
