"""Training under a fixed budget of compute (Geiping and Goldstein, "Cramming", arXiv 2212.14034).

Findings that carry over to a few minutes on one GPU: the loss depends on how many tokens the budget buys, hardly on the
shape of the model, so choose what runs fast; no biases, no dropout, pre-norm; one pass over filtered data, the easiest
to predict last; a learning rate that rises and falls once and reaches zero exactly when the budget ends; a batch that
grows during training.

Use in train.py: take `one_cycle` and `batch_ramp` with progress = elapsed seconds / budget.

Left out: data filtering by compressibility (`compression_ratio` is its measure), masked-language-model details.
"""

import zlib

import torch
from torch import Tensor, nn
from torch.nn import functional


def one_cycle(progress: float, *, peak_at: float = 0.5) -> float:
    """Factor of the peak rate at `progress` in [0, 1] of the budget: a triangle that ends at zero."""
    progress = min(max(progress, 0.0), 1.0)
    if progress < peak_at:
        return progress / peak_at
    return (1.0 - progress) / (1.0 - peak_at) if peak_at < 1.0 else 1.0


def batch_ramp(progress: float, smallest: int, largest: int, *, full_at: float = 0.6, multiple: int = 1) -> int:
    """Sequences a step: linear from `smallest` to `largest` until `full_at` of the budget, in multiples."""
    share = min(max(progress / full_at, 0.0), 1.0)
    size = smallest + share * (largest - smallest)
    return max(multiple, int(size) // multiple * multiple)


def compression_ratio(text: str) -> float:
    """Compressed over raw bytes; texts that hardly compress are noise, those that compress away say nothing."""
    raw = text.encode()
    return len(zlib.compress(raw, 6)) / max(1, len(raw))


class CrammedBlock(nn.Module):
    """Pre-norm block without biases or dropout, with a gated MLP; (B, T, width) to the same shape, causal."""

    def __init__(self, width: int, heads: int) -> None:
        super().__init__()
        if width % heads:
            raise ValueError(f"width {width} is no multiple of the {heads} heads")
        self.heads = heads
        self.norms = nn.ModuleList([nn.LayerNorm(width, bias=False) for _ in range(2)])
        self.attention_in = nn.Linear(width, 3 * width, bias=False)
        self.attention_out = nn.Linear(width, width, bias=False)
        self.gated = nn.Linear(width, 4 * width, bias=False)
        self.down = nn.Linear(2 * width, width, bias=False)

    def forward(self, x: Tensor) -> Tensor:
        """One block."""
        batch, length, width = x.shape
        parts = self.attention_in(self.norms[0](x)).view(batch, length, 3, self.heads, width // self.heads)
        query, key, value = parts.permute(2, 0, 3, 1, 4)
        mixed = functional.scaled_dot_product_attention(query, key, value, is_causal=True)
        x = x + self.attention_out(mixed.transpose(1, 2).reshape(batch, length, width))
        gate, up = self.gated(self.norms[1](x)).chunk(2, dim=-1)
        return x + self.down(functional.gelu(gate) * up)


def without_decay(model: nn.Module) -> tuple[list[Tensor], list[Tensor]]:
    """Parameters with and without weight decay: matrices get it, vectors and embeddings do not."""
    embeddings = {id(module.weight) for module in model.modules() if isinstance(module, nn.Embedding)}
    decayed, plain = [], []
    for parameter in model.parameters():
        (plain if parameter.ndim < 2 or id(parameter) in embeddings else decayed).append(parameter)
    return decayed, plain


@torch.no_grad()
def clip_(parameters: list[Tensor], norm: float = 0.5) -> Tensor:
    """Clip gradients to a total norm without a host synchronization; return the norm before."""
    gradients = [parameter.grad for parameter in parameters if parameter.grad is not None]
    total = torch.linalg.vector_norm(torch.stack([torch.linalg.vector_norm(g.float()) for g in gradients]))
    factor = (norm / (total + 1e-6)).clamp(max=1.0)
    for gradient in gradients:
        gradient.mul_(factor.to(gradient.dtype))
    return total
