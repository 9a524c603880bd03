"""The norms around a layer: LayerNorm of the models that a search trains, RMS norm of the full-size ones.

Shape suffixes: D width. Not covered: the gated norm, which is inside Mamba-2.
"""

import torch
from torch import Tensor, nn

from aira_kernels.backend import Backend, layer_norm, norm

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


class LayerNorm(nn.LayerNorm):
    """torch's LayerNorm (Ba et al. 2016) over D features, computed by whoever the backend takes."""

    def __init__(self, width: int, *, backend: Backend = "auto") -> None:
        super().__init__(width)
        self.backend = backend

    def forward(self, x: Tensor) -> Tensor:
        """Normalize the last axis, of D features."""
        return layer_norm(self.backend, x, self.weight, self.bias, self.eps)
