"""The chunked scan against the sequential one, forward and backward, in float64."""

import pytest
import torch
from torch import Tensor

from aira_kernels.ssd import ssd_chunked, ssd_reference, ssd_sequential

Inputs = tuple[Tensor, Tensor, Tensor, Tensor, Tensor]


def _inputs(length: int, rate: float, seed: int = 0) -> Inputs:
    generator = torch.Generator().manual_seed(seed)

    def normal(*shape: int) -> Tensor:
        return torch.randn(*shape, generator=generator, dtype=torch.float64)

    batch, heads, features, state = 2, 3, 4, 5
    dt = torch.rand(batch, length, heads, generator=generator, dtype=torch.float64) * 0.5 + 1e-3
    decay = -rate * (1 + torch.rand(heads, generator=generator, dtype=torch.float64))
    x, b, c = normal(batch, length, heads, features), normal(batch, length, state), normal(batch, length, state)
    return _leaves((x, dt, decay, b, c))


def _leaves(tensors: Inputs) -> Inputs:
    x, dt, decay, b, c = (tensor.detach().requires_grad_() for tensor in tensors)
    return x, dt, decay, b, c


@pytest.mark.parametrize("rate", [1e-8, 1.0, 1e3])
@pytest.mark.parametrize(
    ("length", "chunk"), [(1, 64), (1, 1), (7, 1), (5, 3), (64, 64), (65, 64), (63, 16), (130, 64)]
)
def test_chunked_equals_sequential(length: int, chunk: int, rate: float) -> None:
    inputs = _inputs(length, rate)
    direction = torch.randn(2, length, 3, 4, generator=torch.Generator().manual_seed(1), dtype=torch.float64)
    outputs, gradients = [], []
    for y in (ssd_chunked(*inputs, chunk), ssd_sequential(*inputs)):
        outputs.append(y)
        gradients.append(torch.autograd.grad((y * direction).sum(), inputs))
    torch.testing.assert_close(outputs[0], outputs[1], rtol=1e-9, atol=1e-10)
    for name, ours, oracle in zip(("x", "dt", "a", "b", "c"), *gradients, strict=True):
        assert torch.allclose(ours, oracle, rtol=1e-8, atol=1e-9), name


def test_a_chunk_that_forgets_everything_gives_finite_gradients_in_float32() -> None:
    inputs = _leaves(tuple(tensor.float() for tensor in _inputs(130, 1e4)))  # type: ignore[arg-type]
    y = ssd_chunked(*inputs, 64)
    assert torch.isfinite(y).all()
    for gradient in torch.autograd.grad(y.sum(), inputs):
        assert torch.isfinite(gradient).all()


def test_without_decay_the_scan_is_a_running_sum() -> None:
    ones = torch.ones(1, 10, 1, 1, dtype=torch.float64)
    maps = torch.ones(1, 10, 1, dtype=torch.float64)
    y = ssd_chunked(ones, ones[..., 0], torch.zeros(1, dtype=torch.float64), maps, maps, chunk=4)
    torch.testing.assert_close(y.flatten(), torch.arange(1, 11, dtype=torch.float64))


def test_the_chunk_size_changes_rounding_only() -> None:
    inputs = _inputs(50, 1.0)
    reference = ssd_chunked(*inputs, 50)
    for chunk in (1, 7, 16, 49, 64):
        torch.testing.assert_close(ssd_chunked(*inputs, chunk), reference, rtol=1e-11, atol=1e-11)


def test_the_reference_takes_steps_in_a_wider_type_as_the_kernels_do() -> None:
    """Mixed as autocast makes them, but outside of it: the kernels' benchmark compares them so."""
    x, dt, decay, b, c = (tensor.detach() for tensor in _inputs(70, 1.0))
    b, c = b[:, :, None], c[:, :, None]
    narrow = [part.bfloat16() for part in (x, b, c)]
    y = ssd_reference(narrow[0], dt.float(), decay.float(), narrow[1], narrow[2], torch.ones(3), 16)
    assert y.dtype == torch.bfloat16
    rounded = [part.double() for part in narrow]
    exact = ssd_reference(
        rounded[0], dt.float().double(), decay.float().double(), rounded[1], rounded[2],
        torch.ones(3, dtype=torch.float64), 16,
    )  # fmt: skip
    assert (y.double() - exact).abs().max() <= 4e-3 * exact.abs().max()
