"""Primitive mA: causal attention with rotary positions over the whole head; with grouped keys and values at full size.

At full size it also goes on from keys and values that are kept, position by position or many at once.

Shape suffixes: B batch, L length, S positions there is room for, D width, H heads, G key-value heads, P features of a
head. Not covered: sliding windows, kept keys at search size, sequences of unlike lengths in a batch, stretched rotary
frequencies.
"""

from dataclasses import dataclass

import torch
from torch import Tensor, nn

from aira_contract.model_sizes import ModelSize
from aira_kernels.backend import Backend, attention, rotary_attention
from aira_kernels.initialization import linear
from aira_kernels.reference import cached_attention, turned
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


@dataclass(frozen=True)
class KeyValueCache:
    """Keys, turned by their positions, and values of the positions so far, with room for more behind them."""

    key_BGSP: Tensor
    value_BGSP: Tensor


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
        return self._put_together(attention(self.backend, *self._heads(x_BLD, 0, x_BLD.shape[1])))

    def empty_state(self, batch: int, capacity: int) -> KeyValueCache:
        """Return room for the keys and values of `capacity` positions in each of `batch` sequences."""
        weight = self.project_in.weight
        shape = (batch, self.kv_heads, capacity, self.head_dim)
        # Zeros, not empty: what is not filled yet must be a number where a kernel reads past what is asked for.
        key, value = (torch.zeros(shape, dtype=weight.dtype, device=weight.device) for _ in range(2))
        return KeyValueCache(key, value)

    def extend(self, x_BLD: Tensor, cache: KeyValueCache, filled: int) -> Tensor:
        """Map the next L positions (B, L, D) to (B, L, D) and keep their keys and values.

        Args:
            x_BLD: the positions that follow `filled` ones.
            cache: what those left; has room for L more, and has them afterwards.
            filled: how many positions there were.
        """
        end = filled + x_BLD.shape[1]
        query, key, value = self._heads(x_BLD, filled, cache.key_BGSP.shape[2])
        cache.key_BGSP[:, :, filled:end] = key
        cache.value_BGSP[:, :, filled:end] = value
        if filled == 0:
            return self._put_together(attention(self.backend, query, key, value))
        return self._put_together(cached_attention(query, cache.key_BGSP[:, :, :end], cache.value_BGSP[:, :, :end]))

    def _heads(self, x_BLD: Tensor, first: int, table: int) -> tuple[Tensor, Tensor, Tensor]:
        """Queries and keys turned by their positions, the first of which is `first`, and values.

        `table` is how long the rotary table is made: as long as it will ever have to be, so that it is made once.
        """
        batch, length, _ = x_BLD.shape
        packed = self.project_in(x_BLD).view(batch, length, self.heads + 2 * self.kv_heads, self.head_dim)
        parts = [self.heads + self.kv_heads, self.kv_heads]
        rotated, value = torch.split(packed.transpose(1, 2), parts, dim=1)
        # Cosines in bfloat16 would turn distant positions by the wrong angle.
        wide = rotated.float()
        tables = (each[first : first + length] for each in self.rotary.tables(table, wide))
        query, key = torch.split(turned(wide, *tables).to(rotated.dtype), [self.heads, self.kv_heads], dim=1)
        return query, key, value

    def _put_together(self, mixed_BHLP: Tensor) -> Tensor:
        out: Tensor = self.project_out(mixed_BHLP.transpose(1, 2).flatten(2))
        return out
