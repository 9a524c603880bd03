"""Mixture of block attention (Lu et al., "MoBA", arXiv 2502.13189).

Idea: keys and values are cut into blocks, and each query attends to a few of them: its own block (causally) and the
top k among the blocks before it, by the product of the query with the mean key of each block. No new parameters, so a
model can be trained with full attention in some layers and block attention in others.

Use in train.py: call `moba_attention` in place of scaled dot-product attention, after rotary embeddings.

Left out: the gathered, truly sparse computation. This version masks a full score matrix: the result is that of the
paper, the cost is not. At 2,048 tokens full attention is cheap; do not expect speed from this alone.
"""

import torch
from torch import Tensor
from torch.nn import functional


def chosen_blocks(query: Tensor, key: Tensor, block: int, top_k: int) -> Tensor:
    """Which block each query sees, bool (B, H, T, blocks): its own, and up to `top_k` - 1 whole earlier ones."""
    length = key.shape[-2]
    blocks = -(-length // block)
    padded = functional.pad(key, (0, 0, 0, blocks * block - length))
    sizes = torch.full((blocks,), block, device=key.device)
    sizes[-1] = length - (blocks - 1) * block
    means = padded.unflatten(-2, (blocks, block)).sum(-2) / sizes[:, None]
    affinity = (query @ means.transpose(-1, -2)).float()
    own = torch.arange(length, device=key.device) // block
    index = torch.arange(blocks, device=key.device)
    affinity = affinity.masked_fill(index > own[:, None], -torch.inf)  # a later block's mean would tell the future
    affinity = affinity.masked_fill(index == own[:, None], torch.inf)
    best = affinity.topk(min(top_k, blocks), dim=-1).indices
    seen = torch.zeros_like(affinity, dtype=torch.bool).scatter(-1, best, True)
    return seen & (index <= own[:, None])


def moba_attention(query: Tensor, key: Tensor, value: Tensor, *, block: int = 128, top_k: int = 4) -> Tensor:
    """Causal block attention; all of shape (B, H, T, head_dim)."""
    length = key.shape[-2]
    blocks = chosen_blocks(query, key, block, top_k)
    mask = blocks.repeat_interleave(block, dim=-1)[..., :length]
    mask = mask & torch.ones(length, length, dtype=torch.bool, device=key.device).tril()
    return functional.scaled_dot_product_attention(query, key, value, attn_mask=mask)
