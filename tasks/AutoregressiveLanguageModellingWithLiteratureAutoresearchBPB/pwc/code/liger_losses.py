"""Fused losses and norms (after Hsu et al., "Liger Kernel", arXiv 2410.10989).

Idea: the logits of a batch are the largest tensor of a small model. Computing output matrix, softmax and loss in chunks
of rows, with the gradient made in the same pass, never holds more than a chunk of them. RMSNorm is recomputed in the
backward pass from one number a row instead of keeping its output.

Use in train.py: `fused_linear_cross_entropy(hidden, head.weight, targets)` in place of logits and F.cross_entropy while
training. Evaluation still needs `model(x)` to return logits.

Left out: the Triton kernels. In plain PyTorch this saves memory, which buys a larger batch, but no time by itself.
"""

import torch
from torch import Tensor
from torch.autograd.function import FunctionCtx


class _FusedLinearCrossEntropy(torch.autograd.Function):
    @staticmethod
    def forward(  # type: ignore[override]
        ctx: FunctionCtx, hidden: Tensor, weight: Tensor, targets: Tensor, chunk: int, ignored: int, softcap: float
    ) -> Tensor:
        counted = (targets != ignored).sum().clamp_min(1)
        hidden_gradient = torch.empty_like(hidden)
        weight_gradient = torch.zeros_like(weight, dtype=torch.float32)
        total = hidden.new_zeros((), dtype=torch.float32)
        for rows, labels, gradient in zip(
            hidden.split(chunk), targets.split(chunk), hidden_gradient.split(chunk), strict=True
        ):
            raw = (rows @ weight.T).float()
            logits = softcap * torch.tanh(raw / softcap) if softcap else raw
            keep = labels != ignored
            safe = torch.where(keep, labels, 0)
            normalizer = logits.logsumexp(-1)
            total += ((normalizer - logits.gather(-1, safe[:, None])[:, 0]) * keep).sum()
            slope = (logits - normalizer[:, None]).exp()
            slope.scatter_add_(-1, safe[:, None], torch.full_like(slope[:, :1], -1.0))
            slope *= keep[:, None] / counted
            if softcap:
                slope *= 1.0 - (logits / softcap).square()
            slope = slope.to(weight.dtype)
            gradient.copy_(slope @ weight)
            weight_gradient += (slope.T @ rows).float()
        ctx.save_for_backward(hidden_gradient, weight_gradient.to(weight.dtype))
        return total / counted

    @staticmethod
    def backward(ctx: FunctionCtx, outer: Tensor) -> tuple[Tensor | None, ...]:  # type: ignore[override]
        hidden_gradient, weight_gradient = ctx.saved_tensors
        return hidden_gradient * outer, weight_gradient * outer, None, None, None, None


def fused_linear_cross_entropy(
    hidden: Tensor, weight: Tensor, targets: Tensor, *, chunk: int = 1024, ignored: int = -100, softcap: float = 0.0
) -> Tensor:
    """Mean cross entropy of softcap * tanh(hidden @ weight.T / softcap), or of plain logits where `softcap` is 0.

    Args:
        hidden: (N, width), flattened over batch and time.
        weight: (vocabulary, width).
        targets: (N,), with `ignored` where nothing is due.
        chunk: rows whose logits are held at a time.
        ignored: label that does not count.
        softcap: bound of the logits.
    """
    loss: Tensor = _FusedLinearCrossEntropy.apply(hidden, weight, targets, chunk, ignored, softcap)
    return loss


class _RecomputedRmsNorm(torch.autograd.Function):
    @staticmethod
    def forward(ctx: FunctionCtx, x: Tensor, weight: Tensor, eps: float) -> Tensor:  # type: ignore[override]
        scale = (x.float().square().mean(-1, keepdim=True) + eps).rsqrt()
        ctx.save_for_backward(x, weight, scale)
        return ((x.float() * scale) * weight).to(x.dtype)

    @staticmethod
    def backward(ctx: FunctionCtx, outer: Tensor) -> tuple[Tensor | None, ...]:  # type: ignore[override]
        x, weight, scale = ctx.saved_tensors
        normal = x.float() * scale
        inner = outer.float() * weight
        x_gradient = scale * (inner - normal * (inner * normal).mean(-1, keepdim=True))
        weight_gradient = (outer.float() * normal).flatten(0, -2).sum(0)
        return x_gradient.to(x.dtype), weight_gradient.to(weight.dtype), None


def recomputed_rms_norm(x: Tensor, weight: Tensor, eps: float = 1e-6) -> Tensor:
    """RMSNorm over the last dimension that keeps one number a row for its backward pass."""
    normal: Tensor = _RecomputedRmsNorm.apply(x, weight, eps)
    return normal
