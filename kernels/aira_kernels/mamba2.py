"""Primitive Mb: the Mamba-2 block in plain PyTorch, for every device.

Shape suffixes: B batch, L length, D width, E convolved channels, H heads, P features of a head, N state. The
block is that of Dao and Gu (2024): input projection to [gate, x, b, c, dt], causal depthwise convolution and
SiLU over x, b, c, the SSD scan, a skip D * x, a gated RMS norm and the output projection. One group.

Not covered: decoding with a carried state, and weight-decay exemptions (training here uses no decay).
"""

import math
from typing import Any

import torch
from torch import Tensor, nn
from torch.nn import functional

from aira_kernels.initialization import linear
from aira_kernels.sizes import BlockSizes
from aira_kernels.ssd import ssd_chunked

DECAY_RANGE = (1.0, 16.0)
STEP_RANGE = (1e-3, 1e-1)
STEP_FLOOR = 1e-4
NORM_EPSILON = 1e-5


class Mamba2(nn.Module):
    """117,388 parameters at D = 128 with expansion 2, heads of 64, state 64 and four taps."""

    def __init__(self, sizes: BlockSizes, *, generator: torch.Generator) -> None:
        super().__init__()
        self.inner, self.heads = sizes.mamba_inner, sizes.mamba_heads
        self.head_dim, self.state, self.chunk = sizes.mamba_head_dim, sizes.mamba_state, sizes.mamba_chunk
        channels = self.inner + 2 * self.state
        self.project_in = linear(sizes.width, self.inner + channels + self.heads, bias=False, generator=generator)
        self.convolution = CausalConvolution(channels, sizes.mamba_convolution, generator=generator)
        low, high = (math.log(bound) for bound in STEP_RANGE)
        step_H = torch.empty(self.heads).uniform_(low, high, generator=generator).exp().clamp(min=STEP_FLOOR)
        # The inverse of softplus, so that the block starts with exactly these step sizes.
        self.step_bias_H = nn.Parameter(step_H + torch.log(-torch.expm1(-step_H)))
        self.log_rate_H = nn.Parameter(torch.empty(self.heads).uniform_(*DECAY_RANGE, generator=generator).log())
        self.skip_H = nn.Parameter(torch.ones(self.heads))
        self.norm_weight = nn.Parameter(torch.ones(self.inner))
        self.project_out = linear(self.inner, sizes.width, bias=False, generator=generator)

    def forward(self, x_BLD: Tensor) -> Tensor:
        """Map (B, L, D) to (B, L, D); position t reads positions 0..t."""
        channels = self.inner + 2 * self.state
        gate, convolved, step = torch.split(self.project_in(x_BLD), [self.inner, channels, self.heads], dim=-1)
        mixed = functional.silu(self.convolution(convolved))
        inner, b_BLN, c_BLN = torch.split(mixed, [self.inner, self.state, self.state], dim=-1)
        x_BLHP = inner.reshape(*inner.shape[:-1], self.heads, self.head_dim)
        dt_BLH = functional.softplus(step + self.step_bias_H)
        y_BLHP = ssd_chunked(x_BLHP, dt_BLH, -self.log_rate_H.exp(), b_BLN, c_BLN, self.chunk)
        y_BLHP = torch.addcmul(y_BLHP, x_BLHP, self.skip_H[:, None])
        gated = y_BLHP.flatten(2) * functional.silu(gate)
        normed = functional.rms_norm(gated, (self.inner,), self.norm_weight, NORM_EPSILON)
        out: Tensor = self.project_out(normed)
        return out


class CausalConvolution(nn.Module):
    """A depthwise causal convolution as shifted adds, which on CPU is faster than `Conv1d` at four taps."""

    def __init__(self, channels: int, taps: int, *, generator: torch.Generator) -> None:
        super().__init__()
        bound = 1 / math.sqrt(taps)
        self.taps = taps
        self.weight_TE = nn.Parameter(torch.empty(taps, channels).uniform_(-bound, bound, generator=generator))
        self.bias_E = nn.Parameter(torch.empty(channels).uniform_(-bound, bound, generator=generator))

    def forward(self, x_BLE: Tensor) -> Tensor:
        """Map (B, L, E) to (B, L, E); the last tap reads the present position."""
        out: Tensor = _ShiftedAdds.apply(x_BLE, self.weight_TE, self.bias_E)  # type: ignore[no-untyped-call]
        return out


class _ShiftedAdds(torch.autograd.Function):
    """The convolution with its own backward pass: autograd's would write a zero-filled gradient for each shift."""

    @staticmethod
    def forward(ctx: Any, x_BLE: Tensor, weight_TE: Tensor, bias_E: Tensor) -> Tensor:  # noqa: ANN401
        taps, length = len(weight_TE), x_BLE.shape[1]
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
        later = functional.pad(grad_BLE, (0, 0, 0, taps - 1))
        grad_x = grad_BLE * weight_TE[-1]
        for shift in range(1, taps):
            grad_x.addcmul_(later[:, shift : shift + length], weight_TE[-1 - shift])
        per_tap = [(grad_BLE * padded[:, tap : tap + length]).sum((0, 1)) for tap in range(taps)]
        return grad_x, torch.stack(per_tap), grad_BLE.sum((0, 1))
