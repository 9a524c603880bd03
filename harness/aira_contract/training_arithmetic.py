"""Parameters, training FLOPs and isoFLOP steps of full-size models, in exact integers.

The formulas are those of the paper's appendix D (isoFLOP methodology). Its equations lost their symbols in the text at
hand; they were recovered from the tables, and every step count of Tables 10 and 11 follows from them.

Conventions: a product of m x n weights costs 2mn FLOPs a token forward and twice that backward, hence the factor 3;
attention over 8,192 positions is not halved for causality; the embedding and the output head are not counted.
Read by the host, which plans and draws, and by the trainer, which measures its utilization with them. Not covered: the
sizes themselves (`aira_contract.model_sizes`), and models at search size (width 128).
"""

from collections import Counter
from collections.abc import Sequence
from dataclasses import dataclass

from aira_contract import primitives
from aira_contract.model_sizes import SEQUENCE_TOKENS, TOY_SCALE, VOCABULARY, ModelSize, model_size, space_of

STEP_TOKENS = 524_288
"""Tokens of one training step: 4 sequences of 8,192 on each of 16 data-parallel ranks."""
FLOP_BUDGETS = (2 * 10**19, 4 * 10**19, 8 * 10**19, 2 * 10**20, 4 * 10**20)
"""The columns of Tables 10 and 11."""
ISOTOKEN_STEPS = 71_565
"""Steps of the isoToken comparison, Tables 2, 3 and 7."""

ATTENTION, MLP, MAMBA = (each.symbol for each in (primitives.ATTENTION, primitives.MLP, primitives.MAMBA))
_TRAINING_PASSES = 3


@dataclass(frozen=True)
class LayerCounts:
    """How many layers of each primitive a model has."""

    attention: int
    mlp: int
    mamba: int = 0

    @property
    def layers(self) -> int:
        """The number of layers of all primitives together."""
        return self.attention + self.mlp + self.mamba

    def __str__(self) -> str:
        shown = f"{self.attention} {primitives.ATTENTION.written} + {self.mlp} {primitives.MLP.written}"
        return shown + (f" + {self.mamba} {primitives.MAMBA.written}" if self.mamba else "")


def count_layers(pattern: Sequence[str]) -> LayerCounts:
    """Count the layers of each primitive in a pattern of `mA`, `M` and `Mb`."""
    counted = Counter(pattern)
    return LayerCounts(counted[ATTENTION], counted[MLP], counted[MAMBA])


def layer_parameters(symbol: str, size: ModelSize) -> int:
    """Return the number of parameters of one layer, its pre-norm weight included (Tables 8 and 9).

    Attention is grouped-query without biases; the MLP is SwiGLU; Mamba-2 has its convolution with bias, three numbers
    a head (A, D, time-step bias) and a gated norm.
    """
    width = size.width
    if symbol == ATTENTION:
        return 2 * width * width + 2 * width * size.kv_width + width
    if symbol == MLP:
        return 3 * width * size.mlp_hidden + width
    if symbol != MAMBA:
        raise ValueError(f"unknown symbol {symbol!r}")
    convolution = (size.mamba_convolution + 1) * size.mamba_convolved
    gated_norm = size.mamba_inner
    projections = width * size.mamba_projection + size.mamba_inner * width
    return projections + convolution + 3 * size.mamba_heads + gated_norm + width


def parameters(counts: LayerCounts, size: ModelSize) -> int:
    """Return the parameters of a model without embeddings, with the final norm (first figure of Tables 8 and 9)."""
    return (
        counts.attention * layer_parameters(ATTENTION, size)
        + counts.mlp * layer_parameters(MLP, size)
        + counts.mamba * layer_parameters(MAMBA, size)
        + size.width
    )


def parameters_with_embedding(counts: LayerCounts, size: ModelSize, vocabulary: int = VOCABULARY) -> int:
    """Return the parameters with the embedding, which the output head shares (second figure of Tables 8 and 9)."""
    return parameters(counts, size) + vocabulary * size.width


def layer_flops_per_token(symbol: str, size: ModelSize, sequence_tokens: int = SEQUENCE_TOKENS) -> int:
    """Return the training FLOPs of one layer for each token (appendix D, equations 4 to 6)."""
    width = size.width
    if symbol == ATTENTION:
        forward = 4 * width * width + 4 * width * size.kv_width + 4 * sequence_tokens * width
    elif symbol == MLP:
        forward = 6 * width * size.mlp_hidden
    elif symbol == MAMBA:
        projections = 2 * width * size.mamba_projection + 2 * size.mamba_inner * width
        convolution = 2 * size.mamba_convolution * size.mamba_convolved
        forward = projections + convolution + 4 * size.mamba_inner * size.mamba_state
    else:
        raise ValueError(f"unknown symbol {symbol!r}")
    return _TRAINING_PASSES * forward


def toy_parameters(pattern: Sequence[str]) -> int:
    """Return the parameters of a pattern at toy widths, without embedding: what tasks with a budget count."""
    return parameters(count_layers(pattern), model_size(TOY_SCALE, space_of(pattern)))


def flops_per_token(counts: LayerCounts, size: ModelSize, sequence_tokens: int = SEQUENCE_TOKENS) -> int:
    """Return the training FLOPs of a model for each token, without embedding and head (equation 7 before the batch)."""
    return (
        counts.attention * layer_flops_per_token(ATTENTION, size, sequence_tokens)
        + counts.mlp * layer_flops_per_token(MLP, size, sequence_tokens)
        + counts.mamba * layer_flops_per_token(MAMBA, size, sequence_tokens)
    )


def head_flops_per_token(size: ModelSize, vocabulary: int = VOCABULARY) -> int:
    """Return the training FLOPs of the output head for each token, which the paper's formulas leave out."""
    return _TRAINING_PASSES * 2 * size.width * vocabulary


def isoflop_steps(
    counts: LayerCounts, size: ModelSize, budget_flops: int, *,
    step_tokens: int = STEP_TOKENS, sequence_tokens: int = SEQUENCE_TOKENS,
) -> int:  # fmt: skip
    """Return how many training steps a FLOP budget buys, rounded as the paper's tables are.

    Table 10, of the two-primitive space, rounds to the nearest step; Table 11, of the three-primitive one, down.

    Args:
        counts: layers of the model, at least one.
        size: the scale, which says of which space it is.
        budget_flops: training FLOPs in all.
        step_tokens: of one step; by default the paper's.
        sequence_tokens: of one sequence; by default the paper's.
    """
    step_flops = step_tokens * flops_per_token(counts, size, sequence_tokens)
    if step_flops == 0:
        raise ValueError("a model without layers has no steps")
    half = step_flops // 2 if size.space == "2-primitive" else 0  # of an even number, as every product costs two
    return (budget_flops + half) // step_flops
