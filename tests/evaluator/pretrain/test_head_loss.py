"""The cross-entropy in pieces against torch's own over all logits at once."""

from collections.abc import Callable, Mapping, Sequence

import pytest
import torch
from torch.nn import functional
from torch.utils._python_dispatch import TorchDispatchMode

from aira_evaluator.pretrain.head_loss import head_loss

POSITIONS, WIDTH, VOCABULARY = 37, 8, 23


def inputs(dtype: torch.dtype) -> tuple[torch.Tensor, torch.Tensor, torch.Tensor]:
    generator = torch.Generator().manual_seed(0)
    hidden = torch.randn(POSITIONS, WIDTH, generator=generator, dtype=torch.float64)
    weight = torch.randn(VOCABULARY, WIDTH, generator=generator, dtype=torch.float64)
    target = torch.randint(0, VOCABULARY, (POSITIONS,), generator=generator)
    return hidden.to(dtype).requires_grad_(), weight.to(dtype).requires_grad_(), target


@pytest.mark.parametrize("piece", [1, 5, 37, 100])
@pytest.mark.parametrize("z_loss", [0.0, 0.3])
def test_loss_and_gradients_are_those_of_all_logits_at_once(piece: int, z_loss: float) -> None:
    hidden, weight, target = inputs(torch.float32)
    ours = head_loss(hidden, weight, target, z_loss=z_loss, piece=piece)
    (ours * 0.5).backward()  # type: ignore[no-untyped-call]
    other_hidden, other_weight, _ = inputs(torch.float64)
    logits = other_hidden @ other_weight.T
    expected = functional.cross_entropy(logits, target, reduction="sum") + z_loss * logits.logsumexp(-1).square().sum()
    (expected * 0.5).backward()  # type: ignore[no-untyped-call]
    assert float(ours.detach()) == pytest.approx(float(expected.detach()), rel=1e-6)
    assert hidden.grad is not None
    assert weight.grad is not None
    torch.testing.assert_close(hidden.grad.double(), other_hidden.grad, rtol=1e-5, atol=1e-5)
    torch.testing.assert_close(weight.grad.double(), other_weight.grad, rtol=1e-5, atol=1e-5)


def test_bfloat16_products_sum_their_gradients_in_float32() -> None:
    """Sixty-four equal pieces: sums in bfloat16 would stop growing after a few, since 256 + 1 is 256 there."""
    hidden, weight = torch.ones(1024, 2).requires_grad_(), torch.zeros(3, 2).requires_grad_()
    head_loss(hidden, weight, torch.zeros(1024, dtype=torch.long), piece=16, dtype=torch.bfloat16).backward()  # type: ignore[no-untyped-call]
    assert weight.grad is not None
    # softmax is a third each: the target's row has gradient 1024 (1/3 - 1), the others 1024 / 3.
    expected = torch.tensor([-1024 * 2 / 3, 1024 / 3, 1024 / 3])[:, None].expand(3, 2)
    torch.testing.assert_close(weight.grad, expected, rtol=4e-3, atol=0.0)


class Largest(TorchDispatchMode):  # type: ignore[no-untyped-call]
    """Notes the most numbers of any tensor that an operation returns."""

    def __init__(self) -> None:
        super().__init__()  # type: ignore[no-untyped-call]
        self.numbers = 0

    def __torch_dispatch__(
        self,
        func: Callable[..., object],
        types: Sequence[type],
        args: tuple[object, ...] = (),
        kwargs: Mapping[str, object] | None = None,
    ) -> object:
        out = func(*args, **(kwargs or {}))
        for each in out if isinstance(out, tuple | list) else [out]:
            if isinstance(each, torch.Tensor):
                self.numbers = max(self.numbers, each.numel())
        return out


def test_no_tensor_is_as_large_as_the_logits_of_all_positions() -> None:
    hidden, weight = torch.randn(512, 4).requires_grad_(), torch.randn(64, 4).requires_grad_()
    target = torch.zeros(512, dtype=torch.long)
    with Largest() as seen:
        head_loss(hidden, weight, target, piece=32).backward()  # type: ignore[no-untyped-call]
    assert seen.numbers == 32 * 64 == 512 * 64 // 16
    with Largest() as whole:
        functional.cross_entropy(hidden @ weight.T, target).backward()  # type: ignore[no-untyped-call]
    assert whole.numbers == 512 * 64


def test_without_gradients_none_are_made() -> None:
    hidden, weight, target = inputs(torch.float32)
    with torch.no_grad(), Largest() as seen:
        loss = head_loss(hidden, weight, target, piece=POSITIONS)
    assert not loss.requires_grad
    assert seen.numbers == POSITIONS * VOCABULARY
