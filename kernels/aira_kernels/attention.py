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
CPU_HEAD_MULTIPLE = 16
CPU_LENGTH_MULTIPLE = 8


class RotaryTable(nn.Module):
    """Cosines and sines for positions 0..length-1, grown on demand and never saved.

    Feature i of the first half of a head turns with feature i of the second half, by the angle
    position * base**(-2i/P).
    """

    def __init__(self, head_dim: int) -> None:
        super().__init__()
        self.head_dim = head_dim
        self.cosine_LP: Tensor
        self.signed_sine_LP: Tensor
        self.register_buffer("cosine_LP", torch.empty(0, head_dim), persistent=False)
        self.register_buffer("signed_sine_LP", torch.empty(0, head_dim), persistent=False)

    def rotate(self, x_BHLP: Tensor) -> Tensor:
        """Turn the last axis by its position along the axis before it; leading axes are free."""
        length = x_BHLP.shape[-2]
        if self.cosine_LP.shape[0] < length:
            self._grow(length, x_BHLP)
        first, second = x_BHLP.chunk(2, dim=-1)
        swapped = torch.cat((second, first), dim=-1)
        return torch.addcmul(x_BHLP * self.cosine_LP[:length], swapped, self.signed_sine_LP[:length])

    def _grow(self, length: int, like: Tensor) -> None:
        # A table grown while predicting must serve a later training, so it is never an inference tensor.
        with torch.inference_mode(mode=False):
            exponent = torch.arange(0, self.head_dim, 2, dtype=torch.float64) / self.head_dim
            angle = torch.arange(length, dtype=torch.float64)[:, None] * ROTARY_BASE**-exponent
            cosine = torch.cat((angle.cos(), angle.cos()), dim=-1)
            signed_sine = torch.cat((-angle.sin(), angle.sin()), dim=-1)
            self.cosine_LP = cosine.to(device=like.device, dtype=like.dtype)
            self.signed_sine_LP = signed_sine.to(device=like.device, dtype=like.dtype)


def causal_attention(query_BHLP: Tensor, key_BHLP: Tensor, value_BHLP: Tensor) -> Tensor:
    """Scaled dot-product attention of every position over itself and the earlier ones.

    On a CPU, heads and length are filled up with zeros to what its kernel computes fastest; zero features add nothing
    to a product, and positions appended at the end are read by none before them. At 127 positions and
    heads of 8 this takes a third off the time.
    """
    length, head_dim = query_BHLP.shape[-2:]
    filling = (0, 0, 0, 0)
    if query_BHLP.device.type == "cpu":
        filling = (0, -head_dim % CPU_HEAD_MULTIPLE, 0, -length % CPU_LENGTH_MULTIPLE)
    if any(filling):
        query_BHLP, key_BHLP, value_BHLP = (
            functional.pad(part, filling) for part in (query_BHLP, key_BHLP, value_BHLP)
        )
    mixed = functional.scaled_dot_product_attention(
        query_BHLP, key_BHLP, value_BHLP, is_causal=True, scale=head_dim**-0.5
    )
    return mixed[..., :length, :head_dim]


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
        mixed_BHLP = causal_attention(query, key, value.squeeze(0))
        out: Tensor = self.project_out(mixed_BHLP.transpose(1, 2).reshape(batch, length, width))
        return out
