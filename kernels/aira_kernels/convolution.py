"""The causal depthwise convolution in plain PyTorch, for every device.

Shape suffixes: B batch, L length, T taps, E channels. Not covered: strides, dilations, a carried state.
"""

import math
from typing import Any

import torch
from torch import Tensor, nn
from torch.nn import functional


def causal_convolution(x_BLE: Tensor, weight_TE: Tensor, bias_E: Tensor) -> Tensor:
    """Convolve each channel with its own taps: y_l = bias + sum over t of weight_t x_(l - T + 1 + t).

    Before the first position x is 0. The last tap reads the present position and none reads a later one. Computed as T
    shifted adds, which on a CPU are faster than `Conv1d` at four taps.

    Args:
        x_BLE: inputs.
        weight_TE: taps of each channel, the earliest position's first.
        bias_E: added to every position.

    Returns:
        Convolved inputs of shape (B, L, E).
    """
    out: Tensor = _ShiftedAdds.apply(x_BLE, weight_TE, bias_E)  # type: ignore[no-untyped-call]
    return out


def convolution_silu(x_BLE: Tensor, weight_TE: Tensor, bias_E: Tensor) -> Tensor:
    """Convolve, then apply SiLU, z / (1 + exp(-z)); this is the reference of the backends' "convolution"."""
    return functional.silu(causal_convolution(x_BLE, weight_TE, bias_E))


class CausalConvolution(nn.Module):
    """The taps and biases of one convolution, uniform in +-1/sqrt(T) as torch draws those of `Conv1d`."""

    def __init__(
        self, channels: int, taps: int, *, generator: torch.Generator, device: torch.device | str = "cpu"
    ) -> None:
        super().__init__()
        bound = 1 / math.sqrt(taps)
        weight_TE, bias_E = torch.empty(taps, channels, device=device), torch.empty(channels, device=device)
        self.weight_TE = nn.Parameter(weight_TE.uniform_(-bound, bound, generator=generator))
        self.bias_E = nn.Parameter(bias_E.uniform_(-bound, bound, generator=generator))

    def forward(self, x_BLE: Tensor) -> Tensor:
        """Map (B, L, E) to (B, L, E), without an activation."""
        return causal_convolution(x_BLE, self.weight_TE, self.bias_E)


class _ShiftedAdds(torch.autograd.Function):
    """The convolution with its own backward pass: autograd's would write a zero-filled gradient for each shift."""

    @staticmethod
    def forward(ctx: Any, x_BLE: Tensor, weight_TE: Tensor, bias_E: Tensor) -> Tensor:  # noqa: ANN401
        taps, length = len(weight_TE), x_BLE.shape[1]
        # T - 1 positions of zeros in front: the window of position l then begins at l in `padded`, for every tap alike.
        padded = functional.pad(x_BLE, (0, 0, taps - 1, 0))
        ctx.save_for_backward(padded, weight_TE)
        out = torch.addcmul(bias_E, padded[:, :length], weight_TE[0])
        for tap in range(1, taps):
            out.addcmul_(padded[:, tap : tap + length], weight_TE[tap])
        return out

    @staticmethod
    def backward(ctx: Any, *gradients: Tensor) -> tuple[Tensor, Tensor, Tensor]:  # noqa: ANN401
        (grad_BLE,) = gradients
        padded, weight_TE = ctx.saved_tensors
        taps, length = len(weight_TE), grad_BLE.shape[1]
        # x_s reaches y_(s + k) through tap T - 1 - k, for k = 0..T - 1: the input's gradient is the same sum over
        # shifts, mirrored, and positions past the end have no gradient to give.
        later = functional.pad(grad_BLE, (0, 0, 0, taps - 1))
        grad_x = grad_BLE * weight_TE[-1]
        for shift in range(1, taps):
            grad_x.addcmul_(later[:, shift : shift + length], weight_TE[-1 - shift])
        # A tap meets every position once, in every sequence: dweight_t = sum over b, l of dy_l x_(l - T + 1 + t).
        per_tap = [(grad_BLE * padded[:, tap : tap + length]).sum((0, 1)) for tap in range(taps)]
        return grad_x, torch.stack(per_tap), grad_BLE.sum((0, 1))
