"""Primitive mA: causal attention with rotary positions over the whole head; with grouped keys and values at full size.

Shape suffixes: B batch, L length, D width, H heads, G key-value heads, P features of a head. Not covered: sliding
windows, key-value caches, stretched rotary frequencies.
"""

import torch
from torch import Tensor, nn

from aira_contract.model_sizes import ModelSize
from aira_kernels.backend import Backend, attention, rotary_attention
from aira_kernels.initialization import linear
from aira_kernels.reference import turned
from aira_kernels.sizes import BlockSizes

ROTARY_BASE = 10_000.0
LARGE_ROTARY_BASE = 500_000.0


class RotaryTable(nn.Module):
    """Cosines and sines for positions 0..length-1, grown on demand and never saved.

    Feature i of the first half of a head turns with feature i of the second half, by the angle
    position * base**(-2i/P).
    """

    def __init__(self, head_dim: int, base: float = ROTARY_BASE) -> None:
        super().__init__()
        self.head_dim, self.base = head_dim, base
        self.cosine_LP: Tensor
        self.signed_sine_LP: Tensor
        self.register_buffer("cosine_LP", torch.empty(0, head_dim), persistent=False)
        self.register_buffer("signed_sine_LP", torch.empty(0, head_dim), persistent=False)

    def tables(self, length: int, like: Tensor) -> tuple[Tensor, Tensor]:
        """Cosines and signed sines of the first `length` positions, each (length, P), on the device of `like`."""
        # A table made under another type or device, as autocast may do, would change the type of what it turns.
        fits = self.cosine_LP.dtype == like.dtype and self.cosine_LP.device == like.device
        if self.cosine_LP.shape[0] < length or not fits:
            self._grow(length, like)
        return self.cosine_LP[:length], self.signed_sine_LP[:length]

    def rotate(self, x_BHLP: Tensor) -> Tensor:
        """Turn the last axis by its position along the axis before it; leading axes are free."""
        return turned(x_BHLP, *self.tables(x_BHLP.shape[-2], x_BHLP))

    def _grow(self, length: int, like: Tensor) -> None:
        # A table grown while predicting must serve a later training, so it is never an inference tensor.
        with torch.inference_mode(False):
            # Angles in float64: in float32 one of about 8,000 radians is rounded by up to 2.4e-4 already.
            exponent = torch.arange(0, self.head_dim, 2, dtype=torch.float64) / self.head_dim
            angle = torch.arange(length, dtype=torch.float64)[:, None] * self.base**-exponent
            cosine = torch.cat((angle.cos(), angle.cos()), dim=-1)
            signed_sine = torch.cat((-angle.sin(), angle.sin()), dim=-1)
            self.cosine_LP = cosine.to(device=like.device, dtype=like.dtype)
            self.signed_sine_LP = signed_sine.to(device=like.device, dtype=like.dtype)


class CausalSelfAttention(nn.Module):
    """Attention at search size, as in MAD-lab: heads of 8 features, and projections with biases.

    At D = 128 that is 66,048 parameters. Rotary positions turn whole heads, with base 10,000 (Su et al. 2021).
    """

    def __init__(self, sizes: BlockSizes, *, generator: torch.Generator, backend: Backend = "auto") -> None:
        super().__init__()
        self.backend = backend
        self.heads = sizes.attention_heads
        self.head_dim = sizes.attention_head_dim
        self.project_in = linear(sizes.width, 3 * sizes.width, bias=True, generator=generator)
        self.project_out = linear(sizes.width, sizes.width, bias=True, generator=generator)
        self.rotary = RotaryTable(sizes.attention_head_dim)

    def forward(self, x_BLD: Tensor) -> Tensor:
        """Map (B, L, D) to (B, L, D); position t reads positions 0..t."""
        batch, length, width = x_BLD.shape
        packed_BL3HP = self.project_in(x_BLD).view(batch, length, 3, self.heads, self.head_dim)
        mixed_BLHP = rotary_attention(self.backend, packed_BL3HP, *self.rotary.tables(length, packed_BL3HP))
        out: Tensor = self.project_out(mixed_BLHP.reshape(batch, length, width))
        return out


class GroupedQueryAttention(nn.Module):
    """Attention at full size: 8 key-value heads, no biases, rotary base 500,000; 2 D^2 + 2 D G P parameters.

    Head counts are the paper's (appendix D). The rotary base is that of Llama 3, whose sizes the paper takes; the
    paper names none.
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
        self.backend = backend
        self.heads, self.kv_heads, self.head_dim = sizes.query_heads, sizes.kv_heads, sizes.head_dim
        packed = sizes.width + 2 * sizes.kv_width
        self.project_in = linear(sizes.width, packed, bias=False, generator=generator, device=device)
        self.project_out = linear(sizes.width, sizes.width, bias=False, generator=generator, device=device)
        self.rotary = RotaryTable(sizes.head_dim, LARGE_ROTARY_BASE)

    def forward(self, x_BLD: Tensor) -> Tensor:
        """Map (B, L, D) to (B, L, D); position t reads positions 0..t."""
        batch, length, width = x_BLD.shape
        packed = self.project_in(x_BLD).view(batch, length, self.heads + 2 * self.kv_heads, self.head_dim)
        parts = [self.heads + self.kv_heads, self.kv_heads]
        rotated, value = torch.split(packed.transpose(1, 2), parts, dim=1)
        # Cosines in bfloat16 would turn distant positions by the wrong angle.
        turned = self.rotary.rotate(rotated.float()).to(rotated.dtype)
        query, key = torch.split(turned, [self.heads, self.kv_heads], dim=1)
        mixed_BHLP = attention(self.backend, query, key, value)
        out: Tensor = self.project_out(mixed_BHLP.transpose(1, 2).reshape(batch, length, width))
        return out
