"""Deep and thin models with shared blocks (Liu et al., "MobileLLM", arXiv 2402.14905).

Ideas for small models: more layers of less width at equal parameters; SwiGLU; the output matrix is the embedding
matrix; fewer key-value heads than query heads; and immediate block sharing: each block is run twice in a row with the
same weights, which adds depth without parameters and keeps the weights in cache.

Use in train.py: wrap the list of blocks in `SharedBlocks`; halve the number of distinct blocks to keep the time a step.

Left out: quantization, and the search for widths.
"""

from collections.abc import Callable

import torch
from torch import Tensor, nn
from torch.nn import functional


class GroupedQueryAttention(nn.Module):
    """Causal attention with `key_value_heads` shared by groups of query heads; (B, T, width) to the same shape."""

    def __init__(self, width: int, heads: int, key_value_heads: int) -> None:
        super().__init__()
        if width % heads or heads % key_value_heads:
            raise ValueError(f"width {width}, {heads} heads and {key_value_heads} key-value heads do not divide")
        self.heads, self.key_value_heads, self.head_dim = heads, key_value_heads, width // heads
        self.query = nn.Linear(width, width, bias=False)
        self.key_value = nn.Linear(width, 2 * key_value_heads * self.head_dim, bias=False)
        self.output = nn.Linear(width, width, bias=False)

    def forward(self, x: Tensor) -> Tensor:
        """Attend."""
        batch, length, width = x.shape
        query = self.query(x).view(batch, length, self.heads, self.head_dim).transpose(1, 2)
        pair = self.key_value(x).view(batch, length, 2, self.key_value_heads, self.head_dim)
        key, value = pair.permute(2, 0, 3, 1, 4).repeat_interleave(self.heads // self.key_value_heads, dim=2)
        mixed = functional.scaled_dot_product_attention(query, key, value, is_causal=True)
        return self.output(mixed.transpose(1, 2).reshape(batch, length, width))


class Block(nn.Module):
    """Pre-norm attention and SwiGLU."""

    def __init__(self, width: int, heads: int, key_value_heads: int, hidden: int) -> None:
        super().__init__()
        self.attention = GroupedQueryAttention(width, heads, key_value_heads)
        self.gate_up = nn.Linear(width, 2 * hidden, bias=False)
        self.down = nn.Linear(hidden, width, bias=False)

    def forward(self, x: Tensor) -> Tensor:
        """One block."""
        width = x.shape[-1:]
        x = x + self.attention(functional.rms_norm(x, width))
        gate, up = self.gate_up(functional.rms_norm(x, width)).chunk(2, dim=-1)
        return x + self.down(functional.silu(gate) * up)


class SharedBlocks(nn.Module):
    """Runs each of `distinct` blocks `repeats` times before the next one: depth distinct x repeats."""

    def __init__(self, make_block: Callable[[], nn.Module], distinct: int, repeats: int = 2) -> None:
        super().__init__()
        self.blocks = nn.ModuleList([make_block() for _ in range(distinct)])
        self.repeats = repeats

    def forward(self, x: Tensor) -> Tensor:
        """All blocks in turn."""
        for block in self.blocks:
            for _ in range(self.repeats):
                x = block(x)
        return x


class TiedLanguageModel(nn.Module):
    """Token ids (B, T) to logits (B, T, vocabulary); the embedding is the output matrix as well."""

    def __init__(self, vocabulary: int, width: int, body: nn.Module) -> None:
        super().__init__()
        self.embedding = nn.Embedding(vocabulary, width)
        nn.init.normal_(self.embedding.weight, std=0.02)
        self.body = body

    def forward(self, tokens: Tensor) -> Tensor:
        """Logits of the next token."""
        hidden = self.body(self.embedding(tokens))
        return functional.linear(functional.rms_norm(hidden, hidden.shape[-1:]), self.embedding.weight)


def parameters(module: nn.Module) -> int:
    """Distinct parameters; shared ones count once."""
    return sum(parameter.numel() for parameter in module.parameters())


def deep_and_thin(vocabulary: int = 8192, width: int = 256, distinct: int = 8) -> TiedLanguageModel:
    """An example in the paper's style: twice as deep as it has distinct blocks."""
    if width % 32:
        raise ValueError(f"width {width} is no multiple of 32")
    heads = width // 32
    groups = max(1, heads // 4)
    while heads % groups:
        groups -= 1
    body = SharedBlocks(lambda: Block(width, heads, groups, int(8 * width / 3) // 16 * 16), distinct)
    return TiedLanguageModel(vocabulary, width, body)


if __name__ == "__main__":
    model = deep_and_thin()
    print(parameters(model), model(torch.zeros(1, 8, dtype=torch.long)).shape)
