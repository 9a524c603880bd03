"""The SSD scan in Triton against the sequential recurrence in float64, forward and backward."""

from typing import Any

import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st
from kernel_comparison import assert_equal_to, normal, results, sequential_scan
from kernel_devices import INTERPRETED, OPERATOR_CHECKS, kernel_device
from torch import Tensor

DEVICE = kernel_device()

from aira_kernels.fused.scan import ssd_scan, ssd_scan_and_state  # noqa: E402
from aira_kernels.fused.scan_launch import ScanTiles, scan_tiles  # noqa: E402
from aira_kernels.ssd import state_after  # noqa: E402

pytestmark = [pytest.mark.gpu, pytest.mark.usefixtures("fresh_memory_is_no_number")]
EXACT = torch.float64 if INTERPRETED else torch.float32
"""Products in float64 are a test's luxury: on a GPU they need a newer Triton than the cuda images hold."""
# Bfloat16 has 8 bits: inputs are exact, weights and states round to it once each before a product, outputs once after.
TOLERANCE = {torch.float64: 1e-11, torch.float32: 1e-5, torch.float16: 4e-3, torch.bfloat16: 3e-2}


def _inputs(
    batch: int, length: int, heads: int, features: int, groups: int, state: int,
    *, rate: float = 1.0, dtype: torch.dtype = EXACT, seed: int = 0,
) -> list[Tensor]:  # fmt: skip
    generator = torch.Generator().manual_seed(seed)
    steps = torch.rand(batch, length, heads, generator=generator, dtype=torch.float64) * 0.5 + 1e-3
    rates = -rate * (1 + torch.rand(heads, generator=generator, dtype=torch.float64))
    maps = [normal(batch, length, groups, state, seed=seed + index) for index in (1, 2)]
    tensors = [normal(batch, length, heads, features, seed=seed), steps, rates, *maps, normal(heads, seed=seed + 3)]
    return [tensor.to(dtype=dtype, device=DEVICE) for tensor in tensors]


def _scan(chunk: int) -> Any:  # noqa: ANN401
    return lambda *tensors: ssd_scan(*tensors, chunk=chunk)


@pytest.mark.parametrize(
    ("shape", "chunk"),
    [
        pytest.param((1, 1, 2, 4, 1, 3), 128, id="one token"),
        pytest.param((1, 13, 2, 5, 1, 7), 128, id="below a chunk"),
        pytest.param((1, 16, 2, 4, 1, 4), 16, id="one whole chunk"),
        pytest.param((1, 17, 2, 4, 1, 4), 16, id="one over a chunk"),
        pytest.param((2, 19, 4, 5, 2, 20), 16, id="groups, batch, odd sizes"),
        pytest.param((1, 70, 2, 4, 2, 40), 64, id="blocks of rows and of state, a group a head"),
        pytest.param((1, 35, 1, 2, 1, 2), 16, id="states through a chunk in the middle"),
        pytest.param((1, 150, 1, 2, 1, 2), 128, id="long"),
    ],
)
def test_every_shape_equals_the_recurrence(shape: tuple[int, int, int, int, int, int], chunk: int) -> None:
    assert_equal_to(sequential_scan, _scan(chunk), _inputs(*shape), tolerance=TOLERANCE[EXACT])


@pytest.mark.parametrize("dtype", [EXACT, torch.float32, torch.bfloat16])
@pytest.mark.parametrize(
    "shape", [(1, 1, 2, 4, 1, 3), (2, 13, 2, 5, 1, 7), (1, 32, 2, 4, 1, 4), (2, 70, 3, 8, 1, 20)], ids=str
)
def test_the_state_that_is_left_is_that_of_the_recurrence(
    shape: tuple[int, int, int, int, int, int], dtype: torch.dtype
) -> None:
    inputs = _inputs(*shape, dtype=dtype)
    y, left = ssd_scan_and_state(*inputs, chunk=16)
    assert torch.equal(y, ssd_scan(*inputs, chunk=16))
    x, dt, a, b = (part.double() for part in inputs[:4])
    exact = state_after(left.new_zeros(left.shape, dtype=torch.float64), x, dt, a, b[:, :, 0])
    assert left.dtype == (torch.float64 if dtype == torch.float64 else torch.float32)
    error = (left.double() - exact).abs().max() / exact.abs().max()
    assert error < TOLERANCE[dtype]


