"""The packages that may stand in for our own code: mamba-ssm, causal-conv1d, flash-attn.

Each function has the signature of our reference and imports its package when called. Written for mamba-ssm 2.2.6.post3,
causal-conv1d 1.5.3.post1 and flash-attn 2.8.3, which need CUDA. Their backward passes add with atomics, but for
flash-attn's, which is asked not to: gradients are not the same to the last digit from call to call.
Not covered: other versions; `backend.choose` tries a package before trusting it.
"""

from importlib import import_module

from torch import Tensor, bfloat16, float16

from aira_kernels.reference import unpacked

SMALLEST_CHUNK, LARGEST_CHUNK = 16, 256
_CONVOLUTION_ALIGNMENT = 8
"""causal-conv1d reads channels-last input in vectors of this many elements."""


def mamba_ssm_scan(
    x_BLHP: Tensor, dt_BLH: Tensor, a_H: Tensor, b_BLGN: Tensor, c_BLGN: Tensor, skip_H: Tensor, chunk: int
) -> Tensor:
    """Scan with mamba-ssm's `mamba_chunk_scan_combined`; arguments and result as of `ssd.ssd_reference`.

    Steps come in positive, so its softplus is off; its chunk must be a power of two within its kernels' bounds.
    """
    scan = import_module("mamba_ssm.ops.triton.ssd_combined").mamba_chunk_scan_combined
    chunk = min(max(1 << (chunk - 1).bit_length(), SMALLEST_CHUNK), LARGEST_CHUNK)
    y: Tensor = scan(x_BLHP, dt_BLH, a_H, b_BLGN, c_BLGN, chunk, D=skip_H, dt_softplus=False)
    return y


def causal_conv1d_silu(x_BLE: Tensor, weight_TE: Tensor, bias_E: Tensor) -> Tensor:
    """Convolve and apply SiLU with causal-conv1d; arguments and result as of `convolution.convolution_silu`.

    It takes (B, E, L) with either of the last two axes dense. Channels-last input, which x is, saves a copy where its
    strides are multiples of the kernel's vectors.
    """
    convolve = import_module("causal_conv1d").causal_conv1d_fn
    if x_BLE.shape[2] % _CONVOLUTION_ALIGNMENT:
        x_BEL = x_BLE.transpose(1, 2).contiguous()
    else:
        dense = x_BLE.stride(2) == 1 and not any(stride % _CONVOLUTION_ALIGNMENT for stride in x_BLE.stride()[:2])
        x_BEL = (x_BLE if dense else x_BLE.contiguous()).transpose(1, 2)
    y: Tensor = convolve(x_BEL, weight_TE.t().contiguous(), bias_E, activation="silu")
    return y.transpose(1, 2)


def mamba_ssm_norm(x: Tensor, weight_D: Tensor, epsilon: float, gate: Tensor | None = None) -> Tensor:
    """Normalize with mamba-ssm's `rmsnorm_fn`, the gate before the norm; as `reference.rms_norm` otherwise."""
    normalize = import_module("mamba_ssm.ops.triton.layernorm_gated").rmsnorm_fn
    y: Tensor = normalize(x, weight_D, None, z=gate, eps=epsilon, norm_before_gate=False)
    return y


def flash_attention(query_BHLP: Tensor, key_BGLP: Tensor, value_BGLP: Tensor) -> Tensor:
    """Attend with flash-attn; arguments and result as of `reference.causal_attention`.

    It takes (B, L, H, P) in 16 bits and shares keys among neighbouring heads itself. Its backward pass is asked to add
    in a fixed order, which costs time and makes gradients repeat.

    Raises:
        TypeError: other types than float16 and bfloat16.
    """
    if query_BHLP.dtype not in (float16, bfloat16):
        raise TypeError(f"flash-attn takes float16 and bfloat16, got {query_BHLP.dtype}")
    attend = import_module("flash_attn").flash_attn_func
    parts = (part.transpose(1, 2) for part in (query_BHLP, key_BGLP, value_BGLP))
    mixed: Tensor = attend(*parts, softmax_scale=query_BHLP.shape[-1] ** -0.5, causal=True, deterministic=True)
    return mixed.transpose(1, 2)


def flash_rotary_attention(packed_BL3HP: Tensor, cosine_LP: Tensor, signed_sine_LP: Tensor) -> Tensor:
    """Attend with flash-attn to queries and keys that torch turns; as `reference.rotary_attention`.

    Raises:
        TypeError: other types than float16 and bfloat16.
    """
    return flash_attention(*unpacked(packed_BL3HP, cosine_LP, signed_sine_LP)).transpose(1, 2)
