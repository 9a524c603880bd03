"""Who computes what: the one selector of the primitives' inner operations.

Six operations have more than one implementation: the SSD "scan", the "convolution" with SiLU, the (gated) RMS "norm",
the "layer_norm", causal "attention", and "rotary_attention" over the small heads of a search. A backend names one for
each:

| backend   | scan, norm     | convolution   | layer_norm    | rotary_attention | attention   |
|-----------|----------------|---------------|---------------|------------------|-------------|
| reference | plain PyTorch  | plain PyTorch | torch's own   | torch's own      | torch's own |
| triton    | ours (`fused`) | ours          | ours          | ours             | torch's own |
| mamba_ssm | mamba-ssm      | causal-conv1d | torch's own   | flash-attn       | flash-attn  |
| auto      | the first of mamba_ssm, triton, reference that runs here and was found equal; on a CPU the reference |

An implementation is believed after `probes.difference` has run it on a tiny problem, forward and backward, and compared
it with the reference in float64. `choose` answers with a `Choice`, which says what was taken and why; `choices` lists
all so far. A backend asked for by name that cannot run is an error, never another backend. Packages are passed
over by `auto` while torch is asked for deterministic algorithms, since their gradients are not reproducible.
"""

from collections.abc import Callable, Iterator
from dataclasses import dataclass
from importlib.util import find_spec
from typing import Literal, get_args

import torch
from torch import Tensor

from aira_kernels import adapters, probes
from aira_kernels.convolution import convolution_silu
from aira_kernels.probes import Operation
from aira_kernels.reference import causal_attention, rms_norm
from aira_kernels.reference import layer_norm as torch_layer_norm
from aira_kernels.reference import rotary_attention as torch_rotary_attention
from aira_kernels.ssd import ssd_reference, state_after

Backend = Literal["auto", "reference", "triton", "mamba_ssm"]
BACKENDS: tuple[Backend, ...] = get_args(Backend)
OPERATIONS: tuple[Operation, ...] = get_args(Operation)

_PACKAGES: dict[Operation, str] = {
    "scan": "mamba_ssm",
    "convolution": "causal_conv1d",
    "norm": "mamba_ssm",
    "attention": "flash_attn",
    "rotary_attention": "flash_attn",
}
_TORCHS_ALONE: dict[tuple[Backend, Operation], str] = {
    ("triton", "attention"): "torch's own: there is none of ours",
    ("mamba_ssm", "layer_norm"): "torch's own: the packages have none",
}
"""Where a backend asked for by name has nothing of its own, and what is said of it."""
_LARGEST_DIFFERENCE = {torch.float64: 1e-9, torch.float32: 1e-2, torch.bfloat16: 5e-2, torch.float16: 2e-2}
"""Between an implementation and the reference, relative to the largest number. Float32 has room for TF32 products."""


class BackendError(RuntimeError):
    """The backend asked for cannot compute an operation here; the message is one line that says why."""


@dataclass(frozen=True)
class Choice:
    """One operation on one kind of tensor: who computes it, and why."""

    operation: Operation
    requested: Backend
    device_type: str
    dtype: torch.dtype
    taken: str
    why: str

    def __str__(self) -> str:
        where = f"{self.device_type}, {str(self.dtype).removeprefix('torch.')}"
        return f"{self.operation} ({where}): {self.taken}, {self.why}"


_made: dict[tuple[Operation, Backend, str, torch.dtype, bool], Choice] = {}
"""Choices of this process: they depend on what is installed and on the device, which do not change while it runs."""


def scan(
    backend: Backend,
    x_BLHP: Tensor,
    dt_BLH: Tensor,
    a_H: Tensor,
    b_BLGN: Tensor,
    c_BLGN: Tensor,
    skip_H: Tensor,
    chunk: int,
) -> Tensor:
    """Compute `ssd.ssd_reference` by whoever `choose` takes.

    `chunk` binds the reference alone: kernels have chunks of their own, which change rounding and speed only.
    """
    compute = _IMPLEMENTATIONS["scan"][_taken("scan", backend, x_BLHP.device.type, x_BLHP.dtype)]
    return compute(x_BLHP, dt_BLH, a_H, b_BLGN, c_BLGN, skip_H, chunk)


def scan_and_state(
    backend: Backend,
    state_BHPN: Tensor,
    x_BLHP: Tensor,
    dt_BLH: Tensor,
    a_H: Tensor,
    b_BLGN: Tensor,
    c_BLGN: Tensor,
    skip_H: Tensor,
    chunk: int,
) -> tuple[Tensor, Tensor]:
    """Compute `scan`, from an empty state, and `ssd.state_after` of `state_BHPN`; one group, and no gradients.

    Our kernels have the state on their way to y and hand it out; beside any other scan it is a product of its own.
    """
    taken = _taken("scan", backend, x_BLHP.device.type, x_BLHP.dtype)
    if taken != "triton":
        y_BLHP = _IMPLEMENTATIONS["scan"][taken](x_BLHP, dt_BLH, a_H, b_BLGN, c_BLGN, skip_H, chunk)
        return y_BLHP, state_after(state_BHPN, x_BLHP, dt_BLH, a_H, b_BLGN[:, :, 0])
    from aira_kernels.fused.scan import ssd_scan_and_state

    y_BLHP, added_BHPN = ssd_scan_and_state(x_BLHP, dt_BLH, a_H, b_BLGN, c_BLGN, skip_H)
    decay_BH = (dt_BLH.to(state_BHPN.dtype) * a_H.to(state_BHPN.dtype)).sum(1).exp()
    return y_BLHP, torch.addcmul(added_BHPN, state_BHPN, decay_BH[..., None, None])


