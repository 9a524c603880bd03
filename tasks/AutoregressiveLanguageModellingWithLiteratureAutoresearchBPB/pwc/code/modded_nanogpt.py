"""Tricks of the NanoGPT speedrun (the modded-nanogpt community, 2024 on).

What the records collected, each small on its own: RMSNorm without weights, rotary embeddings, queries and keys
normalized to unit RMS, squared ReLU, projections back into the residual stream that start at zero, logits bounded by a
soft cap, token embeddings mixed into attention values in some layers, skip connections from the first half of the
layers to the second, and a short attention window that grows. Matrices are trained by Muon (moonlight_muon.py).

Use in train.py: most of these are in the baseline already. What is not: `skip` connections and the growing window.

Left out: FP8 matrix products, document-aware masks, kernels, the embedding's own optimizer settings.
"""

import torch
from torch import Tensor, nn
from torch.nn import functional


def rms(x: Tensor) -> Tensor:
    """RMSNorm over the last dimension, without weights."""
    return functional.rms_norm(x, x.shape[-1:])


def rotate(x: Tensor, base: float = 10000.0) -> Tensor:
    """Rotary position embedding of (B, T, H, head_dim), halves rotated against each other."""
    length, dim = x.shape[1], x.shape[-1]
    frequency = base ** (-torch.arange(0, dim, 2, device=x.device, dtype=torch.float32) / dim)
    angle = torch.arange(length, device=x.device, dtype=torch.float32)[:, None] * frequency
    cos, sin = angle.cos()[:, None, :].to(x.dtype), angle.sin()[:, None, :].to(x.dtype)
    first, second = x.chunk(2, dim=-1)
    return torch.cat((first * cos + second * sin, second * cos - first * sin), dim=-1)


def softcap(logits: Tensor, bound: float = 15.0) -> Tensor:
    """Logits squeezed smoothly into (-bound, bound)."""
    return bound * torch.tanh(logits / bound)


def window_at(progress: float, smallest: int, largest: int, multiple: int = 128) -> int:
    """Attention window at `progress` in [0, 1] of the budget, growing linearly in multiples."""
    wanted = smallest + min(max(progress, 0.0), 1.0) * (largest - smallest)
    return max(multiple, int(wanted) // multiple * multiple)


class Block(nn.Module):
    """Attention with a window and optional value embeddings, then squared ReLU; (B, T, width) to the same shape."""

    def __init__(self, width: int, heads: int) -> None:
        super().__init__()
        if width % (2 * heads):
            raise ValueError(f"width {width} is no multiple of twice the {heads} heads")
        self.heads = heads
        self.attention_in = nn.Linear(width, 3 * width, bias=False)
        self.attention_out = nn.Linear(width, width, bias=False)
        self.up = nn.Linear(width, 4 * width, bias=False)
        self.down = nn.Linear(4 * width, width, bias=False)
        self.value_mix = nn.Parameter(torch.tensor([1.0, 0.0]))
        nn.init.zeros_(self.attention_out.weight)
        nn.init.zeros_(self.down.weight)

    def forward(self, x: Tensor, value_embedding: Tensor | None, window: int) -> Tensor:
        """One block; `value_embedding` has the shape of `x`."""
        batch, length, width = x.shape
        parts = self.attention_in(rms(x)).view(batch, length, 3, self.heads, width // self.heads)
        query, key, value = parts.unbind(2)
        query, key = rotate(rms(query)), rotate(rms(key))
        if value_embedding is not None:
            value = self.value_mix[0] * value + self.value_mix[1] * value_embedding.view_as(value)
        ages = torch.arange(length, device=x.device)[:, None] - torch.arange(length, device=x.device)
        mask = (ages >= 0) & (ages < window)
        mixed = functional.scaled_dot_product_attention(
            query.transpose(1, 2), key.transpose(1, 2), value.transpose(1, 2), attn_mask=mask
        )
        x = x + self.attention_out(mixed.transpose(1, 2).reshape(batch, length, width))
        return x + self.down(functional.relu(self.up(rms(x))).square())


class SpeedrunGpt(nn.Module):
    """Token ids (B, T) to logits (B, T, vocabulary), with skips between the halves and value embeddings."""

    def __init__(self, vocabulary: int, width: int, layers: int, heads: int) -> None:
        super().__init__()
        if layers % 2:
            raise ValueError(f"{layers} layers cannot be halved")
        self.embedding = nn.Embedding(vocabulary, width)
        self.value_embedding = nn.Embedding(vocabulary, width)
        self.blocks = nn.ModuleList([Block(width, heads) for _ in range(layers)])
        self.skips = nn.Parameter(torch.ones(layers // 2))
        self.head = nn.Linear(width, vocabulary, bias=False)
        nn.init.zeros_(self.head.weight)

    def forward(self, tokens: Tensor, window: int = 1 << 30) -> Tensor:
        """Logits of the next token."""
        x = rms(self.embedding(tokens))
        values = self.value_embedding(tokens)
        half, kept = len(self.blocks) // 2, []
        for layer, block in enumerate(self.blocks):
            if layer >= half:
                x = x + self.skips[layer - half] * kept.pop()
            outer = layer < 1 or layer >= len(self.blocks) - 1
            x = block(x, values if outer else None, window)
            if layer < half:
                kept.append(x)
        return softcap(self.head(rms(x)).float())
