"""The state-space dual scan of Mamba-2, in chunks, and the sequential scan it is checked against.

Per head, with state h of shape (P, N) and h_0 = 0:

    h_t = exp(dt_t a) h_{t-1} + dt_t x_t b_t^T,        y_t = h_t c_t

Shape suffixes: B batch, L length, K chunks, Q positions of a chunk (two axes: Q to, R from), H heads, G groups,
P features of a head, N state. `ssd_chunked` and `ssd_sequential` have one group: b and c are shared by the heads. The
method is that of Dao and Gu, "Transformers are SSMs" (2024), section 6.

Not covered: an initial state, variable lengths in a batch; GPU kernels are in `fused.scan`. Decays are differences of
cumulative sums inside a chunk; in float32 they lose digits once a chunk's summed |dt a| passes about 1e4.
"""

import torch
from torch import Tensor
from torch.nn import functional


def ssd_chunked(x_BLHP: Tensor, dt_BLH: Tensor, a_H: Tensor, b_BLN: Tensor, c_BLN: Tensor, chunk: int) -> Tensor:
    """Scan with matrix products inside chunks and a short recurrence between them.

    Args:
        x_BLHP: inputs.
        dt_BLH: positive step sizes.
        a_H: negative decay rates.
        b_BLN: input maps.
        c_BLN: output maps.
        chunk: positions a chunk, at least 1. Any length is allowed; a last chunk is filled with steps of size 0.

    Returns:
        y of shape (B, L, H, P).
    """
    batch, length, heads, features = x_BLHP.shape
    chunk = min(chunk, length)
    padding = -length % chunk
    if padding:
        x_BLHP = functional.pad(x_BLHP, (0, 0, 0, 0, 0, padding))
        dt_BLH = functional.pad(dt_BLH, (0, 0, 0, padding))
        b_BLN, c_BLN = (functional.pad(part, (0, 0, 0, padding)) for part in (b_BLN, c_BLN))
    split = (batch, (length + padding) // chunk, chunk)
    weighted_BKHQP = (x_BLHP * dt_BLH[..., None]).reshape(*split, heads, features).transpose(2, 3)
    b_BKQN, c_BKQN = (part.reshape(*split, -1) for part in (b_BLN, c_BLN))
    # A product, not cumsum, which has no deterministic CUDA kernel.
    up_to_RQ = torch.ones(chunk, chunk, dtype=a_H.dtype, device=a_H.device).triu()
    log_decay_BKHQ = (dt_BLH * a_H).reshape(*split, heads).transpose(2, 3) @ up_to_RQ

    y_BKHQP = _within_chunks(weighted_BKHQP, log_decay_BKHQ, b_BKQN, c_BKQN)
    if split[1] > 1:
        y_BKHQP = y_BKHQP + _between_chunks(weighted_BKHQP, log_decay_BKHQ, b_BKQN, c_BKQN)
    return y_BKHQP.transpose(2, 3).flatten(1, 2)[:, :length]


def ssd_reference(
    x_BLHP: Tensor, dt_BLH: Tensor, a_H: Tensor, b_BLGN: Tensor, c_BLGN: Tensor, skip_H: Tensor, chunk: int
) -> Tensor:
    """Return the chunked scan for any number of groups, plus the skip D x: the reference of the backends' "scan".

    Args:
        x_BLHP: inputs.
        dt_BLH: positive step sizes.
        a_H: negative decay rates.
        b_BLGN: input maps; the H / G heads of a group, neighbours, share one.
        c_BLGN: output maps.
        skip_H: factor of the direct path.
        chunk: positions a chunk, at least 1.

    Returns:
        y of shape (B, L, H, P).

    Raises:
        ValueError: the groups do not divide the heads.
    """
    heads, groups = x_BLHP.shape[2], b_BLGN.shape[2]
    if heads % groups:
        raise ValueError(f"{heads} heads in {groups} groups: expected groups that divide the heads")
    if groups == 1:
        y_BLHP = ssd_chunked(x_BLHP, dt_BLH, a_H, b_BLGN.squeeze(2), c_BLGN.squeeze(2), chunk)
    else:
        each = heads // groups
        steps, rates = torch.split(dt_BLH, each, 2), torch.split(a_H, each)
        maps = zip(b_BLGN.unbind(2), c_BLGN.unbind(2), strict=True)
        by_group = zip(torch.split(x_BLHP, each, 2), steps, rates, maps, strict=True)
        y_BLHP = torch.cat([ssd_chunked(x, dt, a, b, c, chunk) for x, dt, a, (b, c) in by_group], dim=2)
    return torch.addcmul(y_BLHP, x_BLHP, skip_H[:, None])


def _within_chunks(weighted_BKHQP: Tensor, log_decay_BKHQ: Tensor, b_BKQN: Tensor, c_BKQN: Tensor) -> Tensor:
    chunk = log_decay_BKHQ.shape[-1]
    # Masked before exp: a masked product would turn the overflow above the diagonal into NaN gradients.
    future_QR = torch.ones(chunk, chunk, dtype=torch.bool, device=b_BKQN.device).triu(1)
    span_BKHQR = log_decay_BKHQ[..., :, None] - log_decay_BKHQ[..., None, :]
    decay_BKHQR = span_BKHQR.masked_fill(future_QR, float("-inf")).exp()
    overlap_BKQR = c_BKQN @ b_BKQN.transpose(-1, -2)
    return (overlap_BKQR[:, :, None] * decay_BKHQR) @ weighted_BKHQP


def _between_chunks(weighted_BKHQP: Tensor, log_decay_BKHQ: Tensor, b_BKQN: Tensor, c_BKQN: Tensor) -> Tensor:
    to_end_BKHQ = (log_decay_BKHQ[..., -1:] - log_decay_BKHQ).exp()
    added_BKHPN = (weighted_BKHQP * to_end_BKHQ[..., None]).transpose(-1, -2) @ b_BKQN[:, :, None]
    whole_BKH = log_decay_BKHQ[..., -1].exp()
    entering = [torch.zeros_like(added_BKHPN[:, 0])]
    for index in range(added_BKHPN.shape[1] - 1):
        entering.append(entering[-1] * whole_BKH[:, index, :, None, None] + added_BKHPN[:, index])
    entering_BKHPN = torch.stack(entering, dim=1)
    read_BKHQP = c_BKQN[:, :, None] @ entering_BKHPN.transpose(-1, -2)
    return read_BKHQP * log_decay_BKHQ.exp()[..., None]


def ssd_sequential(x_BLHP: Tensor, dt_BLH: Tensor, a_H: Tensor, b_BLN: Tensor, c_BLN: Tensor) -> Tensor:
    """Return the definition, one position after the other. An oracle: slow, and as exact as its dtype."""
    batch, length, heads, features = x_BLHP.shape
    state_BHPN = x_BLHP.new_zeros(batch, heads, features, b_BLN.shape[-1])
    outputs = []
    for t in range(length):
        decay_BH = (dt_BLH[:, t] * a_H).exp()
        arriving_BHP = x_BLHP[:, t] * dt_BLH[:, t, :, None]
        state_BHPN = state_BHPN * decay_BH[..., None, None] + arriving_BHP[..., None] * b_BLN[:, t, None, None]
        outputs.append((state_BHPN * c_BLN[:, t, None, None]).sum(-1))
    return torch.stack(outputs, dim=1)