def test_the_state_that_is_left_keeps_its_digits_behind_steps_that_forget_everything() -> None:
    x, dt, a, b, c, skip = _inputs(1, 60, 2, 4, 1, 4, dtype=torch.float32)
    dt[:, 5:32] = 900.0
    dt[:, 32:] = 1e-3
    _, left = ssd_scan_and_state(x, dt, a, b, c, skip, chunk=16)
    exact = state_after(left.new_zeros(left.shape).double(), x.double(), dt.double(), a.double(), b[:, :, 0].double())
    torch.testing.assert_close(left.double(), exact, rtol=1e-4, atol=1e-6)


@pytest.mark.parametrize("rate", [1e-8, 1e6])
def test_extreme_rates_equal_the_recurrence(rate: float) -> None:
    inputs = _inputs(1, 36, 2, 4, 1, 4, rate=rate)
    assert_equal_to(sequential_scan, _scan(16), inputs, tolerance=TOLERANCE[EXACT])


@pytest.mark.parametrize("dtype", [torch.float32, torch.float16, torch.bfloat16])
def test_every_type_equals_the_recurrence(dtype: torch.dtype) -> None:
    inputs = _inputs(1, 36, 2, 16, 1, 16, dtype=dtype)
    assert_equal_to(sequential_scan, _scan(16), inputs, tolerance=TOLERANCE[dtype])


def test_mixed_types_as_autocast_makes_them() -> None:
    x, dt, a, b, c, skip = _inputs(1, 20, 2, 16, 1, 16, dtype=torch.float32)
    inputs = [x.bfloat16(), dt, a, b.bfloat16(), c.bfloat16(), skip]
    assert_equal_to(sequential_scan, _scan(16), inputs, tolerance=TOLERANCE[torch.bfloat16])
    gradients = results(_scan(16), inputs, torch.ones(1, 20, 2, 16))[1:]
    assert [gradient.dtype for gradient in gradients] == [part.dtype for part in inputs]


def test_float32_keeps_its_digits_between_steps_that_forget_everything() -> None:
    # Sums of dt a near 3e4 have a spacing of 2e-3 in float32; the spans between ordinary steps must not inherit it.
    x, dt, a, b, c, skip = _inputs(1, 60, 2, 4, 1, 4, dtype=torch.float32)
    dt[:, 5:32] = 900.0
    dt[:, 32:] = 1e-3
    assert_equal_to(sequential_scan, _scan(64), [x, dt, a, b, c, skip], tolerance=1e-5)


def test_steps_of_size_zero_change_nothing() -> None:
    x, dt, a, b, c, skip = _inputs(1, 20, 2, 4, 1, 4)
    dt[:, 7:15] = 0.0
    assert_equal_to(sequential_scan, _scan(16), [x, dt, a, b, c, skip], tolerance=TOLERANCE[EXACT])


@pytest.mark.parametrize(("dt", "rate"), [(1e-30, -1e-30), (1e4, -1e4), (1e30, -1e30)])
def test_nothing_overflows(dt: float, rate: float) -> None:
    x, steps, rates, b, c, skip = _inputs(1, 20, 2, 4, 1, 4, dtype=torch.float32)
    for tensor in results(_scan(16), [x, steps * 0 + dt, rates * 0 + rate, b, c, skip], torch.ones(1, 20, 2, 4)):
        assert torch.isfinite(tensor).all()


def test_what_is_no_number_stays_visible() -> None:
    x, dt, a, b, c, skip = _inputs(1, 20, 2, 4, 1, 4, dtype=torch.float32)
    dt[0, 3, 0] = float("nan")
    y = ssd_scan(x, dt, a, b, c, skip)
    assert torch.isnan(y[0, 3:, 0]).all()
    assert torch.isfinite(y[0, :, 1]).all()


def test_any_layout_in_memory_gives_the_same() -> None:
    x, dt, a, b, c, skip = _inputs(2, 17, 2, 5, 2, 6)
    together = torch.cat((x.flatten(2), b.flatten(2), c.flatten(2)), dim=2)  # as the convolution hands them over
    inner, maps_b, maps_c = torch.split(together, [10, 12, 12], dim=2)
    strided = [
        inner.view(2, 17, 2, 5), dt.transpose(0, 2).contiguous().transpose(0, 2), a, maps_b.view(2, 17, 2, 6),
        maps_c.view(2, 17, 2, 6).transpose(2, 3).contiguous().transpose(2, 3), skip.repeat_interleave(2)[::2],
    ]  # fmt: skip
    assert not any(tensor.is_contiguous() for tensor in (strided[0], strided[1], strided[3], strided[4], strided[5]))
    direction = normal(2, 1, 1, 5).expand(2, 17, 2, 5)
    plain = results(_scan(16), [x, dt, a, b, c, skip], direction)
    for ours, same in zip(results(_scan(16), strided, direction), plain, strict=True):
        assert torch.equal(ours, same)


