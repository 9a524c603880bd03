"""Comparing an implementation with an oracle in float64, forward and backward."""

from collections.abc import Callable, Sequence

import torch
from torch import Tensor

from aira_kernels.ssd import ssd_sequential

Function = Callable[..., Tensor]


def normal(*shape: int, seed: int = 0) -> Tensor:
    return torch.randn(*shape, generator=torch.Generator().manual_seed(seed), dtype=torch.float64)


def sequential_scan(x: Tensor, dt: Tensor, a: Tensor, b: Tensor, c: Tensor, skip: Tensor) -> Tensor:
    """The definition, position by position, group by group."""
    groups = b.shape[2]
    each = x.shape[2] // groups
    parts = []
    for group in range(groups):
        heads = slice(group * each, (group + 1) * each)
        parts.append(ssd_sequential(x[:, :, heads], dt[:, :, heads], a[heads], b[:, :, group], c[:, :, group]))
    return torch.cat(parts, dim=2) + skip[:, None] * x


def results(function: Function, tensors: Sequence[Tensor], direction: Tensor) -> list[Tensor]:
    """The output, and the gradients of all inputs along one direction."""
    leaves = [tensor.detach().requires_grad_() for tensor in tensors]
    out = function(*leaves)
    return [out.detach(), *torch.autograd.grad(out, leaves, direction.to(dtype=out.dtype, device=out.device))]


def assert_equal_to(
    oracle: Function, function: Function, tensors: Sequence[Tensor], *, tolerance: float, smallest: float = 1e-30
) -> None:
    """Outputs and gradients agree, each within `tolerance` of the oracle's largest number, or of `smallest`.

    The oracle sees the inputs as rounded to the tested type, in float64 on the CPU.
    """
    exact_inputs = [tensor.detach().cpu().double() for tensor in tensors]
    with torch.no_grad():
        direction = normal(*oracle(*exact_inputs).shape, seed=99).to(tensors[0].dtype)
    exact = results(oracle, exact_inputs, direction.double())
    ours = results(function, tensors, direction)
    assert ours[0].dtype == tensors[0].dtype
    for place, (mine, right) in enumerate(zip(ours, exact, strict=True)):
        error = (mine.cpu().double() - right).abs().max()
        # Written so that NaN fails. Gradients may be 0 throughout, where nothing is remembered.
        assert error <= tolerance * right.abs().max().clamp_min(smallest), f"result {place}: {error:.2e}"
