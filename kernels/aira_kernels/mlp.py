"""Primitive M: the two-layer ReLU MLP, applied to each position alone.

Shape suffixes: B batch, L length, D width. Not covered: gated variants.
"""

import torch
from torch import Tensor, nn
from torch.nn import functional

from aira_kernels.initialization import linear
from aira_kernels.sizes import BlockSizes


class ReluMlp(nn.Module):
    """Linear, ReLU, linear, without biases; hidden size 4 D by default (131,072 parameters at D = 128)."""

    def __init__(self, sizes: BlockSizes, *, generator: torch.Generator) -> None:
        super().__init__()
        self.expand = linear(sizes.width, sizes.mlp_hidden, bias=False, generator=generator)
        self.contract = linear(sizes.mlp_hidden, sizes.width, bias=False, generator=generator)

    def forward(self, x_BLD: Tensor) -> Tensor:
        """Map (B, L, D) to (B, L, D), position by position."""
        out: Tensor = self.contract(functional.relu(self.expand(x_BLD), inplace=True))
        return out
