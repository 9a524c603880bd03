"""Native sparse attention (Yuan et al., arXiv 2502.11089).

Idea: each query reads the past in three ways and gates their sum. Compressed: blocks of keys and values are each
squeezed into one. Selected: the blocks with the highest compressed attention are read in full, with the same choice for
all query heads of a group. Window: the last few tokens. All three are trained from the start.

Use in train.py: replace the attention module. At 2,048 tokens the gain is in quality a parameter, not in time.

Left out: overlapping compression blocks (stride is the block length here), kernels. This version masks full score
matrices, so its result is that of the paper and its cost is not.
"""

import math

import torch
from torch import Tensor, nn
from torch.nn import functional


class NativeSparseAttention(nn.Module):
    """Causal; (B, T, width) to the same shape."""

    def __init__(
        self,
        width: int,
        heads: int,
        key_value_heads: int,
        *,
        block: int = 32,
        selected: int = 4,
        window: int = 128,
    ) -> None:
        super().__init__()
        if width % heads or heads % key_value_heads:
            raise ValueError(f"width {width}, {heads} heads and {key_value_heads} key-value heads do not divide")
        self.heads, self.groups, self.head_dim = heads, key_value_heads, width // heads
        self.block, self.selected, self.window = block, selected, window
        pair = 2 * key_value_heads * self.head_dim
        self.query = nn.Linear(width, width, bias=False)
        self.key_value = nn.ModuleDict(
            {name: nn.Linear(width, pair, bias=False) for name in ("block", "token", "near")}
        )
        self.squeeze = nn.ModuleDict(
            {
                name: nn.Sequential(
                    nn.Linear(block * self.head_dim, self.head_dim), nn.SiLU(), nn.Linear(self.head_dim, self.head_dim)
                )
                for name in ("key", "value")
            }
        )
        self.place = nn.Parameter(torch.zeros(block, self.head_dim))
        self.gates = nn.Linear(width, 3 * heads)
        self.output = nn.Linear(width, width, bias=False)

    def forward(self, x: Tensor) -> Tensor:
        """Attend in three ways."""
        batch, length, width = x.shape
        query = self.query(x).view(batch, length, self.heads, self.head_dim).transpose(1, 2)
        compressed, choice = self._compressed(x, query)
        selected = self._masked("token", x, query, choice)
        near = self._masked("near", x, query, self._window_mask(length, x.device))
        gates = self.gates(x).sigmoid().view(batch, length, self.heads, 3).permute(3, 0, 2, 1)[..., None]
        mixed = gates[0] * compressed + gates[1] * selected + gates[2] * near
        return self.output(mixed.transpose(1, 2).reshape(batch, length, width))

    def _pair(self, name: str, x: Tensor) -> tuple[Tensor, Tensor]:
        batch, length, _ = x.shape
        pair = self.key_value[name](x).view(batch, length, 2, self.groups, self.head_dim).permute(2, 0, 3, 1, 4)
        return pair[0], pair[1]

    def _compressed(self, x: Tensor, query: Tensor) -> tuple[Tensor, Tensor]:
        """Attention over whole past blocks, and the token mask (B, heads, T, T) of the blocks to read in full."""
        batch, length, _ = x.shape
        whole, share = length // self.block, self.heads // self.groups
        position = torch.arange(length, device=x.device)
        own = position // self.block
        allowed = torch.zeros(batch, self.groups, length, -(-length // self.block), dtype=torch.bool, device=x.device)
        allowed[..., position, own] = True
        mixed = torch.zeros_like(query)
        if whole:
            key, value = self._pair("block", x)
            cut = [t[:, :, : whole * self.block].unflatten(2, (whole, self.block)) + self.place for t in (key, value)]
            small_key, small_value = (
                self.squeeze[name](t.flatten(-2)).repeat_interleave(share, dim=1)
                for name, t in zip(("key", "value"), cut, strict=True)
            )
            past = torch.arange(whole, device=x.device) < (position + 1)[:, None] // self.block
            scores = query @ small_key.transpose(-1, -2) / math.sqrt(self.head_dim)
            weights = scores.masked_fill(~past, -torch.inf).softmax(-1).nan_to_num(0.0)  # the first block sees none
            mixed = weights @ small_value
            importance = weights.detach().unflatten(1, (self.groups, share)).sum(2)
            earlier = torch.arange(whole, device=x.device) < own[:, None]
            importance = importance.masked_fill(~earlier, -1.0)
            best = importance.topk(min(self.selected, whole), dim=-1)
            chosen = torch.zeros_like(importance, dtype=torch.bool).scatter(-1, best.indices, best.values >= 0)
            allowed[..., :whole] |= chosen
        tokens = allowed.repeat_interleave(share, dim=1).repeat_interleave(self.block, dim=-1)[..., :length]
        return mixed, tokens & (position <= position[:, None])

    def _window_mask(self, length: int, device: torch.device) -> Tensor:
        ages = torch.arange(length, device=device)[:, None] - torch.arange(length, device=device)
        return (ages >= 0) & (ages < self.window)

    def _masked(self, name: str, x: Tensor, query: Tensor, mask: Tensor) -> Tensor:
        key, value = (t.repeat_interleave(self.heads // self.groups, dim=1) for t in self._pair(name, x))
        return functional.scaled_dot_product_attention(query, key, value, attn_mask=mask)
