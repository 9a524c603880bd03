"""Attention and norms in plain PyTorch: with `ssd` and `convolution`, what every other backend is measured against.

Shape suffixes: B batch, L length, H heads, G key-value heads, P features of a head, D width.
"""

from torch import Tensor
from torch.nn import functional

CPU_HEAD_MULTIPLE = 16
CPU_LENGTH_MULTIPLE = 8


def causal_attention(query_BHLP: Tensor, key_BGLP: Tensor, value_BGLP: Tensor) -> Tensor:
    """Attend from every position to itself and the earlier ones: softmax(q k^T / sqrt(P)) v (Vaswani et al. 2017).

    Where keys have fewer heads, H / G neighbouring query heads share one (Ainslie et al. 2023).

    On a CPU, heads and length are filled up with zeros to what its kernel computes fastest; zero features add nothing
    to a product, and positions appended at the end are read by none before them. At 127 positions and
    heads of 8 this takes a third off the time.
    """
    length, head_dim = query_BHLP.shape[-2:]
    filling = (0, 0, 0, 0)
    if query_BHLP.device.type == "cpu":
        filling = (0, -head_dim % CPU_HEAD_MULTIPLE, 0, -length % CPU_LENGTH_MULTIPLE)
    if any(filling):
        query_BHLP, key_BGLP, value_BGLP = (
            functional.pad(part, filling) for part in (query_BHLP, key_BGLP, value_BGLP)
        )
    # The scale is that of the heads as they came: filling them up must not change it.
    grouped = key_BGLP.shape[1] != query_BHLP.shape[1]
    mixed = functional.scaled_dot_product_attention(
        query_BHLP, key_BGLP, value_BGLP, is_causal=True, scale=head_dim**-0.5, enable_gqa=grouped
    )
    return mixed[..., :length, :head_dim]


def rms_norm(x: Tensor, weight_D: Tensor, epsilon: float, gate: Tensor | None = None) -> Tensor:
    """Normalize the last axis: weight u / sqrt(mean(u^2) + epsilon) with u = x, or u = x silu(gate).

    The plain form is RMSNorm (Zhang and Sennrich 2019). In the gated one, Mamba-2's (Dao and Gu 2024, section 7.1), the
    gate comes before the norm, so it cannot undo the scale that the norm sets.
    """
    u = x if gate is None else x * functional.silu(gate)
    return functional.rms_norm(u, (x.shape[-1],), weight_D, epsilon)
