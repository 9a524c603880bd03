"""A probe tells a right implementation from one that is wrong in its output, in one gradient, or in single digits."""

import math
from collections.abc import Callable

import pytest
import torch
from torch import Tensor

from aira_kernels.backend import _IMPLEMENTATIONS, OPERATIONS
from aira_kernels.probes import Operation, difference

CPU = torch.device("cpu")
Function = Callable[..., Tensor]


def reference(operation: Operation) -> Function:
    return _IMPLEMENTATIONS[operation]["reference"]


def probed(operation: Operation, function: Function, dtype: torch.dtype = torch.float64) -> float:
    return difference(operation, function, reference(operation), CPU, dtype)


@pytest.mark.parametrize("operation", OPERATIONS)
def test_the_reference_does_not_differ_from_itself(operation: Operation) -> None:
    assert probed(operation, reference(operation)) == 0.0


@pytest.mark.parametrize("operation", OPERATIONS)
@pytest.mark.parametrize(("dtype", "at_most"), [(torch.float32, 1e-4), (torch.bfloat16, 5e-2)])
def test_narrow_types_differ_by_their_rounding(operation: Operation, dtype: torch.dtype, at_most: float) -> None:
    """Inputs are rounded before either computes, so what is left is the error of computing."""
    assert 0 < probed(operation, reference(operation), dtype) < at_most


@pytest.mark.parametrize("operation", OPERATIONS)
def test_an_output_that_is_off_by_a_thousandth_is_seen(operation: Operation) -> None:
    right = reference(operation)
    assert probed(operation, lambda *inputs: right(*inputs) * 1.001) == pytest.approx(1e-3, rel=0.01)


class _WrongBackward(torch.autograd.Function):
    """The identity, with a gradient that is a tenth too large."""

    @staticmethod
    def forward(ctx: object, x: Tensor) -> Tensor:
        return x.clone()

    @staticmethod
    def backward(ctx: object, *gradients: Tensor) -> Tensor:
        return gradients[0] * 1.1


@pytest.mark.parametrize(
    ("operation", "place"),
    [(name, place) for name in OPERATIONS for place in ((0,) if name == "rotary_attention" else (0, 1, 2))],
)
def test_a_gradient_that_is_wrong_for_one_input_alone_is_seen(operation: Operation, place: int) -> None:
    right = reference(operation)

    def wrong(*inputs: Tensor) -> Tensor:
        parts = list(inputs)
        # The norm takes epsilon in the third place; its gate comes after it.
        at = place + 1 if operation == "norm" and place == 2 else place
        parts[at] = _WrongBackward.apply(parts[at])
        return right(*parts)

    assert probed(operation, wrong) == pytest.approx(0.1, rel=0.01)


@pytest.mark.parametrize("operation", OPERATIONS)
@pytest.mark.parametrize("bad", [math.nan, math.inf])
def test_a_single_number_that_is_none_is_seen(operation: Operation, bad: float) -> None:
    right = reference(operation)

    def poisoned(*inputs: Tensor) -> Tensor:
        out = right(*inputs)
        mask = torch.zeros_like(out)
        mask[(-1,) * mask.dim()] = bad
        return out + mask

    found = probed(operation, poisoned)
    assert math.isnan(found) or found == math.inf
    assert not found <= 1.0, "as the selector compares"


def test_an_implementation_that_looks_one_position_ahead_is_seen() -> None:
    right = reference("attention")
    assert probed("attention", lambda q, k, v: right(q, k.roll(-1, 2), v)) > 1e-2


def test_an_implementation_that_forgets_state_between_chunks_is_seen() -> None:
    """The problem is longer than one chunk, so that passing states on is part of it."""
    right = reference("scan")

    def forgetful(x: Tensor, dt: Tensor, a: Tensor, b: Tensor, c: Tensor, skip: Tensor, chunk: int) -> Tensor:
        halves = [slice(0, 75), slice(75, 150)]
        return torch.cat([right(x[:, at], dt[:, at], a, b[:, at], c[:, at], skip, chunk) for at in halves], 1)

    assert probed("scan", forgetful) > 1e-2


def test_probing_works_inside_inference_and_autocast_and_draws_nothing() -> None:
    before = torch.random.get_rng_state()
    with torch.inference_mode(), torch.autocast("cpu", dtype=torch.bfloat16):
        assert probed("attention", reference("attention")) == 0.0
    assert torch.equal(torch.random.get_rng_state(), before)
