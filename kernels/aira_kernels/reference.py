"""Attention and norms in plain PyTorch: with `ssd` and `convolution`, what every other backend is measured against.

Shape suffixes: B batch, L length, H heads, G key-value heads, P features of a head, D width.
"""

from torch import Tensor
from torch.nn import functional

CPU_HEAD_MULTIPLE = 16
CPU_LENGTH_MULTIPLE = 8


def causal_attention(query_BHLP: Tensor, key_BGLP: Tensor, value_BGLP: Tensor) -> Tensor:
    """Scaled dot-product attention of every position over itself and the earlier ones; H / G queries share a key.

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
    grouped = key_BGLP.shape[1] != query_BHLP.shape[1]
    mixed = functional.scaled_dot_product_attention(
        query_BHLP, key_BGLP, value_BGLP, is_causal=True, scale=head_dim**-0.5, enable_gqa=grouped
    )
    return mixed[..., :length, :head_dim]


def rms_norm(x: Tensor, weight_D: Tensor, epsilon: float, gate: Tensor | None = None) -> Tensor:
    """weight u / sqrt(mean(u^2) + epsilon) with u = x, or x silu(gate) (Dao and Gu 2024, section 7)."""
    u = x if gate is None else x * functional.silu(gate)
    return functional.rms_norm(u, (x.shape[-1],), weight_D, epsilon)
