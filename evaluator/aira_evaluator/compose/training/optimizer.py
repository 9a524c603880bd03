"""AdamW without weight decay, as one fused call on state that stays where the parameters are.

The arithmetic is torch's own (`torch._fused_adamw_`, what `torch.optim.AdamW(fused=True)` calls): results are equal
to the last bit, which a test keeps. Two things are left out on purpose: `torch.optim` imports the compiler when its
first optimizer is made, more than a second of every fresh process, and it walks groups and hooks in Python at every
step. The step count is one tensor on the device, shared by all parameters, so that a step can be captured in a CUDA
graph as it is.

Not covered: weight decay, parameter groups, schedules, complex or sparse gradients, saving and loading.
"""

from collections.abc import Iterable

import torch
from torch import Tensor
from torch.nn import Parameter

BETAS = (0.9, 0.999)
EPSILON = 1e-8


class FusedAdamW:
    """AdamW of Loshchilov and Hutter (2019) at a constant rate and weight decay 0."""

    def __init__(self, parameters: Iterable[Parameter], *, learning_rate: float) -> None:
        """Take parameters of one device and one dtype; moments start at zero."""
        self._parameters: list[Tensor] = list(parameters)
        self._learning_rate = learning_rate
        self._means = [torch.zeros_like(parameter, requires_grad=False) for parameter in self._parameters]
        self._squares = [torch.zeros_like(mean) for mean in self._means]
        self.steps = torch.zeros((), dtype=torch.float32, device=self._parameters[0].device)
        """Steps taken, on the device."""

    @torch.no_grad()
    def step(self) -> None:
        """Move every parameter by its gradient. Nothing is read on the host.

        Raises:
            RuntimeError: a parameter has no gradient.
        """
        gradients: list[Tensor] = []
        for parameter in self._parameters:
            if parameter.grad is None:
                raise RuntimeError("a parameter took no part in the loss")
            gradients.append(parameter.grad)
        # Counted first: the kernel corrects moments by 1 - beta^t, with t = 1 at the first step.
        self.steps += 1
        torch._fused_adamw_(
            self._parameters, gradients, self._means, self._squares, [], [self.steps] * len(gradients),
            lr=self._learning_rate, beta1=BETAS[0], beta2=BETAS[1], weight_decay=0.0, eps=EPSILON,
            amsgrad=False, maximize=False,
        )  # fmt: skip

    def zero_grad(self) -> None:
        """Drop the gradients, so that the next backward pass hands over its own instead of adding to these."""
        for parameter in self._parameters:
            parameter.grad = None
