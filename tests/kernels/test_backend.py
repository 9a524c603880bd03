"""The selector on a machine without a GPU: what it takes, what it refuses, and why."""

import subprocess
import sys

import pytest
import torch
from torch import Tensor, nn

from aira_kernels import backend
from aira_kernels.backbone import LanguageModel
from aira_kernels.backend import BACKENDS, OPERATIONS, Backend, BackendError, choices, choose
from aira_kernels.layers import LAYERS
from aira_kernels.probes import Operation
from aira_kernels.sizes import BlockSizes

SMALL = BlockSizes(width=32, attention_head_dim=8, mamba_head_dim=32, mamba_state=8, mamba_chunk=4)
FLOAT = torch.float32


def _generator() -> torch.Generator:
    return torch.Generator().manual_seed(0)


@pytest.mark.parametrize("operation", OPERATIONS)
@pytest.mark.parametrize(("requested", "why"), [("auto", "what runs everywhere"), ("reference", "asked for")])
def test_a_cpu_takes_the_reference_and_says_so(operation: Operation, requested: Backend, why: str) -> None:
    made = choose(operation, requested, "cpu", FLOAT)
    assert (made.taken, made.why) == ("reference", why)
    assert made in choices()
    assert choose(operation, requested, "cpu", FLOAT) is made
    assert str(made) == f"{operation} (cpu, float32): reference, {why}"


@pytest.mark.parametrize("operation", ["scan", "convolution", "norm", "rotary_attention", "layer_norm"])
def test_triton_asked_for_on_a_cpu_is_an_error_that_says_why(operation: Operation) -> None:
    with pytest.raises(BackendError) as caught:
        choose(operation, "triton", "cpu", FLOAT)
    assert str(caught.value) == (
        f"backend 'triton' cannot compute {operation} on cpu: it needs a CUDA device (or, for tests, "
        "TRITON_INTERPRET=1 in the environment before Python starts); use backend 'auto' or 'reference'"
    )


