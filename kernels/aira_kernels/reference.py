"""Attention and norms in plain PyTorch: with `ssd` and `convolution`, what every other backend is measured against.

Shape suffixes: B batch, L length, S positions so far, H heads, G key-value heads, R heads that share a key, P features
of a head, D width.
"""

import torch
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


def cached_attention(query_BHLP: Tensor, key_BGSP: Tensor, value_BGSP: Tensor) -> Tensor:
    """Attend from the last L of S positions to themselves and to all before them; else as `causal_attention`.

    Args:
        query_BHLP: queries of the last L positions.
        key_BGSP: keys of all S positions.
        value_BGSP: values of all S positions.

    Returns:
        What the last L positions read, (B, H, L, P).
    """
    batch, heads, length, head_dim = query_BHLP.shape
    groups, positions = key_BGSP.shape[1:3]
    scale = head_dim**-0.5
    if length == 1:
        # One position reads everything, so nothing is masked, and the heads that share a key can stand where positions
        # do: a key is read once for all of them, by any kernel.
        query_BGRP = query_BHLP.reshape(batch, groups, heads // groups, head_dim)
        mixed = functional.scaled_dot_product_attention(query_BGRP, key_BGSP, value_BGSP, scale=scale)
        return mixed.reshape(batch, heads, 1, head_dim)
    # torch's own causal mask begins at the upper left corner; here the last query reads the last key.
    read_LS = torch.ones(length, positions, dtype=torch.bool, device=query_BHLP.device).tril(positions - length)
    return functional.scaled_dot_product_attention(
        query_BHLP, key_BGSP, value_BGSP, attn_mask=read_LS, scale=scale, enable_gqa=heads != groups
    )


def turned(x_BHLP: Tensor, cosine_LP: Tensor, signed_sine_LP: Tensor) -> Tensor:
    """Turn feature i of the first half of each head with feature i of the second, by the angles of the tables.

    (u, v) -> (u cos - v sin, v cos + u sin) for each pair, as Su et al. (2021), section 3.4.2, write the rotation
    without its matrix; the sines carry the sign, so that one fused multiply-add does both halves. The product of a
    turned query and a turned key then depends on the distance of their positions alone.
    """
    first, second = x_BHLP.chunk(2, dim=-1)
    return torch.addcmul(x_BHLP * cosine_LP, torch.cat((second, first), dim=-1), signed_sine_LP)


def unpacked(packed_BL3HP: Tensor, cosine_LP: Tensor, signed_sine_LP: Tensor) -> tuple[Tensor, Tensor, Tensor]:
    """Turned queries, turned keys, and values, each of shape (B, H, L, P), from one tensor."""
    packed_3BHLP = packed_BL3HP.permute(2, 0, 3, 1, 4)
    query, key = turned(packed_3BHLP[:2], cosine_LP, signed_sine_LP)
    return query, key, packed_3BHLP[2]


def rotary_attention(packed_BL3HP: Tensor, cosine_LP: Tensor, signed_sine_LP: Tensor) -> Tensor:
    """Turn queries and keys by their positions and attend; (B, L, H, P)."""
    return causal_attention(*unpacked(packed_BL3HP, cosine_LP, signed_sine_LP)).transpose(1, 2)


def layer_norm(x: Tensor, weight_D: Tensor, bias_D: Tensor, epsilon: float) -> Tensor:
    """Normalize the last axis to mean 0 and variance 1, then scale and shift each feature (Ba et al. 2016)."""
    return functional.layer_norm(x, (x.shape[-1],), weight_D, bias_D, epsilon)


def rms_norm(x: Tensor, weight_D: Tensor, epsilon: float, gate: Tensor | None = None) -> Tensor:
    """Normalize the last axis: weight u / sqrt(mean(u^2) + epsilon) with u = x, or u = x silu(gate).

    The plain form is RMSNorm (Zhang and Sennrich 2019). In the gated one, Mamba-2's (Dao and Gu 2024, section 7.1), the
    gate comes before the norm, so it cannot undo the scale that the norm sets.
    """
    u = x if gate is None else x * functional.silu(gate)
    return functional.rms_norm(u, (x.shape[-1],), weight_D, epsilon)
