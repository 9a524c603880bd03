"""Training one pattern at toy widths on windows of text, and its loss on others.

Model, loss and step are those of pretraining (`aira_evaluator.pretrain`), on one device in this process, by the
optimizer and schedule of the toy recipe. All randomness comes from the `seed` argument: initial weights, and the order
of windows, in which each is read once an epoch. Not covered: several devices, checkpoints, lower precision.
"""

import math
from collections.abc import Callable, Mapping, Sequence

import numpy as np
import torch

from aira_contract.model_sizes import TOY_SCALE
from aira_contract.training_series import MOST_POINTS, TrainingPoint
from aira_evaluator.compose.grown.tasks import PatternTask
from aira_evaluator.compose.text.text_losses import TextLoss
from aira_evaluator.compose.text.windows import Windows
from aira_evaluator.compose.training.loss_log import LossLog
from aira_evaluator.compose.training.steps import Diverged
from aira_evaluator.pretrain.model import Layout, TrainedModel
from aira_evaluator.pretrain.shards import step_numbers
from aira_evaluator.pretrain.step import TrainingStep, optimizer_of
from aira_kernels.large import LargeLanguageModel

_SCORED_WINDOWS = 64
"""At a time; the loss is a sum over them, so it does not depend on how they are cut."""

OnTrained = Callable[[Sequence[TrainingPoint]], None]


def train_and_score(
    task: PatternTask,
    architecture: Sequence[str],
    profile: str,
    vocabulary: int,
    worst_loss: float,
    train_windows: Windows,
    held_out: Mapping[str, Windows],
    *,
    seed: int,
    device: torch.device,
    on_trained: OnTrained = lambda points: None,
) -> dict[str, TextLoss]:
    """Train once and score every held-out split with the same weights.

    Args:
        task: which settings.
        architecture: canonical symbols.
        profile: of the data.
        vocabulary: token ids.
        worst_loss: what a training counts as that met a number that is not finite, and the most any loss counts as.
        train_windows: what is trained on.
        held_out: windows to score, by split name.
        seed: decides initial weights and the order of windows.
        device: where to train.
        on_trained: told how the training went, whether it diverged or not.
    """
    tokens = {split: len(windows) * windows.length for split, windows in held_out.items()}
    try:
        model = _trained(
            task, architecture, profile, vocabulary, train_windows, seed=seed, device=device, on_trained=on_trained
        )
    except Diverged:
        return {split: TextLoss(worst_loss, count, diverged=True) for split, count in tokens.items()}
    scored: dict[str, TextLoss] = {}
    for split, windows in held_out.items():
        loss = _mean_loss(model, windows, device)
        finite = math.isfinite(loss)
        scored[split] = TextLoss(min(loss, worst_loss) if finite else worst_loss, tokens[split], diverged=not finite)
    return scored


def _trained(
    task: PatternTask,
    architecture: Sequence[str],
    profile: str,
    vocabulary: int,
    windows: Windows,
    *,
    seed: int,
    device: torch.device,
    on_trained: OnTrained,
) -> TrainedModel:
    batch, length, recipe = task.batch_windows[profile], windows.length, task.recipe
    steps = task.steps(architecture, profile, windows=len(windows), length=length, vocabulary=vocabulary)
    large = LargeLanguageModel(
        tuple(architecture), task.size(architecture), generator=torch.Generator(device).manual_seed(seed),
        vocabulary=vocabulary, device=device,
    )  # fmt: skip
    model = TrainedModel(large, Layout(), length=length, z_loss=recipe.optimizer.z_loss).train()
    take = TrainingStep(
        model, optimizer_of(model, recipe.optimizer), clip_norm=recipe.optimizer.clip_norm, step_tokens=batch * length,
        group=None,
    )  # fmt: skip
    losses = LossLog(device)
    try:
        for step in range(steps):
            rows = step_numbers(len(windows), step, batch, seed)
            result = take([_inputs(windows, rows, device)], recipe.learning_rate(step, steps, TOY_SCALE))
            losses.add(torch.tensor(result.loss, device=device))
            if result.skipped:
                raise Diverged
            # `MOST_POINTS` stretches that differ by a step at most, or a stretch a step; the last step ends one.
            if (step + 1) * MOST_POINTS // steps > step * MOST_POINTS // steps:
                losses.mark(step + 1, (step + 1) * batch * length)
    finally:
        on_trained(losses.points())
    return model.eval()


def _inputs(windows: Windows, rows: Sequence[int], device: torch.device) -> tuple[torch.Tensor, torch.Tensor]:
    """Inputs and targets, each (B, L): a window's last token is the first of the next."""
    places = np.asarray(rows)[:, None] * windows.length + np.arange(windows.length + 1)
    ids = torch.from_numpy(windows.tokens()[places].astype(np.int64)).to(device)
    return ids[:, :-1].contiguous(), ids[:, 1:].contiguous()


def _mean_loss(model: TrainedModel, windows: Windows, device: torch.device) -> float:
    total = 0.0
    with torch.no_grad():
        for start in range(0, len(windows), _SCORED_WINDOWS):
            rows = range(start, min(start + _SCORED_WINDOWS, len(windows)))
            total += float(model(*_inputs(windows, rows, device)))
    return total / (len(windows) * windows.length)