def convolution(backend: Backend, x_BLE: Tensor, weight_TE: Tensor, bias_E: Tensor) -> Tensor:
    """Compute `convolution.convolution_silu` by whoever `choose` takes; arguments as there."""
    compute = _IMPLEMENTATIONS["convolution"][_taken("convolution", backend, x_BLE.device.type, x_BLE.dtype)]
    return compute(x_BLE, weight_TE, bias_E)


def norm(backend: Backend, x: Tensor, weight_D: Tensor, epsilon: float, gate: Tensor | None = None) -> Tensor:
    """Compute `reference.rms_norm` by whoever `choose` takes; arguments as there."""
    compute = _IMPLEMENTATIONS["norm"][_taken("norm", backend, x.device.type, x.dtype)]
    return compute(x, weight_D, epsilon, gate)


def attention(backend: Backend, query_BHLP: Tensor, key_BGLP: Tensor, value_BGLP: Tensor) -> Tensor:
    """Compute `reference.causal_attention` by whoever `choose` takes; arguments as there."""
    compute = _IMPLEMENTATIONS["attention"][_taken("attention", backend, query_BHLP.device.type, query_BHLP.dtype)]
    return compute(query_BHLP, key_BGLP, value_BGLP)


def rotary_attention(backend: Backend, packed_BL3HP: Tensor, cosine_LP: Tensor, signed_sine_LP: Tensor) -> Tensor:
    """Compute `reference.rotary_attention` by whoever `choose` takes; arguments as there."""
    taken = _taken("rotary_attention", backend, packed_BL3HP.device.type, packed_BL3HP.dtype)
    return _IMPLEMENTATIONS["rotary_attention"][taken](packed_BL3HP, cosine_LP, signed_sine_LP)


def layer_norm(backend: Backend, x: Tensor, weight_D: Tensor, bias_D: Tensor, epsilon: float) -> Tensor:
    """Compute `reference.layer_norm` by whoever `choose` takes; arguments as there."""
    compute = _IMPLEMENTATIONS["layer_norm"][_taken("layer_norm", backend, x.device.type, x.dtype)]
    return compute(x, weight_D, bias_D, epsilon)


def choices() -> tuple[Choice, ...]:
    """Return every choice this process has made, in order, for reports and logs."""
    return tuple(_made.values())


def choose(operation: Operation, backend: Backend, device_type: str, dtype: torch.dtype) -> Choice:
    """Who computes `operation` for such tensors. The first call for a combination probes; later ones look it up.

    Raises:
        BackendError: the backend was asked for by name and cannot compute this here, or there is no such backend, or
            the first call comes while a CUDA graph is captured, where nothing can be probed.
    """
    key = (operation, backend, device_type, dtype, torch.are_deterministic_algorithms_enabled())
    if key not in _made:
        _made[key] = _decide(operation, backend, device_type, dtype)
    return _made[key]


def _taken(operation: Operation, backend: Backend, device_type: str, dtype: torch.dtype) -> str:
    """A name, so that `torch.compile` can take it for a constant and trace into what bears it."""
    return choose(operation, backend, device_type, dtype).taken


# What torch.compiler.assume_constant_result sets; calling that would load the compiler, which takes over a second, into
# every process that never compiles. A test holds that tracing still heeds it.
_taken._dynamo_marked_constant = True  # type: ignore[attr-defined]


def _decide(operation: Operation, backend: Backend, device_type: str, dtype: torch.dtype) -> Choice:
    if backend not in BACKENDS:
        raise BackendError(f"unknown backend {backend!r}, expected one of {', '.join(BACKENDS)}")
    if device_type == "cuda" and torch.cuda.is_current_stream_capturing():
        raise BackendError(f"{operation} is first used inside a CUDA graph: run the model once before capturing it")
    refusals: list[tuple[str, str]] = []
    for name, obstacle in _candidates(operation, backend, device_type):
        refusal = obstacle or _refusal(operation, name, device_type, dtype)
        if refusal is None:
            notes = [_reason(operation, backend, name), *(f"not {other}: {why}" for other, why in refusals)]
            return Choice(operation, backend, device_type, dtype, name, "; ".join(notes))
        refusals.append((name, refusal))
    raise BackendError(
        f"backend {backend!r} cannot compute {operation} on {device_type}: {refusals[0][1]}; "
        "use backend 'auto' or 'reference'"
    )


