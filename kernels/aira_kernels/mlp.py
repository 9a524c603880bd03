"""Primitive M, applied to each position alone: ReLU with two layers at search size, SwiGLU at full size.

Both are matrix products with an elementwise function between: every backend computes them alike.
Shape suffixes: B batch, L length, D width. Not covered: mixtures of experts.
"""

import torch
from torch import Tensor, nn
from torch.nn import functional

from aira_contract.model_sizes import ModelSize
from aira_kernels.backend import Backend
from aira_kernels.initialization import linear
from aira_kernels.sizes import BlockSizes


class ReluMlp(nn.Module):
    """Apply linear, ReLU, linear to each position, without biases: W2 max(0, W1 x), MAD-lab's MLP.

    The hidden size is 4 D by default, which makes 131,072 parameters at D = 128. It takes a backend as the other
    primitives do, and has no use for it.
    """

    def __init__(self, sizes: BlockSizes, *, generator: torch.Generator, backend: Backend = "auto") -> None:
        super().__init__()
        self.expand = linear(sizes.width, sizes.mlp_hidden, bias=False, generator=generator)
        self.contract = linear(sizes.mlp_hidden, sizes.width, bias=False, generator=generator)

    def forward(self, x_BLD: Tensor) -> Tensor:
        """Map (B, L, D) to (B, L, D), position by position."""
        # In place: ReLU's backward pass needs its result alone, so the product before it need not be kept.
        out: Tensor = self.contract(functional.relu(self.expand(x_BLD), inplace=True))
        return out


class SwigluMlp(nn.Module):
    """Apply a gated MLP to each position, W3 (silu(W1 x) * W2 x), without biases: 3 D h parameters.

    SwiGLU of Shazeer (2020), which the paper takes at full size (appendix D). It takes a backend as the other
    primitives do, and has no use for it.
    """

    def __init__(
        self,
        sizes: ModelSize,
        *,
        generator: torch.Generator,
        device: torch.device | str = "cpu",
        backend: Backend = "auto",
    ) -> None:
        super().__init__()
        # Gate and up in one matrix: one product reads x once.
        self.expand = linear(sizes.width, 2 * sizes.mlp_hidden, bias=False, generator=generator, device=device)
        self.contract = linear(sizes.mlp_hidden, sizes.width, bias=False, generator=generator, device=device)

    def forward(self, x_BLD: Tensor) -> Tensor:
        """Map (B, L, D) to (B, L, D), position by position."""
        gate, up = self.expand(x_BLD).chunk(2, dim=-1)
        out: Tensor = self.contract(functional.silu(gate) * up)
        return out

    def empty_state(self, batch: int, capacity: int) -> None:
        """Return what goes from one position to the next: nothing."""

    def extend(self, x_BLD: Tensor, cache: None, filled: int) -> Tensor:
        """Map the next L positions (B, L, D) to (B, L, D), whatever came before."""
        out: Tensor = self(x_BLD)
        return out
