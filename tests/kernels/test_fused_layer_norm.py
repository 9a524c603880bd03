"""LayerNorm in Triton against torch's in float64, forward and backward."""

import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st
from kernel_comparison import Function, assert_equal_to, normal, results
from kernel_devices import INTERPRETED, OPERATOR_CHECKS, kernel_device
from torch import Tensor
from torch.nn import functional

DEVICE = kernel_device()

from aira_kernels.fused.layer_norm import layer_norm  # noqa: E402

pytestmark = [pytest.mark.gpu, pytest.mark.usefixtures("fresh_memory_is_no_number")]
TOLERANCE = {torch.float64: 1e-12, torch.float32: 3e-6, torch.float16: 2e-3, torch.bfloat16: 1.6e-2}
EPSILON = 1e-5


def _oracle(x: Tensor, weight: Tensor, bias: Tensor) -> Tensor:
    return functional.layer_norm(x, (x.shape[-1],), weight, bias, EPSILON)


def _ours(x: Tensor, weight: Tensor, bias: Tensor) -> Tensor:
    return layer_norm(x, weight, bias, EPSILON)


def _check(inputs: list[Tensor]) -> None:
    # A row of one feature has no gradient but what rounding leaves.
    assert_equal_to(_oracle, _ours, inputs, tolerance=TOLERANCE[inputs[0].dtype], smallest=1.0)


def _inputs(*shape: int, dtype: torch.dtype = torch.float64) -> list[Tensor]:
    tensors = [normal(*shape) + 1, normal(shape[-1], seed=1), normal(shape[-1], seed=2)]
    return [tensor.to(dtype=dtype, device=DEVICE) for tensor in tensors]


@pytest.mark.parametrize("shape", [(1, 1), (3, 40), (2, 70, 16), (5, 129), (300, 128), (2, 4096)])
def test_every_shape_equals_torchs(shape: tuple[int, ...]) -> None:
    _check(_inputs(*shape))


@pytest.mark.parametrize("dtype", [torch.float32, torch.float16, torch.bfloat16])
def test_every_type_equals_torchs(dtype: torch.dtype) -> None:
    _check(_inputs(40, 48, dtype=dtype))


def test_more_rows_than_programs_share_them(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("aira_kernels.fused.layer_norm._PROGRAMS", 3)
    _check(_inputs(900, 16))


def test_rows_of_one_number_stay_finite() -> None:
    x, weight, bias = _inputs(3, 16, dtype=torch.float32)
    x[0], x[1] = 0.0, 1e30
    for tensor in results(_ours, [x, weight, bias], torch.ones(3, 16)):
        assert torch.isfinite(tensor).all()


def test_any_layout_in_memory_gives_the_same() -> None:
    x, weight, bias = _inputs(2, 7, 12)
    wide = torch.cat((x, x), dim=2)
    strided = [wide[..., 12:], weight.repeat_interleave(2)[::2], bias.repeat_interleave(2)[::2]]
    crosswise = [x.transpose(1, 2).contiguous().transpose(1, 2), weight, bias]
    direction = normal(2, 1, 12).expand(2, 7, 12)
    plain = results(_ours, [x, weight, bias], direction)
    for layout in (strided, crosswise):
        for ours, same in zip(results(_ours, layout, direction), plain, strict=True):
            assert torch.equal(ours, same)


@settings(max_examples=6 if INTERPRETED else 15, deadline=None, derandomize=True)
@given(st.integers(1, 5), st.integers(1, 70))
def test_small_shapes_equal_torchs(rows: int, width: int) -> None:
    _check(_inputs(rows, width))


def test_gradients_are_those_of_finite_differences() -> None:
    assert torch.autograd.gradcheck(_ours, [tensor.requires_grad_() for tensor in _inputs(2, 3)])


def test_torch_accepts_the_operators() -> None:
    leaves = tuple(tensor.requires_grad_() for tensor in _inputs(3, 8, dtype=torch.float32))
    torch.library.opcheck(
        torch.ops.aira_kernels.layer_norm.default, (*leaves, EPSILON), test_utils=OPERATOR_CHECKS
    )  # fmt: skip


@pytest.mark.parametrize(
    ("function", "message"),
    [
        (lambda: layer_norm(torch.ones(2, 3), torch.ones(4), torch.ones(3), EPSILON), "do not fit together"),
        (lambda: layer_norm(torch.ones(2, 3), torch.ones(3), torch.ones(2), EPSILON), "do not fit together"),
        (lambda: layer_norm(torch.ones(0, 3), torch.ones(3), torch.ones(3), EPSILON), "at least one"),
        (lambda: layer_norm(torch.ones(1, 16_385), torch.ones(16_385), torch.ones(16_385), EPSILON), "1 to 16384"),
    ],
)
def test_shapes_that_do_not_fit_are_refused(function: Function, message: str) -> None:
    with pytest.raises(ValueError, match=message):
        function()
