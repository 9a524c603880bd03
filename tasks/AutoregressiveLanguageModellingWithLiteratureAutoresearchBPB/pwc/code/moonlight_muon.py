"""Muon with weight decay and matched update size (Liu et al., "Muon is Scalable for LLM Training", arXiv 2502.16982).

Idea: the momentum of a matrix is replaced by the nearest matrix with orthonormal rows or columns, found by five
Newton-Schulz steps. Two additions make it hold at scale: decoupled weight decay, and a factor 0.2 sqrt(max(rows,
columns)) that gives the update the RMS of a typical AdamW update, so that AdamW's rate and decay can be reused.

Use in train.py: this for matrices inside the blocks, AdamW for embeddings, output matrix, vectors and scalars.

Left out: sharding, and bfloat16 iterations on a GPU (pass `dtype=torch.bfloat16`).
"""

from collections.abc import Callable, Iterable

import torch
from torch import Tensor


def orthogonalize(matrix: Tensor, steps: int = 5, dtype: torch.dtype = torch.float32) -> Tensor:
    """Singular values of (rows, columns) pushed towards 1, roughly into [0.7, 1.2], by a quintic iteration."""
    a, b, c = 3.4445, -4.7750, 2.0315
    x = matrix.to(dtype)
    tall = x.shape[0] > x.shape[1]
    x = x.T if tall else x
    x = x / (x.norm() + 1e-7)
    for _ in range(steps):
        gram = x @ x.T
        x = a * x + (b * gram + c * gram @ gram) @ x
    return (x.T if tall else x).to(matrix.dtype)


class Muon(torch.optim.Optimizer):
    """For matrices only."""

    def __init__(
        self,
        params: Iterable[Tensor],
        lr: float = 2e-2,
        momentum: float = 0.95,
        weight_decay: float = 0.1,
        dtype: torch.dtype = torch.float32,
    ) -> None:
        super().__init__(params, {"lr": lr, "momentum": momentum, "weight_decay": weight_decay, "dtype": dtype})
        shapes = [tuple(p.shape) for group in self.param_groups for p in group["params"] if p.ndim != 2]
        if shapes:
            raise ValueError(f"Muon is for matrices, these parameters are none: {shapes}")

    @torch.no_grad()
    def step(self, closure: Callable[[], float] | None = None) -> float | None:  # type: ignore[override]
        """One update."""
        loss = None
        if closure is not None:
            with torch.enable_grad():
                loss = closure()
        for group in self.param_groups:
            for parameter in group["params"]:
                if parameter.grad is None:
                    continue
                buffer = self.state[parameter].setdefault("momentum", torch.zeros_like(parameter))
                buffer.mul_(group["momentum"]).add_(parameter.grad)
                nesterov = parameter.grad.add(buffer, alpha=group["momentum"])
                update = orthogonalize(nesterov, dtype=group["dtype"])
                parameter.mul_(1 - group["lr"] * group["weight_decay"])
                parameter.add_(update, alpha=-group["lr"] * 0.2 * max(parameter.shape) ** 0.5)
        return loss
