"""One training step: gradients over several microbatches and all ranks, clipping, AdamW.

A step that is not finite, in its loss or in its gradient, changes nothing: neither weights nor moments. Shape suffixes:
B batch, L length. Not covered: where tokens come from (`shards`), and what is done about a training that stays so
(`train`).
"""

import math
from collections.abc import Iterable
from dataclasses import dataclass

import torch
import torch.distributed as dist
from torch import Tensor

from aira_contract.recipes import OptimizerSettings
from aira_evaluator.pretrain.model import TrainedModel
from aira_evaluator.pretrain.sharding import average, local, summed


@dataclass(frozen=True)
class StepResult:
    """What a step came to, over all ranks."""

    loss: float
    """Mean over the step's tokens, before the step."""
    grad_norm: float
    """Before clipping."""
    skipped: bool
    asked: bool
    """Whether any rank was asked to stop."""


def optimizer_of(model: TrainedModel, settings: OptimizerSettings) -> torch.optim.AdamW:
    """Make the optimizer: fused AdamW, weight decay for matrices alone."""
    groups = [
        {"params": model.matrices(), "weight_decay": settings.weight_decay},
        {"params": model.vectors(), "weight_decay": 0.0},
    ]
    # Every step sets its own learning rate.
    return torch.optim.AdamW(groups, lr=0.0, betas=(settings.beta1, settings.beta2), eps=settings.epsilon, fused=True)


class TrainingStep:
    """Steps of one model.

    Args:
        model: sharded among `group`, or whole where there is none.
        optimizer: of `optimizer_of`, made after sharding.
        clip_norm: largest length of the gradient.
        step_tokens: tokens of a step over all ranks; the loss is a mean over them.
        group: the ranks; None for one rank with a whole model.
    """

    def __init__(
        self,
        model: TrainedModel,
        optimizer: torch.optim.Optimizer,
        *,
        clip_norm: float,
        step_tokens: int,
        group: dist.ProcessGroup | None,
    ) -> None:
        self.model, self.optimizer, self.group = model, optimizer, group
        self._clip_norm, self._step_tokens = clip_norm, step_tokens
        self._matrices, self._vectors = model.matrices(), model.vectors()

    def __call__(
        self, microbatches: Iterable[tuple[Tensor, Tensor]], learning_rate: float, *, stop: bool = False
    ) -> StepResult:
        """Train on this rank's part of a step.

        Args:
            microbatches: inputs and targets, each (B, L); the same number on every rank.
            learning_rate: of this step.
            stop: this rank was asked to stop, which the others learn with the loss.
        """
        device = self._vectors[0].device
        # Sharded gradients come as means over ranks; times their number they are sums over tokens again.
        scale = (self.group.size() if self.group is not None else 1) / self._step_tokens
        total = torch.zeros((), device=device)
        for tokens_BL, targets_BL in microbatches:
            loss = self.model(tokens_BL, targets_BL)
            (loss * scale).backward()
            total += loss.detach()
        matrices = [local(weight.grad) for weight in self._matrices if weight.grad is not None]
        vectors = [vector.grad for vector in self._vectors if vector.grad is not None]
        if self.group is not None:
            average(vectors, self.group)
        loss_sum, squares, asked = summed([total, _squares(matrices), float(stop)], device, self.group)
        squares += float(_squares(vectors))
        mean, norm = loss_sum / self._step_tokens, math.sqrt(squares)
        finite = math.isfinite(mean) and math.isfinite(norm)
        if finite:
            if norm > self._clip_norm:
                torch._foreach_mul_([*matrices, *vectors], self._clip_norm / norm)
            for group in self.optimizer.param_groups:
                group["lr"] = learning_rate
            self.optimizer.step()
        self.optimizer.zero_grad(set_to_none=True)
        return StepResult(mean, norm, not finite, asked > 0)


def _squares(gradients: list[Tensor]) -> Tensor:
    """The sum of squares, taken in float32 within a tensor and in float64 over them."""
    gradients = [gradient for gradient in gradients if gradient.numel()]
    norms = torch._foreach_norm(gradients)
    return torch.stack(list(norms)).double().square().sum()
