"""The causal convolution with SiLU in Triton against torch's own in float64, forward and backward."""

import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st
from kernel_comparison import assert_equal_to, normal, results
from kernel_devices import INTERPRETED, OPERATOR_CHECKS, kernel_device
from torch import Tensor
from torch.nn import functional

DEVICE = kernel_device()

from aira_kernels.fused.convolution import causal_convolution_silu  # noqa: E402

pytestmark = [pytest.mark.gpu, pytest.mark.usefixtures("fresh_memory_is_no_number")]
TOLERANCE = {torch.float64: 1e-12, torch.float32: 2e-6, torch.float16: 2e-3, torch.bfloat16: 1.6e-2}


def _oracle(x: Tensor, weight: Tensor, bias: Tensor) -> Tensor:
    padded = functional.pad(x.transpose(1, 2), (len(weight) - 1, 0))
    convolved = functional.conv1d(padded, weight.t()[:, None], bias, groups=x.shape[2])
    return functional.silu(convolved).transpose(1, 2)


def _inputs(
    batch: int, length: int, channels: int, *, taps: int = 4, dtype: torch.dtype = torch.float64
) -> list[Tensor]:
    tensors = (normal(batch, length, channels), normal(taps, channels, seed=1), normal(channels, seed=2))
    return [tensor.to(dtype=dtype, device=DEVICE) for tensor in tensors]


@pytest.mark.parametrize("shape", [(1, 1, 1), (2, 3, 5), (1, 32, 64), (2, 33, 65)])
def test_every_shape_equals_torchs(shape: tuple[int, int, int]) -> None:
    assert_equal_to(_oracle, causal_convolution_silu, _inputs(*shape), tolerance=TOLERANCE[torch.float64])


@pytest.mark.parametrize("dtype", [torch.float32, torch.float16, torch.bfloat16])
def test_every_type_equals_torchs(dtype: torch.dtype) -> None:
    assert_equal_to(_oracle, causal_convolution_silu, _inputs(2, 20, 16, dtype=dtype), tolerance=TOLERANCE[dtype])


@settings(max_examples=5 if INTERPRETED else 15, deadline=None, derandomize=True)
@given(st.integers(1, 2), st.integers(1, 40), st.integers(1, 20), st.integers(1, 5))
def test_small_shapes_equal_torchs(batch: int, length: int, channels: int, taps: int) -> None:
    inputs = _inputs(batch, length, channels, taps=taps)
    assert_equal_to(_oracle, causal_convolution_silu, inputs, tolerance=TOLERANCE[torch.float64])


def test_large_numbers_stay_finite() -> None:
    x, weight, bias = _inputs(1, 9, 4, dtype=torch.float32)
    for tensor in results(causal_convolution_silu, [x * 1e4, weight * 1e4, bias], torch.ones(1, 9, 4)):
        assert torch.isfinite(tensor).all()


def test_any_layout_in_memory_gives_the_same() -> None:
    x, weight, bias = _inputs(2, 9, 12)
    packed = normal(2, 9, 30, seed=5).to(DEVICE)
    packed[..., 10:22] = x  # a slice of the input projection
    crosswise = x.transpose(1, 2).contiguous().transpose(1, 2)
    direction = normal(2, 1, 12).expand(2, 9, 12)
    plain = results(causal_convolution_silu, [x, weight, bias], direction)
    for layout in (packed[..., 10:22], crosswise):
        inputs = [layout, weight.t().contiguous().t(), bias.repeat_interleave(2)[::2]]
        for ours, same in zip(results(causal_convolution_silu, inputs, direction), plain, strict=True):
            assert torch.equal(ours, same)


def test_gradients_are_those_of_finite_differences() -> None:
    leaves = [tensor.requires_grad_() for tensor in _inputs(1, 5, 1)]
    assert torch.autograd.gradcheck(causal_convolution_silu, leaves)


def test_torch_accepts_the_operators() -> None:
    leaves = [tensor.requires_grad_() for tensor in _inputs(1, 6, 4, dtype=torch.float32)]
    torch.library.opcheck(
        torch.ops.aira_kernels.causal_convolution_silu.default, tuple(leaves), test_utils=OPERATOR_CHECKS
    )


@pytest.mark.parametrize(
    ("shapes", "message"),
    [
        (((1, 3, 4), (4, 5), (4,)), "do not fit"),
        (((3, 4), (4, 4), (4,)), "do not fit"),
        (((0, 3, 4), (4, 4), (4,)), "at least one"),
    ],
)
def test_shapes_that_do_not_fit_are_refused(shapes: tuple[tuple[int, ...], ...], message: str) -> None:
    with pytest.raises(ValueError, match=message):
        causal_convolution_silu(*(torch.ones(shape) for shape in shapes))