def test_offsets_past_32_bits_reach_the_right_numbers(monkeypatch: pytest.MonkeyPatch) -> None:
    x, dt, a, b, c, skip = _inputs(2, 5, 1, 4, 1, 4, dtype=torch.float16)
    # Pages never touched cost no memory on a CPU, so these must not be filled.
    monkeypatch.setattr(torch.utils.deterministic, "fill_uninitialized_memory", False)
    far = torch.empty(2**31 + 5 * 4, dtype=torch.float16, device=DEVICE)
    distant = far.as_strided((2, 5, 1, 4), (2**31, 4, 4, 1))
    distant.copy_(x)
    assert torch.equal(ssd_scan(distant, dt, a, b, c, skip), ssd_scan(x, dt, a, b, c, skip))


@settings(max_examples=3 if INTERPRETED else 8, deadline=None, derandomize=True)
@given(
    st.integers(1, 2), st.integers(1, 24), st.integers(1, 2), st.integers(1, 2), st.integers(1, 9), st.integers(1, 18),
    st.sampled_from((16, 128)), st.sampled_from((1e-3, 1.0, 50.0)),
)  # fmt: skip
def test_small_shapes_equal_the_recurrence(
    batch: int, length: int, groups: int, each: int, features: int, state: int, chunk: int, rate: float
) -> None:
    inputs = _inputs(batch, length, groups * each, features, groups, state, rate=rate)
    assert_equal_to(sequential_scan, _scan(chunk), inputs, tolerance=TOLERANCE[EXACT])


@pytest.mark.skipif(not INTERPRETED, reason="finite differences need float64")
def test_gradients_are_those_of_finite_differences() -> None:
    leaves = [tensor.requires_grad_() for tensor in _inputs(1, 2, 1, 1, 1, 1)]
    assert torch.autograd.gradcheck(_scan(16), leaves)


def test_two_calls_give_the_same_digits() -> None:
    inputs = _inputs(1, 20, 2, 8, 1, 8, dtype=torch.float32)
    direction = normal(1, 20, 2, 8)
    for first, second in zip(*(results(_scan(16), inputs, direction) for _ in range(2)), strict=True):
        assert torch.equal(first, second)


def test_torch_accepts_the_operators() -> None:
    inputs = _inputs(1, 20, 2, 4, 1, 4, dtype=torch.float32)
    operator = torch.ops.aira_kernels.ssd_scan.default
    leaves = [tensor.requires_grad_() for tensor in inputs]
    torch.library.opcheck(operator, (*leaves, 16), test_utils=OPERATOR_CHECKS)


@pytest.mark.parametrize(
    ("change", "message"),
    [
        (lambda x, dt, a, b, c, skip: (x, dt[:, :3], a, b, c, skip), "dt has shape"),
        (lambda x, dt, a, b, c, skip: (x, dt, a[:1], b, c, skip), "a has shape"),
        (lambda x, dt, a, b, c, skip: (x, dt, a, b, c[..., :2], skip), "c has shape"),
        (lambda x, dt, a, b, c, skip: (x, dt, a, b[:, :, 0], c, skip), "expected x of shape"),
        (lambda x, dt, a, b, c, skip: (x[:, :0], dt[:, :0], a, b[:, :0], c[:, :0], skip), "none empty"),
        (lambda x, dt, a, b, c, skip: (x, dt, a, *(m.expand(-1, -1, 3, -1) for m in (b, c)), skip), "divide the heads"),
    ],
)
def test_shapes_that_do_not_fit_are_refused(change: Any, message: str) -> None:  # noqa: ANN401
    with pytest.raises(ValueError, match=message):
        ssd_scan(*change(*_inputs(1, 5, 2, 4, 1, 4)))


def test_types_that_are_no_floats_are_refused() -> None:
    x, *rest = _inputs(1, 5, 2, 4, 1, 4)
    with pytest.raises(TypeError, match="int64"):
        ssd_scan(x.long(), *rest)


def test_tiles_follow_shapes_and_types_alone() -> None:
    assert scan_tiles(8192, 128, torch.bfloat16) == ScanTiles(128, 64, 64)
    assert scan_tiles(8192, 128, torch.float32) == ScanTiles(128, 32, 32)
    assert scan_tiles(1, 3, torch.float32) == ScanTiles(16, 16, 16)
    with pytest.raises(ValueError, match="powers of two"):
        ScanTiles(48, 16, 16)
    with pytest.raises(ValueError, match="whole number of blocks"):
        ScanTiles(16, 32, 16)
