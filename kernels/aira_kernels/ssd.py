"""The state-space dual scan of Mamba-2, in chunks, and the sequential scan it is checked against.

Per head, with state h of shape (P, N) and h_0 = 0:

    h_t = exp(dt_t a) h_{t-1} + dt_t x_t b_t^T,        y_t = h_t c_t

Shape suffixes: B batch, L length, K chunks, Q positions of a chunk (two axes: Q to, R from), H heads, G groups,
P features of a head, N state. `ssd_chunked` and `ssd_sequential` have one group: b and c are shared by the heads. The
method is that of Dao and Gu, "Transformers are SSMs" (2024), section 6.

`state_step`, `state_read` and `state_after` carry a state h over from earlier positions, beside a scan that knows none.

Not covered: variable lengths in a batch; GPU kernels are in `fused.scan`. Decays are differences of
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
    # Unrolled, the recurrence is y = M x with M_ts = (c_t . b_s) exp(sum of dt a over s+1..t) dt_s: lower-triangular,
    # and of rank N in every block off the diagonal ("semiseparable", Dao and Gu 2024, section 3). Chunks split it into
    # diagonal blocks, taken as they are (6.1), and the rest, taken through the state at chunk borders (6.2). The work
    # grows with L Q instead of L^2, and all of it but the passing of states is products of matrices.
    chunk = min(chunk, length)
    # A step of size 0 decays nothing and adds nothing, so filling up the last chunk leaves every state as it is.
    padding = -length % chunk
    if padding:
        x_BLHP = functional.pad(x_BLHP, (0, 0, 0, 0, 0, padding))
        dt_BLH = functional.pad(dt_BLH, (0, 0, 0, padding))
        b_BLN, c_BLN = (functional.pad(part, (0, 0, 0, padding)) for part in (b_BLN, c_BLN))
    split = (batch, (length + padding) // chunk, chunk)
    # dt scales what arrives (the input's discretization, of first order as in Mamba-2), so x carries it from here on.
    weighted_BKHQP = (x_BLHP * dt_BLH[..., None]).reshape(*split, heads, features).transpose(2, 3)
    b_BKQN, c_BKQN = (part.reshape(*split, -1) for part in (b_BLN, c_BLN))
    # S_i, the sum of dt a over a chunk's positions 0..i: the decay from j to i is exp(S_i - S_j), so one sum gives all
    # pairs. A product with a triangle of ones, not cumsum, which has no deterministic CUDA kernel.
    up_to_RQ = torch.ones(chunk, chunk, dtype=a_H.dtype, device=a_H.device).triu()
    log_decay_BKHQ = (dt_BLH * a_H).reshape(*split, heads).transpose(2, 3) @ up_to_RQ

    y_BKHQP = _within_chunks(weighted_BKHQP, log_decay_BKHQ, b_BKQN, c_BKQN)
    if split[1] > 1:
        y_BKHQP = y_BKHQP + _between_chunks(weighted_BKHQP, log_decay_BKHQ, b_BKQN, c_BKQN)
    return y_BKHQP.transpose(2, 3).flatten(1, 2)[:, :length]


def ssd_reference(
    x_BLHP: Tensor, dt_BLH: Tensor, a_H: Tensor, b_BLGN: Tensor, c_BLGN: Tensor, skip_H: Tensor, chunk: int
) -> Tensor:
    """Scan in chunks, for any number of groups, and add the skip D x; this is the reference of the backends' "scan".

    Args:
        x_BLHP: inputs.
        dt_BLH: positive step sizes.
        a_H: negative decay rates.
        b_BLGN: input maps; the H / G heads of a group, neighbours, share one.
        c_BLGN: output maps.
        skip_H: factor of the direct path.
        chunk: positions a chunk, at least 1.

    Returns:
        y of shape (B, L, H, P), in x's type. Steps and rates may come in a wider one, as autocast makes them; all is
        then computed in that.

    Raises:
        ValueError: the groups do not divide the heads.
    """
    heads, groups = x_BLHP.shape[2], b_BLGN.shape[2]
    if heads % groups:
        raise ValueError(f"{heads} heads in {groups} groups: expected groups that divide the heads")
    dtype = x_BLHP.dtype
    wide = torch.promote_types(dtype, dt_BLH.dtype)
    x_BLHP, dt_BLH, a_H, b_BLGN, c_BLGN, skip_H = (
        part.to(wide) for part in (x_BLHP, dt_BLH, a_H, b_BLGN, c_BLGN, skip_H)
    )
    if groups == 1:
        y_BLHP = ssd_chunked(x_BLHP, dt_BLH, a_H, b_BLGN.squeeze(2), c_BLGN.squeeze(2), chunk)
    else:
        each = heads // groups
        steps, rates = torch.split(dt_BLH, each, 2), torch.split(a_H, each)
        maps = zip(b_BLGN.unbind(2), c_BLGN.unbind(2), strict=True)
        by_group = zip(torch.split(x_BLHP, each, 2), steps, rates, maps, strict=True)
        # Groups share nothing, so each is a scan of its own; heads of one group stand side by side.
        y_BLHP = torch.cat([ssd_chunked(x, dt, a, b, c, chunk) for x, dt, a, (b, c) in by_group], dim=2)
    return torch.addcmul(y_BLHP, x_BLHP, skip_H[:, None]).to(dtype)


def state_step(
    state_BHPN: Tensor, x_BHP: Tensor, dt_BH: Tensor, a_H: Tensor, b_BN: Tensor, c_BN: Tensor, skip_H: Tensor
) -> Tensor:
    """Take one position into the state, which changes in place, and return its y (B, H, P) in x's type, the skip added.

    Computed in the state's type. Arguments are one position's of `ssd_reference` with one group.
    """
    wide = state_BHPN.dtype
    x, dt, a_H, b_BN, c_BN, skip_H = (part.to(wide) for part in (x_BHP, dt_BH, a_H, b_BN, c_BN, skip_H))
    state_BHPN.mul_((dt * a_H).exp()[..., None, None]).addcmul_((x * dt[..., None])[..., None], b_BN[:, None, None])
    # One product of (H P, N) with (N): heads share c.
    read_BHP = (state_BHPN.flatten(1, 2) @ c_BN[..., None]).view(x.shape)
    return torch.addcmul(read_BHP, x, skip_H[:, None]).to(x_BHP.dtype)


def state_read(state_BHPN: Tensor, dt_BLH: Tensor, a_H: Tensor, c_BLN: Tensor) -> Tensor:
    """Return what a state before the first of L positions adds to their y: exp(dt_1 a + .. + dt_t a) h c_t.

    Of shape (B, L, H, P), in the state's type. Running sums lose digits only where exp of them is 0 anyway.
    """
    wide, (heads, features) = state_BHPN.dtype, state_BHPN.shape[1:3]
    log_decay_BLH = (dt_BLH.to(wide) * a_H.to(wide)).cumsum(1)
    read_BLHP = (c_BLN.to(wide) @ state_BHPN.flatten(1, 2).transpose(1, 2)).view(*dt_BLH.shape[:2], heads, features)
    return read_BLHP * log_decay_BLH.exp()[..., None]


def state_after(state_BHPN: Tensor, x_BLHP: Tensor, dt_BLH: Tensor, a_H: Tensor, b_BLN: Tensor) -> Tensor:
    """Return the state that L positions leave, of that before them: the sum of each one's dt x b^T, decayed to the end.

    In the state's type. The decays are summed from the end backwards: as differences of sums from the start, those of
    the latest positions, which weigh most, would be left with the fewest digits.
    """
    wide = state_BHPN.dtype
    dt_BLH = dt_BLH.to(wide)
    from_here_BLH = (dt_BLH * a_H.to(wide)).flip(1).cumsum(1).flip(1)
    after_BLH = torch.cat((from_here_BLH[:, 1:], torch.zeros_like(from_here_BLH[:, :1])), dim=1)
    weighted_BLHP = x_BLHP.to(wide) * (dt_BLH * after_BLH.exp())[..., None]
    # One product for all heads, which share b: (H P, L) with (L, N).
    added_BHPN = (weighted_BLHP.flatten(2).transpose(1, 2) @ b_BLN.to(wide)).view(state_BHPN.shape)
    return torch.addcmul(added_BHPN, state_BHPN, from_here_BLH[:, 0].exp()[..., None, None])


def _within_chunks(weighted_BKHQP: Tensor, log_decay_BKHQ: Tensor, b_BKQN: Tensor, c_BKQN: Tensor) -> Tensor:
    # The diagonal blocks: y_i = sum over j <= i of (c_i . b_j) exp(S_i - S_j) dt_j x_j, an attention without softmax
    # whose causal mask decays (section 5).
    chunk = log_decay_BKHQ.shape[-1]
    # Masked before exp: a masked product would turn the overflow above the diagonal into NaN gradients.
    future_QR = torch.ones(chunk, chunk, dtype=torch.bool, device=b_BKQN.device).triu(1)
    span_BKHQR = log_decay_BKHQ[..., :, None] - log_decay_BKHQ[..., None, :]
    decay_BKHQR = span_BKHQR.masked_fill(future_QR, float("-inf")).exp()
    # One product for all heads: they share b and c, and differ in their decays alone.
    overlap_BKQR = c_BKQN @ b_BKQN.transpose(-1, -2)
    return (overlap_BKQR[:, :, None] * decay_BKHQR) @ weighted_BKHQP


def _between_chunks(weighted_BKHQP: Tensor, log_decay_BKHQ: Tensor, b_BKQN: Tensor, c_BKQN: Tensor) -> Tensor:
    # What each chunk adds to the state by its end: sum over j of exp(S_end - S_j) dt_j x_j b_j^T.
    to_end_BKHQ = (log_decay_BKHQ[..., -1:] - log_decay_BKHQ).exp()
    added_BKHPN = (weighted_BKHQP * to_end_BKHQ[..., None]).transpose(-1, -2) @ b_BKQN[:, :, None]
    # The recurrence is left over chunks alone: H_(k+1) = exp(S_end of k) H_k + added_k, from an empty state.
    whole_BKH = log_decay_BKHQ[..., -1].exp()
    entering = [torch.zeros_like(added_BKHPN[:, 0])]
    for index in range(added_BKHPN.shape[1] - 1):
        entering.append(entering[-1] * whole_BKH[:, index, :, None, None] + added_BKHPN[:, index])
    entering_BKHPN = torch.stack(entering, dim=1)
    # A position reads the state that entered its chunk, decayed by the chunk's steps up to and with its own.
    read_BKHQP = c_BKQN[:, :, None] @ entering_BKHPN.transpose(-1, -2)
    return read_BKHQP * log_decay_BKHQ.exp()[..., None]


def ssd_sequential(x_BLHP: Tensor, dt_BLH: Tensor, a_H: Tensor, b_BLN: Tensor, c_BLN: Tensor) -> Tensor:
    """Scan one position after the other, as the module's formula has it; arguments and result as of `ssd_chunked`.

    Slow, and as exact as its dtype: what the faster forms are checked against.
    """
    batch, length, heads, features = x_BLHP.shape
    state_BHPN = x_BLHP.new_zeros(batch, heads, features, b_BLN.shape[-1])
    outputs = []
    for t in range(length):
        decay_BH = (dt_BLH[:, t] * a_H).exp()
        arriving_BHP = x_BLHP[:, t] * dt_BLH[:, t, :, None]
        state_BHPN = state_BHPN * decay_BH[..., None, None] + arriving_BHP[..., None] * b_BLN[:, t, None, None]
        outputs.append((state_BHPN * c_BLN[:, t, None, None]).sum(-1))
    return torch.stack(outputs, dim=1)
