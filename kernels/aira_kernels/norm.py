"""The RMS norm of the full-size models, as a layer.

Shape suffixes: D width. Not covered: the gated norm, which is inside Mamba-2; biases.
"""

import torch
from torch import Tensor, nn

from aira_kernels.backend import Backend, norm

EPSILON = 1e-5


class RmsNorm(nn.Module):
    """Scale every vector to a root mean square of 1, then each feature by a learned weight (Zhang and Sennrich 2019).

    x / sqrt(mean(x^2) + epsilon) * weight, where the weights start at 1. Nothing is subtracted and nothing added.
    """

    def __init__(self, width: int, *, device: torch.device | str = "cpu", backend: Backend = "auto") -> None:
        super().__init__()
        self.backend = backend
        self.weight_D = nn.Parameter(torch.ones(width, device=device))

    def forward(self, x: Tensor) -> Tensor:
        """Normalize the last axis, of D features."""
        return norm(self.backend, x, self.weight_D, EPSILON)