@pytest.mark.parametrize(
    ("operation", "package"),
    [
        ("scan", "mamba_ssm"),
        ("norm", "mamba_ssm"),
        ("convolution", "causal_conv1d"),
        ("attention", "flash_attn"),
        ("rotary_attention", "flash_attn"),
    ],
)
def test_a_package_asked_for_and_missing_is_an_error_that_names_it(
    operation: Operation, package: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(backend, "find_spec", lambda name: None)
    with pytest.raises(BackendError, match=f"cannot compute {operation} on cpu: {package} is not installed"):
        choose(operation, "mamba_ssm", "cpu", torch.float64)


def test_a_package_on_a_cpu_is_an_error_that_names_what_it_needs(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(backend, "find_spec", lambda name: object())
    with pytest.raises(BackendError, match="mamba_ssm needs a CUDA device"):
        choose("scan", "mamba_ssm", "cpu", torch.float16)


def test_an_unknown_backend_is_an_error_that_lists_the_known() -> None:
    with pytest.raises(
        BackendError, match="unknown backend 'cuda', expected one of auto, reference, triton, mamba_ssm"
    ):
        choose("scan", "cuda", "cpu", FLOAT)  # type: ignore[arg-type]


def test_auto_passes_over_what_fails_or_differs_and_records_it(monkeypatch: pytest.MonkeyPatch) -> None:
    """The order of a GPU, walked on the CPU with stand-ins for a package that fails and a kernel that differs."""

    def fails(*_: object) -> Tensor:
        raise OSError("undefined symbol: x")

    order = [("mamba_ssm", None), ("triton", None), ("other", "not today"), ("reference", None)]
    norms = backend._IMPLEMENTATIONS["norm"] | {
        "mamba_ssm": fails,
        "triton": lambda x, weight, _epsilon, gate: x * weight * gate,
    }
    monkeypatch.setattr(backend, "_candidates", lambda *_: iter(order))
    monkeypatch.setattr(backend, "_made", {})
    monkeypatch.setitem(backend._IMPLEMENTATIONS, "norm", norms)
    made = choose("norm", "auto", "cpu", FLOAT)
    assert made.taken == "reference"
    first, *refusals = made.why.split("; ")
    assert first == "what runs everywhere"
    assert refusals[0] == "not mamba_ssm: it fails with OSError: undefined symbol: x"
    assert refusals[1].startswith("not triton: it differs from the reference by ")
    assert refusals[2] == "not other: not today"


def test_auto_on_a_gpu_prefers_packages_then_our_kernels() -> None:
    names = [[name for name, _ in backend._candidates(operation, "auto", "cuda")] for operation in OPERATIONS]
    assert names == [
        ["mamba_ssm", "triton", "reference"],
        ["causal_conv1d", "triton", "reference"],
        ["mamba_ssm", "triton", "reference"],
        ["flash_attn", "reference"],
        ["flash_attn", "triton", "reference"],
        ["triton", "reference"],
    ]


def test_auto_passes_over_packages_where_digits_must_repeat(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(backend, "find_spec", lambda name: object())
    monkeypatch.setattr(torch, "are_deterministic_algorithms_enabled", lambda: False)
    assert backend._package_obstacle("mamba_ssm", "auto", "cuda") is None
    monkeypatch.setattr(torch, "are_deterministic_algorithms_enabled", lambda: True)
    assert "not reproducible" in str(backend._package_obstacle("mamba_ssm", "auto", "cuda"))
    assert backend._package_obstacle("mamba_ssm", "mamba_ssm", "cuda") is None


@pytest.mark.parametrize("requested", BACKENDS)
def test_an_explicit_backend_is_never_another(requested: Backend) -> None:
    """Every block either computes with what was asked for or raises."""
    for symbol, classes in LAYERS.items():
        block: nn.Module = classes.searched(SMALL, generator=_generator(), backend=requested)
        x = torch.ones(1, 4, SMALL.width)
        if symbol == "M" or requested in ("auto", "reference"):
            assert block(x).shape == x.shape
        else:
            with pytest.raises(BackendError, match=requested):
                block(x)


def test_the_default_backend_computes_what_the_reference_does_to_the_last_digit() -> None:
    tokens = torch.arange(12)[None]
    default, reference = (
        LanguageModel(("Mb", "mA", "M"), 12, SMALL, generator=_generator(), **options)
        for options in ({}, {"backend": "reference"})
    )
    assert torch.equal(default(tokens), reference(tokens))


def test_probing_leaves_the_process_as_it_was(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(backend, "_candidates", lambda *_: iter([("triton", None), ("reference", None)]))
    monkeypatch.setattr(backend, "_made", {})
    monkeypatch.setitem(
        backend._IMPLEMENTATIONS["scan"],
        "triton",
        lambda *inputs: backend._IMPLEMENTATIONS["scan"]["reference"](*inputs),
    )
    before = torch.random.get_rng_state()
    with torch.inference_mode():
        made = choose("scan", "auto", "cpu", FLOAT)
        assert torch.is_inference_mode_enabled()
    assert made.taken == "triton"  # inside inference mode, too, the gradients were compared
    assert torch.equal(torch.random.get_rng_state(), before)


def test_the_cpu_path_starts_without_triton_and_without_the_compiler() -> None:
    code = (
        "import sys, torch; from aira_kernels.backbone import LanguageModel; from aira_kernels.sizes import BlockSizes\n"
        "model = LanguageModel(('Mb', 'mA'), 8, BlockSizes(), generator=torch.Generator())\n"
        "model(torch.zeros(1, 4, dtype=torch.long)); sys.exit(bool({'triton', 'torch._dynamo'} & {*sys.modules}))"
    )
    assert subprocess.run([sys.executable, "-c", code], check=False).returncode == 0
