"""Amplified slow gradients (Lee et al., "Grokfast", arXiv 2405.20233).

Idea: the slow part of a gradient's history carries what generalizes. Filter it out with a moving average and add it
back, enlarged, before the optimizer's step. Two filters: an exponential average, and a plain one over a window.

Use in train.py, between `loss.backward()` and `optimizer.step()`:

    averages = filter_exponential(model, averages)

Left out: nothing; the method is this short. It was shown on small algorithmic tasks. On language modelling within
minutes it acts much like more momentum, so tune momentum down with it.
"""

from collections import deque

import torch
from torch import Tensor, nn

Averages = dict[str, Tensor]
Windows = dict[str, deque[Tensor]]


@torch.no_grad()
def filter_exponential(
    model: nn.Module, averages: Averages | None, *, decay: float = 0.98, strength: float = 2.0
) -> Averages:
    """Add `strength` times each gradient's exponential average to it, in place; return the averages."""
    averages = {} if averages is None else averages
    for name, parameter in model.named_parameters():
        if parameter.grad is None:
            continue
        if name not in averages:
            averages[name] = parameter.grad.clone()
        else:
            averages[name].lerp_(parameter.grad, 1 - decay)
        parameter.grad.add_(averages[name], alpha=strength)
    return averages


@torch.no_grad()
def filter_window(
    model: nn.Module, windows: Windows | None, *, size: int = 100, strength: float = 5.0, warm: bool = True
) -> Windows:
    """Add `strength` times the mean of the last `size` gradients, from a full window on (or at once, if not `warm`)."""
    windows = {} if windows is None else windows
    for name, parameter in model.named_parameters():
        if parameter.grad is None:
            continue
        window = windows.setdefault(name, deque(maxlen=size))
        window.append(parameter.grad.clone())
        if not warm or len(window) == size:
            parameter.grad.add_(torch.stack(tuple(window)).mean(0), alpha=strength)
    return windows
