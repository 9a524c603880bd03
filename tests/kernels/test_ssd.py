"""The chunked scan against the sequential one, forward and backward, in float64."""

import pytest
import torch
from torch import Tensor

from aira_kernels.ssd import ssd_chunked, ssd_sequential


def _inputs(length: int, rate: float, seed: int = 0) -> list[Tensor]:
    generator = torch.Generator().manual_seed(seed)

    def normal(*shape: int) -> Tensor:
        return torch.randn(*shape, generator=generator, dtype=torch.float64)

    batch, heads, features, state = 2, 3, 4, 5
    tensors = [
        normal(batch, length, heads, features),
        torch.rand(batch, length, heads, generator=generator, dtype=torch.float64) * 0.5 + 1e-3,
        -rate * (1 + torch.rand(heads, generator=generator, dtype=torch.float64)),
        normal(batch, length, state),
        normal(batch, length, state),
    ]
    return [tensor.requires_grad_() for tensor in tensors]


@pytest.mark.parametrize("rate", [1e-8, 1.0, 1e3])
@pytest.mark.parametrize(
    ("length", "chunk"), [(1, 64), (1, 1), (7, 1), (5, 3), (64, 64), (65, 64), (63, 16), (130, 64)]
)
def test_chunked_equals_sequential(length: int, chunk: int, rate: float) -> None:
    inputs = _inputs(length, rate)
    direction = torch.randn(2, length, 3, 4, generator=torch.Generator().manual_seed(1), dtype=torch.float64)
    outputs, gradients = [], []
    for y in (ssd_chunked(*inputs, chunk=chunk), ssd_sequential(*inputs)):
        outputs.append(y)
        gradients.append(torch.autograd.grad((y * direction).sum(), inputs))
    torch.testing.assert_close(outputs[0], outputs[1], rtol=1e-9, atol=1e-10)
    for name, ours, oracle in zip(("x", "dt", "a", "b", "c"), *gradients, strict=True):
        torch.testing.assert_close(ours, oracle, rtol=1e-8, atol=1e-9, msg=lambda text, name=name: f"{name}: {text}")


def test_a_chunk_that_forgets_everything_gives_finite_gradients_in_float32() -> None:
    inputs = [tensor.detach().float().requires_grad_() for tensor in _inputs(130, 1e4)]
    y = ssd_chunked(*inputs, chunk=64)
    y.sum().backward()
    assert torch.isfinite(y).all()
    for tensor in inputs:
        assert tensor.grad is not None
        assert torch.isfinite(tensor.grad).all()


def test_without_decay_the_scan_is_a_running_sum() -> None:
    ones = torch.ones(1, 10, 1, 1, dtype=torch.float64)
    maps = torch.ones(1, 10, 1, dtype=torch.float64)
    y = ssd_chunked(ones, ones[..., 0], torch.zeros(1, dtype=torch.float64), maps, maps, chunk=4)
    torch.testing.assert_close(y.flatten(), torch.arange(1, 11, dtype=torch.float64))


def test_the_chunk_size_changes_rounding_only() -> None:
    inputs = _inputs(50, 1.0)
    reference = ssd_chunked(*inputs, chunk=50)
    for chunk in (1, 7, 16, 49, 64):
        torch.testing.assert_close(ssd_chunked(*inputs, chunk=chunk), reference, rtol=1e-11, atol=1e-11)
