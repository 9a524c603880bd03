"""Primitive Mb: the Mamba-2 block, at search size and at full size.

Shape suffixes: B batch, L length, T taps but one, D width, E convolved channels, H heads, P features of a head, N
state. The block is that of Dao and Gu (2024): input projection to [gate, x, b, c, dt], causal depthwise convolution and
SiLU over x, b, c, the SSD scan, a skip D * x, a gated RMS norm and the output projection. One group. Who computes
convolution, scan and norm is chosen by `aira_kernels.backend`.

The block also goes on from a state that is kept, position by position or many at once (`Mamba2.extend`).

Not covered: several groups, a fused step, and weight-decay exemptions.
"""

import math
from dataclasses import dataclass
from typing import Protocol

import torch
from torch import Tensor, nn
from torch.nn import functional

from aira_kernels.backend import Backend, convolution, norm, scan, scan_and_state
from aira_kernels.convolution import CausalConvolution
from aira_kernels.initialization import linear
from aira_kernels.ssd import state_read, state_step

DECAY_RANGE = (1.0, 16.0)
STEP_RANGE = (1e-3, 1e-1)
STEP_FLOOR = 1e-4
NORM_EPSILON = 1e-5


class MambaSizes(Protocol):
    """What the block reads of `BlockSizes` or `ModelSize`."""

    @property
    def width(self) -> int:
        """Features D in and out."""

    @property
    def mamba_inner(self) -> int:
        """Features of all heads together."""

    @property
    def mamba_heads(self) -> int:
        """The number of heads H."""

    @property
    def mamba_head_dim(self) -> int:
        """Features P of a head."""

    @property
    def mamba_state(self) -> int:
        """The number of state features N of a head."""

    @property
    def mamba_convolution(self) -> int:
        """Taps of the convolution."""

    @property
    def mamba_chunk(self) -> int:
        """Positions the reference scans at once."""


@dataclass(frozen=True)
class MambaState:
    """What a block keeps of the positions so far; its size does not grow with them."""

    window_BTE: Tensor
    """The latest inputs of the convolution, one fewer than it has taps, the earliest first; zeros before the first
    position."""
    state_BHPN: Tensor
    """The scan's state, in float32 or wider: it is summed over all positions."""


