"""Memory of a training on each GPU, from what the trainer and autograd keep.

Of the trainer (`aira_evaluator.pretrain`): float32 weights, gradients and two AdamW moments, divided among the ranks;
products in bfloat16, of matrices that are gathered or cast when their turn comes; a float32 residual path; a loss in
pieces. Bytes a token that a layer keeps for the backward pass, with d: width, k: width of all key heads, h: MLP hidden,
D: inner width, N: state and H: heads of Mamba-2:

    nothing recomputed  A   12d + 6k               input 4d, norm 2d, products 2d + 4k, rotated 2d + 2k, attention 2d
                        M   6d + 8h                input 4d, norm 2d, product 4h, gate 2h, gated 2h
                        Mb  6d + 10D + 8N + 10H    input 4d, norm 2d, product 4D + 4N + 2H, convolved 2D + 4N,
                                                   steps 8H, scan 2D, norm 2D
    selective           A   12d + 4k               inputs and what products, attention, scan, convolution, norms gave
                        M   8d + 4h
                        Mb  8d + 10D + 8N + 2H
    full                    4d                     the input

Two moments can be the worst: the beginning of the backward pass, when all of that is kept (with gradients of earlier
microbatches, if there are any), and its end, when all gradients are there. tests/scaling/test_scale_plan.py compares
with what was measured on a device (docs/performance.md): within 5 %.

Not covered: fragmentation, buffers of NCCL, workspaces of kernels. A plan leaves a tenth of a device for them.
"""

from dataclasses import dataclass
from typing import Literal

from aira_contract.model_sizes import VOCABULARY, ModelSize
from aira_contract.training_arithmetic import (
    ATTENTION,
    MAMBA,
    MLP,
    LayerCounts,
    layer_parameters,
    parameters_with_embedding,
)

Recompute = Literal["none", "selective", "full"]
PIECE_POSITIONS = 4096
"""Positions of the loss at a time."""
_WEIGHT, _GRADIENT, _MOMENTS, _CAST = 4, 4, 8, 2
"""Bytes a parameter."""
_LOGIT = 12
"""Bytes of a logit: itself 2, in float32 4, its gradient in float32 4 and in bfloat16 2."""
_GATHERED_BLOCKS = 2
"""The block at work and the one that is fetched meanwhile."""


@dataclass(frozen=True)
class MemorySetting:
    """How a step is laid out on each rank."""

    ranks: int
    sequences: int
    """Of a microbatch."""
    microbatches: int
    recompute: Recompute
    piece: int = PIECE_POSITIONS


@dataclass(frozen=True)
class RankMemory:
    """Bytes on each rank at the worst moment of a step."""

    weights: int
    optimizer: int
    gradients: int
    gathered: int
    """Matrices in the type of products: gathered from other ranks, or cast."""
    activations: int
    head: int
    """The gradient of embedding and head before it is divided, and the logits of a piece."""

    @property
    def total(self) -> int:
        """The bytes of all kinds together."""
        return self.weights + self.optimizer + self.gradients + self.gathered + self.activations + self.head


def rank_memory(
    counts: LayerCounts, size: ModelSize, sequence_tokens: int, setting: MemorySetting, vocabulary: int = VOCABULARY
) -> RankMemory:
    """Return the memory of each rank by the formulas above.

    Args:
        counts: layers of the model.
        size: its widths.
        sequence_tokens: of a training sequence.
        setting: ranks, microbatches and what is recomputed.
        vocabulary: number of token ids.
    """
    whole = parameters_with_embedding(counts, size, vocabulary)
    embedding, share = vocabulary * size.width, -(-whole // setting.ranks)
    blocks = {symbol: count for symbol, count in _by_symbol(counts).items() if count}
    largest = max(layer_parameters(symbol, size) for symbol in blocks)
    # One rank holds whole float32 matrices, of which autocast keeps a copy until the backward pass has used it.
    gathered = whole if setting.ranks == 1 else embedding + min(whole - embedding, _GATHERED_BLOCKS * largest)
    tokens = setting.sequences * sequence_tokens
    kept = sum(count * kept_bytes(symbol, size, setting.recompute) for symbol, count in blocks.items())
    if setting.recompute != "none":
        kept += max(kept_bytes(symbol, size, "none") for symbol in blocks)  # of the block that is computed again
    # At the beginning of the backward pass; then at its end, when no activations are left.
    earlier = _GRADIENT * share if setting.microbatches > 1 else 0
    head = (_CAST + _GRADIENT) * embedding + _LOGIT * vocabulary * min(setting.piece, tokens)
    begins, ends = earlier + tokens * kept + head, _GRADIENT * (share + largest)
    worst = (earlier, tokens * kept, head) if begins >= ends else (ends, 0, 0)
    return RankMemory(_WEIGHT * share, _MOMENTS * share, worst[0], _CAST * gathered, worst[1], worst[2])


def kept_bytes(symbol: str, size: ModelSize, recompute: Recompute) -> int:
    """Return the bytes that one layer keeps of each token for its backward pass: the table above."""
    width, keys, hidden = size.width, size.kv_width, size.mlp_hidden
    inner, state, heads = size.mamba_inner, size.mamba_state, size.mamba_heads
    table = {
        ATTENTION: (12 * width + 6 * keys, 12 * width + 4 * keys),
        MLP: (6 * width + 8 * hidden, 8 * width + 4 * hidden),
        MAMBA: (6 * width + 10 * inner + 8 * state + 10 * heads, 8 * width + 10 * inner + 8 * state + 2 * heads),
    }
    none, selective = table[symbol]
    return {"none": none, "selective": selective, "full": 4 * width}[recompute]


def _by_symbol(counts: LayerCounts) -> dict[str, int]:
    return {ATTENTION: counts.attention, MLP: counts.mlp, MAMBA: counts.mamba}
