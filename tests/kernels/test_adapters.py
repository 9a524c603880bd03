"""What is handed to mamba-ssm, causal-conv1d and flash-attn, and what is made of what they give back.

Stand-ins with the packages' documented signatures compute from the definition and check what the real kernels demand
(powers of two, dense axes, 16 bits), so the adapters are tried where no GPU is; test_packages.py asks the packages.
"""

import sys
from types import ModuleType

import pytest
import torch
from kernel_comparison import assert_equal_to, normal, sequential_scan
from torch import Tensor
from torch.nn import functional

from aira_kernels import adapters
from aira_kernels.convolution import convolution_silu
from aira_kernels.reference import causal_attention, rms_norm


def install(monkeypatch: pytest.MonkeyPatch, name: str, **functions: object) -> None:
    """Put a module of these functions where `import_module(name)` finds it."""
    parts = name.split(".")
    for depth in range(1, len(parts) + 1):
        dotted = ".".join(parts[:depth])
        module = ModuleType(dotted)
        if depth == len(parts):
            vars(module).update(functions)
        monkeypatch.setitem(sys.modules, dotted, module)


@pytest.mark.parametrize(
    ("asked", "taken"),
    [(1, 16), (15, 16), (16, 16), (17, 32), (64, 64), (100, 128), (256, 256), (257, 256), (4096, 256)],
)
def test_mamba_ssm_gets_a_chunk_it_takes(monkeypatch: pytest.MonkeyPatch, asked: int, taken: int) -> None:
    seen: list[tuple[int, bool]] = []

    def scan(
        x: Tensor, dt: Tensor, a: Tensor, b: Tensor, c: Tensor, chunk_size: int, D: Tensor, dt_softplus: bool
    ) -> Tensor:
        seen.append((chunk_size, dt_softplus))
        return sequential_scan(x, dt, a, b, c, D)

    install(monkeypatch, "mamba_ssm.ops.triton.ssd_combined", mamba_chunk_scan_combined=scan)
    x, maps = normal(1, 5, 4, 3), [normal(1, 5, 2, 6, seed=seed) for seed in (1, 2)]
    steps, rates, skip = normal(1, 5, 4, seed=3).abs(), -normal(4, seed=4).abs(), normal(4, seed=5)
    y = adapters.mamba_ssm_scan(x, steps, rates, *maps, skip, asked)
    assert seen == [(taken, False)], "the steps are positive already"
    torch.testing.assert_close(y, sequential_scan(x, steps, rates, *maps, skip))


def channels_last_convolution(seen: list[tuple[int, ...]]) -> object:
    def convolve(x: Tensor, weight: Tensor, bias: Tensor, activation: str) -> Tensor:
        assert activation == "silu"
        assert weight.is_contiguous()
        assert 1 in (x.stride(1), x.stride(2)), "one of the last two axes is dense"
        if x.stride(1) == 1 and x.shape[1] > 1:
            assert not any(stride % 8 for stride in (x.stride(0), x.stride(2))), "vectors of eight are aligned"
        seen.append(tuple(x.stride()))
        padded = functional.pad(x, (weight.shape[1] - 1, 0))
        return functional.silu(functional.conv1d(padded, weight[:, None], bias, groups=len(weight)))

    return convolve


@pytest.mark.parametrize("channels", [1, 7, 8, 16, 30])
@pytest.mark.parametrize("cut", ["whole", "part of a wider tensor", "every other position"])
def test_causal_conv1d_gets_strides_it_takes(monkeypatch: pytest.MonkeyPatch, channels: int, cut: str) -> None:
    seen: list[tuple[int, ...]] = []
    install(monkeypatch, "causal_conv1d", causal_conv1d_fn=channels_last_convolution(seen))
    weight, bias = normal(4, channels, seed=1), normal(channels, seed=2)
    whole = normal(2, 12, channels + 5)
    x = {"whole": normal(2, 6, channels), "part of a wider tensor": whole[:, :6, 2 : channels + 2],
         "every other position": normal(2, 12, channels)[:, ::2]}[cut]  # fmt: skip
    assert_equal_to(convolution_silu, adapters.causal_conv1d_silu, [x, weight, bias], tolerance=1e-12)
    assert seen


