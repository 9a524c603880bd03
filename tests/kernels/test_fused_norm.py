"""The RMS norms in Triton against plain PyTorch in float64, forward and backward."""

import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st
from kernel_comparison import Function, assert_equal_to, normal, results
from kernel_devices import INTERPRETED, OPERATOR_CHECKS, kernel_device
from torch import Tensor
from torch.nn import functional

DEVICE = kernel_device()

from aira_kernels.fused.norm import rms_norm  # noqa: E402

pytestmark = [pytest.mark.gpu, pytest.mark.usefixtures("fresh_memory_is_no_number")]
TOLERANCE = {torch.float64: 1e-12, torch.float32: 2e-6, torch.float16: 2e-3, torch.bfloat16: 1.6e-2}
EPSILON = 1e-5


def _oracle(x: Tensor, weight: Tensor, gate: Tensor | None = None) -> Tensor:
    u = x if gate is None else x * functional.silu(gate)
    return u / (u.square().mean(-1, keepdim=True) + EPSILON).sqrt() * weight


def _ours(x: Tensor, weight: Tensor, gate: Tensor | None = None) -> Tensor:
    return rms_norm(x, weight, EPSILON, gate)


def _check(inputs: list[Tensor]) -> None:
    # A row of one feature has a gradient near 0, the difference of two equal numbers.
    assert_equal_to(_oracle, _ours, inputs, tolerance=TOLERANCE[inputs[0].dtype], smallest=1e-3)


def _inputs(*shape: int, gated: bool, dtype: torch.dtype = torch.float64) -> list[Tensor]:
    tensors = [normal(*shape), normal(shape[-1], seed=1), *([normal(*shape, seed=2)] if gated else [])]
    return [tensor.to(dtype=dtype, device=DEVICE) for tensor in tensors]


@pytest.mark.parametrize("gated", [False, True])
@pytest.mark.parametrize("shape", [(1, 1), (3, 40), (2, 70, 16), (5, 129)])
def test_every_shape_equals_the_formula(shape: tuple[int, ...], gated: bool) -> None:
    _check(_inputs(*shape, gated=gated))


@pytest.mark.parametrize("gated", [False, True])
@pytest.mark.parametrize("dtype", [torch.float32, torch.float16, torch.bfloat16])
def test_every_type_equals_the_formula(dtype: torch.dtype, gated: bool) -> None:
    _check(_inputs(4, 48, gated=gated, dtype=dtype))


def test_more_rows_than_programs_share_them(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("aira_kernels.fused.norm._ROW_PROGRAMS", 3)
    _check(_inputs(900, 16, gated=True))


def test_epsilon_keeps_the_digits_of_the_rows() -> None:
    # In float32 it would be off by 3e-8 of itself, and beside squares as small as itself that is what is compared.
    _check([tensor * 1e-3 if place == 0 else tensor for place, tensor in enumerate(_inputs(3, 40, gated=False))])


def test_rows_of_zeros_and_closed_gates_stay_finite() -> None:
    x, weight, gate = _inputs(3, 16, gated=True, dtype=torch.float32)
    x[0], gate[1], gate[2] = 0.0, -200.0, 200.0
    for tensor in results(_ours, [x, weight, gate], torch.ones(3, 16)):
        assert torch.isfinite(tensor).all()


def test_any_layout_in_memory_gives_the_same() -> None:
    x, weight, gate = _inputs(2, 7, 12, gated=True)
    packed = torch.cat((gate, x), dim=2)  # the gate is a slice of the input projection
    strided = [packed[..., 12:], weight.repeat_interleave(2)[::2], packed[..., :12]]
    crosswise = [x.transpose(1, 2).contiguous().transpose(1, 2), weight, gate]
    direction = normal(2, 1, 12).expand(2, 7, 12)
    plain = results(_ours, [x, weight, gate], direction)
    for layout in (strided, crosswise):
        for ours, same in zip(results(_ours, layout, direction), plain, strict=True):
            assert torch.equal(ours, same)


@settings(max_examples=6 if INTERPRETED else 15, deadline=None, derandomize=True)
@given(st.integers(1, 5), st.integers(1, 70), st.booleans())
def test_small_shapes_equal_the_formula(rows: int, width: int, gated: bool) -> None:
    _check(_inputs(rows, width, gated=gated))


@pytest.mark.parametrize("gated", [False, True])
def test_gradients_are_those_of_finite_differences(gated: bool) -> None:
    assert torch.autograd.gradcheck(_ours, [tensor.requires_grad_() for tensor in _inputs(2, 3, gated=gated)])


@pytest.mark.parametrize("gated", [False, True])
def test_torch_accepts_the_operators(gated: bool) -> None:
    x, weight, *rest = (tensor.requires_grad_() for tensor in _inputs(3, 8, gated=gated, dtype=torch.float32))
    gate = rest[0] if rest else None
    torch.library.opcheck(
        torch.ops.aira_kernels.rms_norm.default, (x, gate, weight, EPSILON), test_utils=OPERATOR_CHECKS
    )


@pytest.mark.parametrize(
    ("function", "message"),
    [
        (lambda: rms_norm(torch.ones(2, 3), torch.ones(4), EPSILON), "do not fit together"),
        (lambda: rms_norm(torch.ones(2, 3), torch.ones(3), EPSILON, torch.ones(3)), "do not fit together"),
        (lambda: rms_norm(torch.ones(0, 3), torch.ones(3), EPSILON), "at least one"),
        (lambda: rms_norm(torch.ones(1, 16_385), torch.ones(16_385), EPSILON), "1 to 16384"),
    ],
)
def test_shapes_that_do_not_fit_are_refused(function: Function, message: str) -> None:
    with pytest.raises(ValueError, match=message):
        function()
