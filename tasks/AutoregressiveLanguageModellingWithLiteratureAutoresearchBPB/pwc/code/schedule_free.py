"""Schedule-free AdamW (Defazio et al., "The Road Less Scheduled", arXiv 2405.15682).

Idea: no decay of the rate. Three sequences: z takes the steps, x is a running average of z and is what one evaluates,
and gradients are taken at y, a point between both. The average does what a schedule would have done, at every moment,
so training may end at any time: what a wall-clock budget asks for.

Use in train.py: `optimizer.train()` before training steps, `optimizer.eval()` before evaluating or handing the model
over, since the parameters hold y while training and x otherwise. Keep a short warm-up; drop every other schedule.

Left out: the foreach version. Normalization layers with running statistics need these gathered anew at x.
"""

from collections.abc import Callable, Iterable

import torch
from torch import Tensor


class ScheduleFreeAdamW(torch.optim.Optimizer):
    """AdamW with averaging in place of a schedule."""

    def __init__(
        self,
        params: Iterable[Tensor],
        lr: float = 2.5e-3,
        betas: tuple[float, float] = (0.9, 0.999),
        eps: float = 1e-8,
        weight_decay: float = 0.0,
        warmup_steps: int = 0,
    ) -> None:
        defaults = {"lr": lr, "betas": betas, "eps": eps, "weight_decay": weight_decay, "warmup_steps": warmup_steps}
        super().__init__(params, defaults)
        self.training = True
        self.number = 0
        self.weight_sum = 0.0

    @torch.no_grad()
    def train(self) -> None:
        """Put y, where gradients are due, into the parameters."""
        if not self.training:
            self._move(lambda parameter, z, beta: parameter.lerp_(z, 1 - beta))
        self.training = True

    @torch.no_grad()
    def eval(self) -> None:
        """Put the average x into the parameters."""
        if self.training:
            self._move(lambda parameter, z, beta: parameter.lerp_(z, 1 - 1 / beta))
        self.training = False

    def _move(self, move: Callable[[Tensor, Tensor, float], Tensor]) -> None:
        for group in self.param_groups:
            for parameter in group["params"]:
                if "z" in self.state[parameter]:
                    move(parameter, self.state[parameter]["z"], group["betas"][0])

    @torch.no_grad()
    def step(self, closure: Callable[[], float] | None = None) -> float | None:  # type: ignore[override]
        """One update.

        Raises:
            RuntimeError: the parameters hold the average; call `train()` first.
        """
        if not self.training:
            raise RuntimeError("the optimizer is in eval mode; call optimizer.train() before training goes on")
        loss = None
        if closure is not None:
            with torch.enable_grad():
                loss = closure()
        self.number += 1
        group = self.param_groups[0]
        rate = group["lr"] * min(1.0, self.number / max(1, group["warmup_steps"]))
        self.weight_sum += rate**2
        average = rate**2 / self.weight_sum if self.weight_sum else 1.0
        for group in self.param_groups:
            for parameter in group["params"]:
                if parameter.grad is not None:
                    self._update(parameter, group, average)
        return loss

    def _update(self, parameter: Tensor, group: dict[str, object], average: float) -> None:
        beta, second_beta = group["betas"]  # type: ignore[misc]
        state = self.state[parameter]
        if "z" not in state:
            state["z"], state["second"] = parameter.clone(), torch.zeros_like(parameter)
        z, second, gradient = state["z"], state["second"], parameter.grad
        assert gradient is not None
        second.mul_(second_beta).addcmul_(gradient, gradient, value=1 - second_beta)  # type: ignore[has-type]
        root = (second / (1 - second_beta**self.number)).sqrt_().add_(group["eps"])  # type: ignore[has-type]
        rate = group["lr"] * min(1.0, self.number / max(1, group["warmup_steps"]))  # type: ignore[call-overload, operator]
        step = gradient / root + group["weight_decay"] * parameter  # type: ignore[operator]
        x = parameter.lerp(z, 1 - 1 / beta)  # type: ignore[has-type]
        z.sub_(step, alpha=rate)
        x.lerp_(z, average)
        parameter.copy_(x.lerp_(z, 1 - beta))  # type: ignore[has-type]
