"""mamba-ssm, causal-conv1d and flash-attn against the float64 references, where they are installed and can run."""

from importlib.util import find_spec

import pytest
import torch
from kernel_comparison import assert_equal_to, normal, sequential_scan
from torch import Tensor

from aira_kernels import adapters
from aira_kernels.convolution import convolution_silu
from aira_kernels.reference import causal_attention, rms_norm

pytestmark = pytest.mark.gpu


def _needs(package: str) -> None:
    if not torch.cuda.is_available():
        pytest.skip(f"{package} needs a CUDA device")
    if find_spec(package) is None:
        pytest.skip(f"{package} is not installed; the cuda images have it")


def _on_gpu(*tensors: Tensor, dtype: torch.dtype) -> list[Tensor]:
    return [tensor.to(device="cuda", dtype=dtype) for tensor in tensors]


@pytest.mark.parametrize(("dtype", "tolerance"), [(torch.float32, 5e-3), (torch.bfloat16, 3e-2)])
@pytest.mark.parametrize("length", [1, 63, 256, 300])
def test_mamba_ssms_scan_equals_the_recurrence(length: int, dtype: torch.dtype, tolerance: float) -> None:
    _needs("mamba_ssm")
    steps = torch.rand(2, length, 4, generator=torch.Generator().manual_seed(1), dtype=torch.float64) * 0.1 + 1e-3
    maps = [normal(2, length, 2, 64, seed=seed) for seed in (2, 3)]
    inputs = _on_gpu(normal(2, length, 4, 64), steps, -torch.arange(1.0, 5.0), *maps, normal(4), dtype=dtype)
    scan = lambda *tensors: adapters.mamba_ssm_scan(*tensors, chunk=64)  # noqa: E731
    assert_equal_to(sequential_scan, scan, inputs, tolerance=tolerance)


@pytest.mark.parametrize(("dtype", "tolerance"), [(torch.float32, 1e-5), (torch.bfloat16, 1.6e-2)])
@pytest.mark.parametrize("shape", [(1, 1, 8), (2, 37, 64), (2, 33, 30)])
def test_causal_conv1d_equals_the_reference(shape: tuple[int, int, int], dtype: torch.dtype, tolerance: float) -> None:
    _needs("causal_conv1d")
    inputs = _on_gpu(normal(*shape), normal(4, shape[2]), normal(shape[2]), dtype=dtype)
    assert_equal_to(convolution_silu, adapters.causal_conv1d_silu, inputs, tolerance=tolerance)


@pytest.mark.parametrize(("dtype", "tolerance"), [(torch.float32, 1e-5), (torch.bfloat16, 1.6e-2)])
def test_mamba_ssms_gated_norm_equals_the_reference(dtype: torch.dtype, tolerance: float) -> None:
    _needs("mamba_ssm")
    inputs = _on_gpu(normal(2, 7, 96), normal(96), normal(2, 7, 96, seed=1), dtype=dtype)

    def ours(x: Tensor, weight: Tensor, gate: Tensor) -> Tensor:
        return adapters.mamba_ssm_norm(x, weight, 1e-5, gate)

    def oracle(x: Tensor, weight: Tensor, gate: Tensor) -> Tensor:
        return rms_norm(x, weight, 1e-5, gate)

    assert_equal_to(oracle, ours, inputs, tolerance=tolerance)


@pytest.mark.parametrize("length", [1, 37, 130])
def test_flash_attn_equals_the_reference(length: int) -> None:
    _needs("flash_attn")
    parts = _on_gpu(*(normal(2, heads, length, 64, seed=heads) for heads in (8, 2, 2)), dtype=torch.bfloat16)
    assert_equal_to(causal_attention, adapters.flash_attention, parts, tolerance=3e-2)


def test_flash_attn_refuses_wide_types_before_it_is_imported() -> None:
    with pytest.raises(TypeError, match="takes float16 and bfloat16, got"):
        adapters.flash_attention(*(torch.ones(1, 1, 2, 8) for _ in range(3)))
