"""Cross-entropy of a tied output head, in pieces, so that no step ever holds all of its logits.

At 128,256 ids the logits of 8,192 positions are 2 GiB in bfloat16 and as much again in gradients. Here a piece of
positions at a time has its logits, its loss and both gradients; only the gradients are kept, which are as large as what
they are of. Three products a piece, as many as without pieces: nothing is computed twice.

The gradient of the weights is summed over pieces in float32. Shape suffixes: N positions, D width, V vocabulary. Not
covered: ignored targets, label smoothing, a head whose vocabulary is divided among devices.
"""

from collections.abc import Callable
from typing import Any

import torch
from torch import Tensor

PIECE_POSITIONS = 4096

Pieces = Callable[[Tensor, Tensor, float], tuple[Tensor, Tensor]]


def head_loss(
    hidden_ND: Tensor,
    weight_VD: Tensor,
    target_N: Tensor,
    *,
    z_loss: float = 0.0,
    piece: int = PIECE_POSITIONS,
    dtype: torch.dtype | None = None,
    compute: Pieces | None = None,
) -> Tensor:
    """Return the sum over positions of -log softmax(hidden weight^T)[target], in float32.

    Args:
        hidden_ND: features.
        weight_VD: the head, which may be the embedding.
        target_N: ids.
        z_loss: factor of the squared log-sum-exp that is added for each position (Chowdhery et al. 2022).
        piece: positions at a time.
        dtype: in which products are computed; by default the weight's.
        compute: `loss_and_gradient`, or the same compiled.
    """
    total: Tensor = _HeadLoss.apply(  # type: ignore[no-untyped-call]
        hidden_ND, weight_VD, target_N, z_loss, piece, dtype or weight_VD.dtype, compute or loss_and_gradient
    )
    return total


def loss_and_gradient(logits_NV: Tensor, target_N: Tensor, z_loss: float) -> tuple[Tensor, Tensor]:
    """Return the summed loss of a piece, and the gradient of its logits in their type."""
    wide_NV = logits_NV.float()
    log_norm_N = wide_NV.logsumexp(-1)
    target_N1 = target_N[:, None]
    loss_N = log_norm_N - wide_NV.gather(-1, target_N1)[:, 0] + z_loss * log_norm_N.square()
    # d log_norm / d logit is the softmax; the z term has 2 z log_norm times as much of it.
    factor_N = 1 + 2 * z_loss * log_norm_N
    gradient_NV = (wide_NV - log_norm_N[:, None]).exp_() * factor_N[:, None]
    gradient_NV.scatter_add_(-1, target_N1, gradient_NV.new_full((1, 1), -1.0).expand_as(target_N1))
    return loss_N.sum(), gradient_NV.to(logits_NV.dtype)


class _HeadLoss(torch.autograd.Function):
    """Gradients are made on the way forward, while a piece's logits are there; backward scales them."""

    @staticmethod
    def forward(
        ctx: Any,  # noqa: ANN401
        hidden_ND: Tensor,
        weight_VD: Tensor,
        target_N: Tensor,
        z_loss: float,
        piece: int,
        dtype: torch.dtype,
        compute: Pieces,
    ) -> Tensor:
        hidden, weight = hidden_ND.to(dtype), weight_VD.to(dtype)
        wanted = any(ctx.needs_input_grad[:2])
        total = torch.zeros((), dtype=torch.float32, device=hidden.device)
        if wanted:
            grad_hidden = torch.empty_like(hidden)
            grad_weight = torch.zeros(weight.shape, dtype=torch.float32, device=weight.device)
        with torch.autocast(hidden.device.type, enabled=False):
            for start in range(0, hidden.shape[0], piece):
                part, due = hidden[start : start + piece], target_N[start : start + piece]
                loss, gradient = compute(part @ weight.T, due, z_loss)
                total += loss
                if wanted:
                    torch.mm(gradient, weight, out=grad_hidden[start : start + piece])
                    grad_weight += gradient.T @ part
        if wanted:
            ctx.save_for_backward(grad_hidden.to(hidden_ND.dtype), grad_weight)
            ctx.weight_dtype = weight_VD.dtype
        return total

    @staticmethod
    def backward(ctx: Any, *gradients: Tensor) -> tuple[Tensor | None, ...]:  # noqa: ANN401
        (scale,) = gradients
        grad_hidden, grad_weight = ctx.saved_tensors
        # In float32 until the end: a loss that is a mean over half a million tokens scales by 2e-6.
        return grad_hidden * scale.to(grad_hidden.dtype), (grad_weight * scale).to(ctx.weight_dtype), *[None] * 5
