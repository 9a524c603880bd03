"""Cross-entropy of a tied output head, in pieces, so that no step ever holds all of its logits.

At 128,256 ids the logits of 8,192 positions are 2 GiB in bfloat16 and as much again in gradients. Here a piece of
positions at a time has its logits, its loss and both gradients; only the gradients are kept, which are as large as what
they are of. Three products a piece, as many as without pieces: nothing is computed twice.

The gradient of the weights is summed over pieces in float32. Shape suffixes: T positions, D width, V vocabulary. Not
covered: ignored targets, label smoothing, a head whose vocabulary is divided among devices.
"""

from collections.abc import Callable
from typing import Any

import torch
from torch import Tensor

PIECE_POSITIONS = 4096

Pieces = Callable[[Tensor, Tensor, float], tuple[Tensor, Tensor]]


def head_loss(
    hidden_TD: Tensor,
    weight_VD: Tensor,
    target_T: Tensor,
    *,
    z_loss: float = 0.0,
    piece: int = PIECE_POSITIONS,
    dtype: torch.dtype | None = None,
    compute: Pieces | None = None,
) -> Tensor:
    """Return the sum over positions of -log softmax(hidden weight^T)[target], in float32.

    Args:
        hidden_TD: features.
        weight_VD: the head, which may be the embedding.
        target_T: ids.
        z_loss: factor of the squared log-sum-exp that is added for each position (Chowdhery et al. 2022).
        piece: positions at a time.
        dtype: in which products are computed; by default the weight's.
        compute: `loss_and_gradient`, or the same compiled.
    """
    total: Tensor = _HeadLoss.apply(  # type: ignore[no-untyped-call]
        hidden_TD, weight_VD, target_T, z_loss, piece, dtype or weight_VD.dtype, compute or loss_and_gradient
    )
    return total


def loss_and_gradient(logits_TV: Tensor, target_T: Tensor, z_loss: float) -> tuple[Tensor, Tensor]:
    """Return the summed loss of a piece, and the gradient of its logits in their type."""
    wide_TV = logits_TV.float()
    log_norm_T = wide_TV.logsumexp(-1)
    target_T1 = target_T[:, None]
    loss_T = log_norm_T - wide_TV.gather(-1, target_T1)[:, 0] + z_loss * log_norm_T.square()
    # d log_norm / d logit is the softmax; the z term has 2 z log_norm times as much of it.
    factor_T = 1 + 2 * z_loss * log_norm_T
    gradient_TV = (wide_TV - log_norm_T[:, None]).exp_() * factor_T[:, None]
    gradient_TV.scatter_add_(-1, target_T1, gradient_TV.new_full((1, 1), -1.0).expand_as(target_T1))
    return loss_T.sum(), gradient_TV.to(logits_TV.dtype)


class _HeadLoss(torch.autograd.Function):
    """Gradients are made on the way forward, while a piece's logits are there; backward scales them."""

    @staticmethod
    def forward(
        ctx: Any,  # noqa: ANN401
        hidden_TD: Tensor,
        weight_VD: Tensor,
        target_T: Tensor,
        z_loss: float,
        piece: int,
        dtype: torch.dtype,
        compute: Pieces,
    ) -> Tensor:
        hidden, weight = hidden_TD.to(dtype), weight_VD.to(dtype)
        wanted = any(ctx.needs_input_grad[:2])
        total = torch.zeros((), dtype=torch.float32, device=hidden.device)
        if wanted:
            grad_hidden = torch.empty_like(hidden)
            grad_weight = torch.zeros(weight.shape, dtype=torch.float32, device=weight.device)
        with torch.autocast(hidden.device.type, enabled=False):
            for start in range(0, hidden.shape[0], piece):
                part, due = hidden[start : start + piece], target_T[start : start + piece]
                loss, gradient = compute(part @ weight.T, due, z_loss)
                total += loss
                if wanted:
                    torch.mm(gradient, weight, out=grad_hidden[start : start + piece])
                    grad_weight += gradient.T @ part
        if wanted:
            ctx.save_for_backward(grad_hidden.to(hidden_TD.dtype), grad_weight)
            ctx.weight_dtype = weight_VD.dtype
        return total

    @staticmethod
    def backward(ctx: Any, *gradients: Tensor) -> tuple[Tensor | None, ...]:  # noqa: ANN401
        (scale,) = gradients
        grad_hidden, grad_weight = ctx.saved_tensors
        # In float32 until the end: a loss that is a mean over half a million tokens scales by 2e-6.
        return grad_hidden * scale.to(grad_hidden.dtype), (grad_weight * scale).to(ctx.weight_dtype), *[None] * 5
