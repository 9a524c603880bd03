"""Compressed optimizer states (after Xi et al., "COAT", arXiv 2410.19313).

Idea: keep Adam's two moments in 8 bits. Values of a group use only a part of FP8's range, so each group is first raised
to a power that spreads it over the whole range (dynamic range expansion), then scaled and stored; reading undoes both.

Use in train.py: `CoatAdamW(parameters, lr=...)` in place of AdamW, for matrices with many elements. It saves about six
of the eight bytes a parameter that Adam's state needs; at the size of a five-minute run, memory is rarely the limit.

Left out: FP8 activations and FP8 matrix products, which need kernels of their own.
"""

import math
from collections.abc import Callable, Iterable
from dataclasses import dataclass

import torch
from torch import Tensor

_LARGEST = 448.0  # of float8_e4m3fn
_SMALLEST = 2.0**-9
_GROUP = 128


@dataclass
class Compressed:
    """A tensor in groups of 128 values of 8 bits, with a scale and a power a group."""

    codes: Tensor
    scale: Tensor
    power: Tensor
    shape: torch.Size

    @property
    def bytes(self) -> int:
        """What it occupies."""
        return sum(part.numel() * part.element_size() for part in (self.codes, self.scale, self.power))


def compress(values: Tensor) -> Compressed:
    """Store `values` in 8 bits a value."""
    flat = values.detach().float().flatten()
    groups = torch.nn.functional.pad(flat, (0, -len(flat) % _GROUP)).view(-1, _GROUP)
    size = groups.abs()
    largest = size.amax(1, keepdim=True).clamp_min(1e-38)
    smallest = torch.where(size > 0, size, torch.inf).amin(1, keepdim=True).clamp(max=largest)
    # The power that stretches the group's range to FP8's, no less than 1: a wider group cannot be helped.
    reach = (largest / smallest).log().clamp_min(1e-6)
    power = (math.log(_LARGEST / _SMALLEST) / reach).clamp(1.0, 16.0)
    spread = groups.sign() * (size / largest).pow(power) * _LARGEST
    return Compressed(spread.to(torch.float8_e4m3fn), largest, power.to(torch.float16), values.shape)


def expand(stored: Compressed) -> Tensor:
    """The values again, float32."""
    spread = stored.codes.float() / _LARGEST
    groups = spread.sign() * spread.abs().pow(1.0 / stored.power.float()) * stored.scale
    return groups.flatten()[: stored.shape.numel()].view(stored.shape)


class CoatAdamW(torch.optim.Optimizer):
    """AdamW whose moments rest in 8 bits between steps."""

    def __init__(
        self,
        params: Iterable[Tensor],
        lr: float = 1e-3,
        betas: tuple[float, float] = (0.9, 0.95),
        eps: float = 1e-8,
        weight_decay: float = 0.0,
    ) -> None:
        super().__init__(params, {"lr": lr, "betas": betas, "eps": eps, "weight_decay": weight_decay})

    @torch.no_grad()
    def step(self, closure: Callable[[], float] | None = None) -> float | None:  # type: ignore[override]
        """One update."""
        loss = None
        if closure is not None:
            with torch.enable_grad():
                loss = closure()
        for group in self.param_groups:
            for parameter in group["params"]:
                if parameter.grad is not None:
                    self._update(parameter, parameter.grad.float(), group)
        return loss

    def _update(self, parameter: Tensor, gradient: Tensor, group: dict[str, object]) -> None:
        first_beta, second_beta = group["betas"]  # type: ignore[misc]
        state = self.state[parameter]
        number = state["step"] = state.get("step", 0) + 1
        first = expand(state["first"]) if "first" in state else torch.zeros_like(gradient)
        second = expand(state["second"]) if "second" in state else torch.zeros_like(gradient)
        first.lerp_(gradient, 1 - first_beta)  # type: ignore[has-type]
        second.lerp_(gradient.square(), 1 - second_beta)  # type: ignore[has-type]
        state["first"], state["second"] = compress(first), compress(second)
        root = (second / (1 - second_beta**number)).sqrt_().add_(group["eps"])  # type: ignore[has-type]
        parameter.mul_(1 - group["lr"] * group["weight_decay"])  # type: ignore[operator]
        parameter.add_((first / (1 - first_beta**number) / root).to(parameter.dtype), alpha=-group["lr"])  # type: ignore