def test_causal_conv1d_gets_aligned_channels_without_a_copy(monkeypatch: pytest.MonkeyPatch) -> None:
    seen: list[tuple[int, ...]] = []
    install(monkeypatch, "causal_conv1d", causal_conv1d_fn=channels_last_convolution(seen))
    x = normal(2, 6, 24)[..., :16]
    adapters.causal_conv1d_silu(x, normal(4, 16), normal(16))
    assert seen == [(x.stride(0), 1, x.stride(1))]


@pytest.mark.parametrize("gated", [False, True])
def test_mamba_ssms_norm_gets_the_gate_before_it(monkeypatch: pytest.MonkeyPatch, *, gated: bool) -> None:
    def normalize(
        x: Tensor, weight: Tensor, bias: None, z: Tensor | None, eps: float, norm_before_gate: bool
    ) -> Tensor:
        assert bias is None
        assert norm_before_gate is False
        return rms_norm(x, weight, eps, z)

    install(monkeypatch, "mamba_ssm.ops.triton.layernorm_gated", rmsnorm_fn=normalize)
    x, weight, gate = normal(3, 8), normal(8, seed=1), normal(3, 8, seed=2) if gated else None
    torch.testing.assert_close(adapters.mamba_ssm_norm(x, weight, 1e-5, gate), rms_norm(x, weight, 1e-5, gate))


@pytest.mark.parametrize("dtype", [torch.float16, torch.bfloat16])
def test_flash_attn_gets_its_axes_its_scale_and_a_fixed_order(
    monkeypatch: pytest.MonkeyPatch, dtype: torch.dtype
) -> None:
    def attend(q: Tensor, k: Tensor, v: Tensor, softmax_scale: float, causal: bool, deterministic: bool) -> Tensor:
        assert (causal, deterministic) == (True, True)
        assert softmax_scale == 16**-0.5
        assert q.shape == (2, 7, 4, 16), "positions before heads"
        assert k.shape == v.shape == (2, 7, 2, 16)
        return causal_attention(*(part.transpose(1, 2) for part in (q, k, v))).transpose(1, 2)

    install(monkeypatch, "flash_attn", flash_attn_func=attend)
    parts = [normal(2, heads, 7, 16, seed=heads).to(dtype) for heads in (4, 2, 2)]
    mixed = adapters.flash_attention(*parts)
    assert mixed.dtype == dtype
    torch.testing.assert_close(mixed, causal_attention(*parts))


@pytest.mark.parametrize("dtype", [torch.float32, torch.float64])
def test_flash_attn_is_not_asked_for_wide_types(monkeypatch: pytest.MonkeyPatch, dtype: torch.dtype) -> None:
    install(monkeypatch, "flash_attn")  # without the function: reaching for it would be another error
    with pytest.raises(TypeError, match=f"takes float16 and bfloat16, got {dtype}"):
        adapters.flash_attention(*(normal(1, 2, 3, 8).to(dtype) for _ in range(3)))


@pytest.mark.parametrize(
    "call",
    [
        lambda: adapters.mamba_ssm_scan(*(torch.ones(1, 1, 1, 1),) * 6, chunk=1),
        lambda: adapters.causal_conv1d_silu(torch.ones(1, 1, 1), torch.ones(1, 1), torch.ones(1)),
        lambda: adapters.mamba_ssm_norm(torch.ones(1, 1), torch.ones(1), 1e-5),
        lambda: adapters.flash_attention(*(torch.ones(1, 1, 1, 8, dtype=torch.float16),) * 3),
    ],
    ids=["mamba-ssm", "causal-conv1d", "norm", "flash-attn"],
)
def test_a_package_is_imported_when_it_is_called_and_not_before(monkeypatch: pytest.MonkeyPatch, call: object) -> None:
    for name in ("mamba_ssm", "causal_conv1d", "flash_attn"):
        monkeypatch.setitem(sys.modules, name, None)
    assert callable(call)
    with pytest.raises(ImportError):
        call()
