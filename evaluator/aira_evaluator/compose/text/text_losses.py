"""From an architecture to its losses: one training, any number of held-out splits.

A loss counts at most `TextProfile.worst_loss`, twice that of a uniform guess, and a training that meets a non-finite
number counts exactly that: lower is better, and nothing that went wrong may look better than what went on.
"""

from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass

import torch

from aira_contract.reports import PUBLIC
from aira_contract.training_series import TrainingPoint
from aira_evaluator.compose.text.language_model import mean_loss, train
from aira_evaluator.compose.text.profiles import TextProfile
from aira_evaluator.compose.text.windows import Windows
from aira_evaluator.compose.training.steps import Diverged


@dataclass(frozen=True)
class TextLoss:
    """The loss of one architecture on one held-out split."""

    loss: float
    """Nats a token, at most the profile's worst loss. Lower is better."""
    tokens: int
    """Number of tokens that were predicted."""
    diverged: bool = False
    """True where training or prediction met a non-finite number."""


def train_and_score(
    architecture: Sequence[str],
    profile: TextProfile,
    train_windows: Windows,
    held_out: Mapping[str, Windows],
    *,
    seed: int,
    device: torch.device,
    on_trained: Callable[[Sequence[TrainingPoint]], None] = lambda points: None,
) -> dict[str, TextLoss]:
    """Train once and score every held-out split with the same weights.

    Args:
        architecture: canonical symbols.
        profile: sizes and training settings.
        train_windows: what is trained on.
        held_out: windows to score, by split name.
        seed: decides initial weights and the order of windows.
        device: where to train.
        on_trained: told how the training went, whether it diverged or not.
    """
    tokens = {split: len(windows) * windows.length for split, windows in held_out.items()}
    diverged = {split: TextLoss(profile.worst_loss, count, diverged=True) for split, count in tokens.items()}
    losses: dict[str, float] = {}
    try:
        model = train(architecture, train_windows, profile, seed=seed, device=device, on_trained=on_trained)
        for split in sorted(held_out, key=lambda name: name == PUBLIC):
            losses[split] = mean_loss(model, held_out[split], profile, device=device)
    except Diverged:
        if not losses.keys() >= held_out.keys() - {PUBLIC}:  # what is public has no say in hidden scores
            return diverged
    return diverged | {split: TextLoss(min(loss, profile.worst_loss), tokens[split]) for split, loss in losses.items()}
