"""Tiny problems on which an implementation is compared with the reference before it is believed.

The reference computes in float64 from the same rounded inputs. Not covered: speed, large shapes; those are for tests.
"""

from collections.abc import Callable
from typing import Literal

import torch
from torch import Tensor

Operation = Literal["scan", "convolution", "norm", "attention", "rotary_attention", "layer_norm"]
_Call = Callable[[Callable[..., Tensor], list[Tensor]], Tensor]

_SEED = 0
_LENGTH = 150
"""Positions: more than one chunk of every implementation, and no whole number of them."""


def difference(
    operation: Operation,
    function: Callable[..., Tensor],
    reference: Callable[..., Tensor],
    device: torch.device,
    dtype: torch.dtype,
) -> float:
    """Return the largest error in outputs and gradients, each relative to its largest number; NaN if one is no number.

    Draws from a generator of its own and leaves the process's alone.
    """
    tensors, call = _problem(operation)
    rounded = [tensor.to(device=device, dtype=dtype) for tensor in tensors]
    with torch.inference_mode(mode=False), torch.enable_grad(), torch.autocast(device.type, enabled=False):
        ours = _results(call, function, rounded)
        exact = _results(call, reference, [tensor.double() for tensor in rounded])
    errors = [(a.double() - b).abs().max() / b.abs().max().clamp_min(1e-12) for a, b in zip(ours, exact, strict=True)]
    return float(torch.stack(errors).max())


def _results(call: _Call, function: Callable[..., Tensor], tensors: list[Tensor]) -> list[Tensor]:
    """The output and the gradients of all inputs, for one direction."""
    leaves = [tensor.clone().requires_grad_() for tensor in tensors]
    out = call(function, leaves)
    direction = torch.linspace(-1, 1, out.numel(), dtype=torch.float64, device=out.device).view(out.shape)
    return [out.detach(), *torch.autograd.grad(out, leaves, direction.to(out.dtype))]


def _problem(operation: Operation) -> tuple[list[Tensor], _Call]:
    """Inputs in float64, and how an implementation takes them."""
    generator = torch.Generator().manual_seed(_SEED)

    def normal(*shape: int) -> Tensor:
        return torch.randn(*shape, generator=generator, dtype=torch.float64)

    if operation == "scan":
        steps = torch.rand(1, _LENGTH, 2, generator=generator, dtype=torch.float64) * 0.1 + 1e-3
        rates = torch.tensor([-1.0, -8.0], dtype=torch.float64)
        maps = [normal(1, _LENGTH, 1, 16) for _ in range(2)]
        return [normal(1, _LENGTH, 2, 16), steps, rates, *maps, normal(2)], lambda scan, inputs: scan(*inputs, 32)
    if operation == "norm":
        inputs = [normal(4, 64), normal(64), normal(4, 64)]
        return inputs, lambda norm, parts: norm(parts[0], parts[1], 1e-5, parts[2])
    if operation == "layer_norm":
        return [normal(5, 64) + 1, normal(64), normal(64)], lambda norm, parts: norm(*parts, 1e-5)
    if operation == "rotary_attention":
        # Heads of 8, as the search has; the angles are no inputs that anything is learned through.
        angle = torch.arange(_LENGTH, dtype=torch.float64)[:, None] * 0.1 ** torch.arange(4)
        tables = torch.cat((angle.cos(), angle.cos()), -1), torch.cat((-angle.sin(), angle.sin()), -1)
        return [normal(1, _LENGTH, 3, 2, 8)], lambda attend, parts: attend(
            *parts, *(table.to(parts[0].dtype).to(parts[0].device) for table in tables)
        )
    if operation == "convolution":
        return [normal(2, _LENGTH, 16), normal(4, 16), normal(16)], lambda convolve, parts: convolve(*parts)
    return [normal(1, heads, _LENGTH, 16) for heads in (4, 2, 2)], lambda attend, parts: attend(*parts)