def _candidates(operation: Operation, backend: Backend, device_type: str) -> Iterator[tuple[str, str | None]]:
    """Names in order of preference, each with what speaks against it before trying."""
    on_gpu = backend == "auto" and device_type == "cuda"
    package = _PACKAGES.get(operation)
    if package is not None and (backend == "mamba_ssm" or on_gpu):
        yield package, _package_obstacle(package, backend, device_type)
    if operation != "attention" and (backend == "triton" or on_gpu):
        yield "triton", _triton_obstacle(device_type)
    if backend in ("auto", "reference") or (backend, operation) in _TORCHS_ALONE:
        yield "reference", None


def _reason(operation: Operation, backend: Backend, name: str) -> str:
    if (backend, operation) in _TORCHS_ALONE:
        return _TORCHS_ALONE[backend, operation]
    if backend != "auto":
        return "asked for"
    return "the first that runs here" if name != "reference" else "what runs everywhere"


def _package_obstacle(package: str, backend: Backend, device_type: str) -> str | None:
    if find_spec(package) is None:
        return f"{package} is not installed"
    if device_type != "cuda":
        return f"{package} needs a CUDA device"
    if backend == "auto" and torch.are_deterministic_algorithms_enabled():
        return f"{package} is not reproducible, and deterministic algorithms are asked for"
    return None


def _triton_obstacle(device_type: str) -> str | None:
    if find_spec("triton") is None:
        return "triton is not installed"
    from aira_kernels.fused.launch import interpreted

    if device_type == "cuda" or (device_type == "cpu" and interpreted()):
        return None
    return "it needs a CUDA device (or, for tests, TRITON_INTERPRET=1 in the environment before Python starts)"


def _refusal(operation: Operation, name: str, device_type: str, dtype: torch.dtype) -> str | None:
    """None if the implementation runs and is equal to the reference, else why not."""
    if name == "reference":
        return None
    functions = _IMPLEMENTATIONS[operation]
    try:
        difference = probes.difference(
            operation, functions[name], functions["reference"], torch.device(device_type), dtype
        )
    except Exception as error:  # Compilers and other people's extensions fail in every way there is.
        return f"it fails with {type(error).__name__}: {(str(error).splitlines() or [''])[0]}"
    allowed = _LARGEST_DIFFERENCE.get(dtype, 0.0)
    # Written so that a difference that is no number is refused.
    return (
        None if difference <= allowed else f"it differs from the reference by {difference:.1e}, allowed {allowed:.0e}"
    )


def _triton_scan(x: Tensor, dt: Tensor, a: Tensor, b: Tensor, c: Tensor, skip: Tensor, _chunk: int) -> Tensor:
    # The kernel's own chunk follows the GPU's registers, not what is best for the reference.
    from aira_kernels.fused.scan import ssd_scan

    return ssd_scan(x, dt, a, b, c, skip)


def _triton_convolution(x: Tensor, weight: Tensor, bias: Tensor) -> Tensor:
    from aira_kernels.fused.convolution import causal_convolution_silu

    return causal_convolution_silu(x, weight, bias)


def _triton_norm(x: Tensor, weight: Tensor, epsilon: float, gate: Tensor | None) -> Tensor:
    from aira_kernels.fused.norm import rms_norm as fused_rms_norm

    return fused_rms_norm(x, weight, epsilon, gate)


def _triton_rotary_attention(packed: Tensor, cosine: Tensor, signed_sine: Tensor) -> Tensor:
    from aira_kernels.fused.attention import rotary_attention as fused_rotary_attention

    return fused_rotary_attention(packed, cosine, signed_sine)


def _triton_layer_norm(x: Tensor, weight: Tensor, bias: Tensor, epsilon: float) -> Tensor:
    from aira_kernels.fused.layer_norm import layer_norm as fused_layer_norm

    return fused_layer_norm(x, weight, bias, epsilon)


# Triton is imported by the functions that need it: the CPU path starts without it.
_IMPLEMENTATIONS: dict[Operation, dict[str, Callable[..., Tensor]]] = {
    "scan": {"reference": ssd_reference, "triton": _triton_scan, "mamba_ssm": adapters.mamba_ssm_scan},
    "convolution": {
        "reference": convolution_silu,
        "triton": _triton_convolution,
        "causal_conv1d": adapters.causal_conv1d_silu,
    },
    "norm": {"reference": rms_norm, "triton": _triton_norm, "mamba_ssm": adapters.mamba_ssm_norm},
    "attention": {"reference": causal_attention, "flash_attn": adapters.flash_attention},
    "rotary_attention": {
        "reference": torch_rotary_attention,
        "triton": _triton_rotary_attention,
        "flash_attn": adapters.flash_rotary_attention,
    },
    "layer_norm": {"reference": torch_layer_norm, "triton": _triton_layer_norm},
}