class Mamba2(nn.Module):
    """One Mamba-2 block (Dao and Gu 2024, section 7.1), without norm and residual path around it.

    At D = 128 with expansion 2, heads of 64, state 64 and four taps it has 117,388 parameters.

    Args:
        sizes: sizes of the block.
        generator: source of the initial weights, on `device`.
        device: where the weights are made; `meta` makes shapes alone.
        backend: who computes convolution, scan and norm.
    """

    def __init__(
        self,
        sizes: MambaSizes,
        *,
        generator: torch.Generator,
        device: torch.device | str = "cpu",
        backend: Backend = "auto",
    ) -> None:
        super().__init__()
        self.backend = backend
        self.inner, self.heads = sizes.mamba_inner, sizes.mamba_heads
        self.head_dim, self.state, self.chunk = sizes.mamba_head_dim, sizes.mamba_state, sizes.mamba_chunk
        channels = self.inner + 2 * self.state
        self.project_in = linear(
            sizes.width, self.inner + channels + self.heads, bias=False, generator=generator, device=device
        )
        self.convolution = CausalConvolution(channels, sizes.mamba_convolution, generator=generator, device=device)
        # Steps are drawn log-uniformly, so that heads begin with time scales spread over two decades; rates uniformly.
        # Both as in the code that the block's authors published (for steps see also Gu and Dao 2023, section 3.6).
        low, high = (math.log(bound) for bound in STEP_RANGE)
        step_H = (
            torch.empty(self.heads, device=device).uniform_(low, high, generator=generator).exp().clamp(min=STEP_FLOOR)
        )
        # The inverse of softplus, so that the block starts with exactly these step sizes.
        self.step_bias_H = nn.Parameter(step_H + torch.log(-torch.expm1(-step_H)))
        rate_H = torch.empty(self.heads, device=device).uniform_(*DECAY_RANGE, generator=generator)
        # The logarithm is what is learned: a = -exp(log_rate) stays negative, and with it every state bounded.
        self.log_rate_H = nn.Parameter(rate_H.log())
        self.skip_H = nn.Parameter(torch.ones(self.heads, device=device))
        self.norm_weight = nn.Parameter(torch.ones(self.inner, device=device))
        self.project_out = linear(self.inner, sizes.width, bias=False, generator=generator, device=device)

    def forward(self, x_BLD: Tensor) -> Tensor:
        """Map (B, L, D) to (B, L, D); position t reads positions 0..t."""
        gate, convolved, step = self._projected(x_BLD)
        mixed = convolution(self.backend, convolved, self.convolution.weight_TE, self.convolution.bias_E)
        x_BLHP, dt_BLH, b_BLN, c_BLN = self._scanned(mixed, step)
        rate_H, b_BLGN, c_BLGN = -self.log_rate_H.exp(), b_BLN[:, :, None], c_BLN[:, :, None]
        y_BLHP = scan(self.backend, x_BLHP, dt_BLH, rate_H, b_BLGN, c_BLGN, self.skip_H, self.chunk)
        return self._put_together(y_BLHP, gate)

    def empty_state(self, batch: int, capacity: int) -> MambaState:
        """Return the state before the first position of each of `batch` sequences; any number may follow."""
        weight = self.project_in.weight
        taps, channels = self.convolution.weight_TE.shape
        window = torch.zeros(batch, taps - 1, channels, dtype=weight.dtype, device=weight.device)
        wide = torch.promote_types(weight.dtype, torch.float32)
        shape = (batch, self.heads, self.head_dim, self.state)
        return MambaState(window, torch.zeros(shape, dtype=wide, device=weight.device))

    def extend(self, x_BLD: Tensor, cache: MambaState, filled: int) -> Tensor:
        """Map the next L positions (B, L, D) to (B, L, D) and carry the state on.

        Args:
            x_BLD: the positions that follow `filled` ones.
            cache: what those left; afterwards, what these leave too.
            filled: how many positions there were; with 0 nothing of the cache is read, whatever it holds.
        """
        if filled == 0:
            cache.window_BTE.zero_()
            cache.state_BHPN.zero_()
        gate, convolved, step = self._projected(x_BLD)
        seen = torch.cat((cache.window_BTE, convolved), dim=1)
        kept = cache.window_BTE.shape[1]
        mixed = convolution(self.backend, seen, self.convolution.weight_TE, self.convolution.bias_E)[:, kept:]
        cache.window_BTE.copy_(seen[:, seen.shape[1] - kept :])
        x_BLHP, dt_BLH, b_BLN, c_BLN = self._scanned(mixed, step)
        rate_H, state = -self.log_rate_H.exp(), cache.state_BHPN
        if x_BLD.shape[1] == 1:
            now = (x_BLHP[:, 0], dt_BLH[:, 0], rate_H, b_BLN[:, 0], c_BLN[:, 0], self.skip_H)
            return self._put_together(state_step(state, *now)[:, None], gate)
        maps = b_BLN[:, :, None], c_BLN[:, :, None]
        # The scans begin with an empty state. They are linear in it, so what it adds is added to what they find.
        y_BLHP, left_BHPN = scan_and_state(self.backend, state, x_BLHP, dt_BLH, rate_H, *maps, self.skip_H, self.chunk)
        if filled:
            y_BLHP = (y_BLHP + state_read(state, dt_BLH, rate_H, c_BLN)).to(y_BLHP.dtype)
        state.copy_(left_BHPN)
        return self._put_together(y_BLHP, gate)

    def _projected(self, x_BLD: Tensor) -> tuple[Tensor, Tensor, Tensor]:
        """Gate, channels to be convolved, and steps before their bias."""
        channels = self.inner + 2 * self.state
        # All of the block's inputs come from one projection of x (the "parallel" block): nothing waits for another.
        gate, convolved, step = torch.split(self.project_in(x_BLD), [self.inner, channels, self.heads], dim=-1)
        return gate, convolved, step

    def _scanned(self, mixed_BLE: Tensor, step_BLH: Tensor) -> tuple[Tensor, Tensor, Tensor, Tensor]:
        """What the scan takes: inputs, steps, and both maps."""
        inner, b_BLN, c_BLN = torch.split(mixed_BLE, [self.inner, self.state, self.state], dim=-1)
        x_BLHP = inner.reshape(*inner.shape[:-1], self.heads, self.head_dim)
        # One step a head, not a feature: what makes the scan a product of matrices (scalar times identity, section 5).
        return x_BLHP, functional.softplus(step_BLH + self.step_bias_H), b_BLN, c_BLN

    def _put_together(self, y_BLHP: Tensor, gate_BLE: Tensor) -> Tensor:
        normed = norm(self.backend, y_BLHP.flatten(2), self.norm_weight, NORM_EPSILON, gate_BLE)
        out: Tensor = self.project_out(normed)
        return out
