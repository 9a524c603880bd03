"""Primitive mA: causal multi-head attention with rotary positions over the whole head.

Shape suffixes: B batch, L length, D width, H heads, P features of a head. Not covered: grouped heads, sliding
windows, key-value caches.
"""

import torch
from torch import Tensor, nn
from torch.nn import functional

from aira_kernels.initialization import linear
from aira_kernels.sizes import BlockSizes

ROTARY_BASE = 10_000.0


class RotaryTable(nn.Module):
    """Cosines and sines for positions 0..length-1, grown on demand and never saved.

    Feature i of the first half of a head turns with feature i of the second half, by the angle
    position * base**(-2i/P).
    """

    def __init__(self, head_dim: int) -> None:
        super().__init__()
        self.head_dim = head_dim
        self.cosine_LP: Tensor
        self.sine_LP: Tensor
        self.register_buffer("cosine_LP", torch.empty(0, head_dim), persistent=False)
        self.register_buffer("sine_LP", torch.empty(0, head_dim), persistent=False)

    def rotate(self, x_BHLP: Tensor) -> Tensor:
        """Turn the last axis by its position along the axis before it; leading axes are free."""
        length = x_BHLP.shape[-2]
        if self.cosine_LP.shape[0] < length:
            self._grow(length, x_BHLP)
        first, second = x_BHLP.chunk(2, dim=-1)
        turned = torch.cat((-second, first), dim=-1)
        return torch.addcmul(x_BHLP * self.cosine_LP[:length], turned, self.sine_LP[:length])

    def _grow(self, length: int, like: Tensor) -> None:
        # A table grown while predicting must serve a later training, so it is never an inference tensor.
        with torch.inference_mode(mode=False):
            exponent = torch.arange(0, self.head_dim, 2, dtype=torch.float64) / self.head_dim
            angle = torch.arange(length, dtype=torch.float64)[:, None] * ROTARY_BASE**-exponent
            both_halves = torch.cat((angle, angle), dim=-1)
            self.cosine_LP = both_halves.cos().to(device=like.device, dtype=like.dtype)
            self.sine_LP = both_halves.sin().to(device=like.device, dtype=like.dtype)


class CausalSelfAttention(nn.Module):
    """Heads of 8 features; projections with biases (66,048 parameters at D = 128), as in MAD-lab."""

    def __init__(self, sizes: BlockSizes, *, generator: torch.Generator) -> None:
        super().__init__()
        self.heads = sizes.attention_heads
        self.head_dim = sizes.attention_head_dim
        self.project_in = linear(sizes.width, 3 * sizes.width, bias=True, generator=generator)
        self.project_out = linear(sizes.width, sizes.width, bias=True, generator=generator)
        self.rotary = RotaryTable(sizes.attention_head_dim)

    def forward(self, x_BLD: Tensor) -> Tensor:
        """Map (B, L, D) to (B, L, D); position t reads positions 0..t."""
        batch, length, width = x_BLD.shape
        packed = self.project_in(x_BLD).view(batch, length, 3, self.heads, self.head_dim)
        query_key, value = packed.permute(2, 0, 3, 1, 4).split((2, 1))
        query, key = self.rotary.rotate(query_key)
        mixed_BHLP = functional.scaled_dot_product_attention(query, key, value[0], is_causal=True)
        out: Tensor = self.project_out(mixed_BHLP.transpose(1, 2).reshape(batch, length, width))
        return out
