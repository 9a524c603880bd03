"""Causal attention with rotary positions in Triton, for the small heads of a search, forward and backward.

    q' = R q, k' = R k,   y_i = sum over j <= i of softmax_j(q'_i . k'_j / sqrt(P)) v_j      for each head alone

R turns feature p of a head with feature p + P/2 by an angle of the position (Su et al. 2021). Queries, keys and values
are read where the input projection wrote them, turned on the way, and their gradients are written as one tensor of
that shape; torch's own kernels for float32 have tiles for heads of 32 and more and fill a head of 8 up. Backward,
scores are computed anew, once by blocks of queries and once by blocks of keys, so that no sum needs atomics: gradients
are the same to the last digit on one GPU type.

Shape suffixes: B batch, L length, H heads, P features of a head. Not covered: grouped keys, heads of more than 64
features, gradients of the angles, second derivatives.
"""

from typing import Any

import torch
import triton
from torch import Tensor

from aira_kernels.fused import attention_kernels
from aira_kernels.fused.launch import SMALLEST_DOT, accumulator, power_of_two, product_types

LARGEST_HEAD = 64
_BLOCK = 64
_SMALLEST_HALF = SMALLEST_DOT // 4
"""The kernels fill a head up to the narrowest product by doubling it once."""


def rotary_attention(packed_BL3HP: Tensor, cosine_LP: Tensor, signed_sine_LP: Tensor) -> Tensor:
    """Attend from every position to itself and the earlier ones.

    Args:
        packed_BL3HP: queries, keys and values, before they are turned; P is even.
        cosine_LP: cosines of the angles, the same in both halves of a head.
        signed_sine_LP: their sines, negative in the first half of a head.

    Returns:
        Mixed values of shape (B, L, H, P), contiguous.

    Raises:
        ValueError: shapes that do not fit together.
        TypeError: types other than the four float types.
    """
    if packed_BL3HP.dim() != 5 or packed_BL3HP.shape[2] != 3 or packed_BL3HP.numel() == 0:
        raise ValueError(f"expected (B, L, 3, H, P) with nothing empty, got {[*packed_BL3HP.shape]}")
    length, head_dim = packed_BL3HP.shape[1], packed_BL3HP.shape[4]
    if head_dim % 2 or head_dim > LARGEST_HEAD:
        raise ValueError(f"expected an even number of at most {LARGEST_HEAD} features a head, got {head_dim}")
    for table in (cosine_LP, signed_sine_LP):
        if table.shape != (length, head_dim):
            raise ValueError(f"a table of angles has shape {[*table.shape]}, expected {[length, head_dim]}")
    y: Tensor = _forward(packed_BL3HP, cosine_LP, signed_sine_LP)[0]
    return y


def _constants(packed: Tensor) -> dict[str, Any]:
    head_dim = packed.shape[4]
    block = power_of_two(packed.shape[1], at_most=_BLOCK if packed.dtype != torch.float64 else 32)
    half = head_dim // 2
    tiles = {
        "HALF": half,
        "BLOCK_H": power_of_two(half, at_least=_SMALLEST_HALF),
        "BLOCK": block,
        "num_warps": 4,
        "num_stages": 1,
    }
    return tiles | product_types(packed.dtype)


def _programs(packed: Tensor, constants: dict[str, Any]) -> tuple[int]:
    batch, length, _, heads, _ = packed.shape
    return (batch * heads * triton.cdiv(length, constants["BLOCK"]),)


@torch.library.custom_op("aira_kernels::rotary_attention", mutates_args=())
def _forward(packed: Tensor, cosine: Tensor, sine: Tensor) -> tuple[Tensor, Tensor]:
    packed, cosine, sine = packed.contiguous(), cosine.contiguous(), sine.contiguous()
    batch, length, _, heads, head_dim = packed.shape
    y = torch.empty(batch, length, heads, head_dim, dtype=packed.dtype, device=packed.device)
    log_sum = torch.empty(batch, heads, length, dtype=accumulator(packed.dtype), device=packed.device)
    constants = _constants(packed)
    attention_kernels.attend[_programs(packed, constants)](
        packed, cosine, sine, y, log_sum, length, heads, head_dim**-0.5, **constants
    )
    return y, log_sum


@_forward.register_fake
def _(packed: Tensor, cosine: Tensor, sine: Tensor) -> tuple[Tensor, Tensor]:
    batch, length, _, heads, head_dim = packed.shape
    return (
        packed.new_empty(batch, length, heads, head_dim),
        packed.new_empty(batch, heads, length, dtype=accumulator(packed.dtype)),
    )


@torch.library.custom_op("aira_kernels::rotary_attention_backward", mutates_args=())
def _backward(grad: Tensor, packed: Tensor, cosine: Tensor, sine: Tensor, y: Tensor, log_sum: Tensor) -> Tensor:
    grad, packed, cosine, sine = (part.contiguous() for part in (grad.to(packed.dtype), packed, cosine, sine))
    length, heads = packed.shape[1], packed.shape[3]
    scale = packed.shape[4] ** -0.5
    dpacked, along = torch.empty_like(packed), torch.empty_like(log_sum)
    constants = _constants(packed)
    programs = _programs(packed, constants)
    attention_kernels.query_gradients[programs](
        grad, packed, cosine, sine, y, log_sum, along, dpacked, length, heads, scale, **constants
    )
    attention_kernels.key_value_gradients[programs](
        grad, packed, cosine, sine, log_sum, along, dpacked, length, heads, scale, **constants
    )
    return dpacked


@_backward.register_fake
def _(grad: Tensor, packed: Tensor, cosine: Tensor, sine: Tensor, y: Tensor, log_sum: Tensor) -> Tensor:
    return packed.new_empty(packed.shape)


def _setup(ctx: Any, inputs: tuple[Tensor, Tensor, Tensor], output: tuple[Tensor, Tensor]) -> None:  # noqa: ANN401
    ctx.set_materialize_grads(False)
    ctx.save_for_backward(*inputs, *output)


def _differentiate(ctx: Any, grad: Tensor | None, _log_sum_grad: Tensor | None) -> tuple[Tensor | None, None, None]:  # noqa: ANN401
    if grad is None:  # Nobody uses y.
        return None, None, None
    return _backward(grad, *ctx.saved_tensors), None, None


_forward.register_autograd(_differentiate, setup_context=_setup)
