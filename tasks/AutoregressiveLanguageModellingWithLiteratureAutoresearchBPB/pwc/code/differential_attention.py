"""Differential attention (Ye et al., "Differential Transformer", arXiv 2410.05258).

Idea: two softmax maps with their own queries and keys; the output uses their difference, so that what both attend to
without need cancels. A learned scalar lambda weighs the second map. Each head is normalized on its own and scaled by
1 - lambda_init.

Use in train.py: replace the attention module; take half as many heads as before, since each has two query and key
pairs, so that parameters stay equal.

Left out: rotary embeddings (apply them to q and k where marked), key-value groups, fused kernels. This version builds
the attention maps in full; with flash attention run it once a map and subtract the outputs.
"""

import math

import torch
from torch import Tensor, nn
from torch.nn import functional


def lambda_init(layer: int) -> float:
    """The paper's start value of lambda for a layer counted from 0: 0.8 - 0.6 exp(-0.3 layer)."""
    return 0.8 - 0.6 * math.exp(-0.3 * layer)


class DifferentialAttention(nn.Module):
    """Causal differential attention, (B, T, width) to the same shape; `width` is heads x 2 x head_dim."""

    def __init__(self, width: int, heads: int, layer: int) -> None:
        super().__init__()
        if width % (2 * heads):
            raise ValueError(f"width {width} is no multiple of twice the {heads} heads")
        self.heads, self.head_dim = heads, width // heads // 2
        self.query = nn.Linear(width, width, bias=False)
        self.key = nn.Linear(width, width, bias=False)
        self.value = nn.Linear(width, width, bias=False)
        self.output = nn.Linear(width, width, bias=False)
        self.lambda_init = lambda_init(layer)
        self.lambdas = nn.Parameter(0.1 * torch.randn(4, self.head_dim))  # q1, k1, q2, k2

    def lambda_value(self) -> Tensor:
        """exp(q1.k1) - exp(q2.k2) + lambda_init, a scalar."""
        query_1, key_1, query_2, key_2 = self.lambdas
        return (query_1 @ key_1).exp() - (query_2 @ key_2).exp() + self.lambda_init

    def maps(self, x: Tensor) -> tuple[Tensor, Tensor]:
        """Both causal softmax maps, each (B, heads, T, T)."""
        batch, length, _ = x.shape
        query = self.query(x).view(batch, length, self.heads, 2, self.head_dim).permute(3, 0, 2, 1, 4)
        key = self.key(x).view(batch, length, self.heads, 2, self.head_dim).permute(3, 0, 2, 1, 4)
        # Rotary embeddings go here.
        scores = query @ key.transpose(-1, -2) / math.sqrt(self.head_dim)
        hidden = torch.ones(length, length, dtype=torch.bool, device=x.device).triu(1)
        first, second = scores.masked_fill(hidden, -torch.inf).softmax(-1)
        return first, second

    def forward(self, x: Tensor) -> Tensor:
        """Attend."""
        batch, length, width = x.shape
        first, second = self.maps(x)
        value = self.value(x).view(batch, length, self.heads, 2 * self.head_dim).transpose(1, 2)
        heads = (first - self.lambda_value() * second) @ value
        heads = functional.rms_norm(heads, (2 * self.head_dim,)) * (1.0 - self.lambda_init)
        return self.output(heads.transpose(1, 2).reshape(batch, length, width))
