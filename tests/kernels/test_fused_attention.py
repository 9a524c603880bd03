"""Rotary attention in Triton against the formula in float64, forward and backward."""

import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st
from kernel_comparison import assert_equal_to, normal, results
from kernel_devices import INTERPRETED, OPERATOR_CHECKS, kernel_device
from torch import Tensor

DEVICE = kernel_device()

from aira_kernels.fused.attention import rotary_attention  # noqa: E402

pytestmark = [pytest.mark.gpu, pytest.mark.usefixtures("fresh_memory_is_no_number")]
EXACT = torch.float64 if INTERPRETED else torch.float32
"""Products in float64 are a test's luxury: on a GPU they need a newer Triton than the cuda images hold."""
TOLERANCE = {torch.float64: 1e-11, torch.float32: 1e-5, torch.float16: 4e-3, torch.bfloat16: 3e-2}


def _tables(length: int, head_dim: int) -> tuple[Tensor, Tensor]:
    angle = torch.arange(length, dtype=torch.float64)[:, None] * 0.3 ** torch.arange(head_dim // 2)
    return torch.cat((angle.cos(), angle.cos()), -1), torch.cat((-angle.sin(), angle.sin()), -1)


def _oracle(packed: Tensor) -> Tensor:
    """Written out with complex numbers: a turn is a product with exp(i angle)."""
    length, half = packed.shape[1], packed.shape[4] // 2
    angle = torch.arange(length, dtype=torch.float64)[:, None, None] * 0.3 ** torch.arange(half)
    query, key, value = packed.unbind(2)
    turned = [torch.complex(part[..., :half], part[..., half:]) * torch.polar(torch.ones_like(angle), angle)
              for part in (query, key)]  # fmt: skip
    scores = torch.einsum("bqhp,bkhp->bhqk", turned[0], turned[1].conj()).real * packed.shape[4] ** -0.5
    scores = scores.masked_fill(torch.ones(length, length, dtype=torch.bool).triu(1), float("-inf"))
    return torch.einsum("bhqk,bkhp->bqhp", scores.softmax(-1), value)


def _ours(packed: Tensor) -> Tensor:
    tables = (table.to(packed) for table in _tables(packed.shape[1], packed.shape[4]))
    return rotary_attention(packed, *tables)


def _input(batch: int, length: int, heads: int, head_dim: int, dtype: torch.dtype = EXACT) -> Tensor:
    return normal(batch, length, 3, heads, head_dim).to(dtype=dtype, device=DEVICE)


@pytest.mark.parametrize("shape", [(1, 1, 1, 2), (2, 5, 3, 8), (1, 33, 2, 16), (1, 70, 1, 8), (1, 130, 1, 4)])
def test_every_shape_equals_the_formula(shape: tuple[int, int, int, int]) -> None:
    assert_equal_to(_oracle, _ours, [_input(*shape)], tolerance=TOLERANCE[EXACT])


@pytest.mark.parametrize("dtype", [torch.float32, torch.float16, torch.bfloat16])
def test_every_type_equals_the_formula(dtype: torch.dtype) -> None:
    # Tables come in the type of what they turn, so the oracle must see them rounded too: angles of 0 alone round exactly.
    packed = _input(1, 20, 2, 8, dtype)
    still = [torch.ones(20, 8), torch.zeros(20, 8)]

    def ours(x: Tensor) -> Tensor:
        return rotary_attention(x, *(table.to(x) for table in still))

    def oracle(x: Tensor) -> Tensor:
        query, key, value = (part.transpose(1, 2) for part in x.unbind(2))
        scores = (query @ key.mT) * 8**-0.5
        seen = torch.ones(20, 20, dtype=torch.bool).tril()
        return (scores.masked_fill(~seen, float("-inf")).softmax(-1) @ value).transpose(1, 2)

    assert_equal_to(oracle, ours, [packed], tolerance=TOLERANCE[dtype])


@settings(max_examples=3 if INTERPRETED else 10, deadline=None, derandomize=True)
@given(st.integers(1, 2), st.integers(1, 40), st.integers(1, 3), st.integers(1, 9))
def test_small_shapes_equal_the_formula(batch: int, length: int, heads: int, half: int) -> None:
    assert_equal_to(_oracle, _ours, [_input(batch, length, heads, 2 * half)], tolerance=TOLERANCE[EXACT])


def test_large_scores_stay_finite_and_right() -> None:
    assert_equal_to(_oracle, _ours, [_input(1, 40, 1, 8) * 30], tolerance=100 * TOLERANCE[EXACT])


def test_a_position_reads_no_later_one() -> None:
    packed = _input(1, 40, 2, 8)
    before = _ours(packed)
    packed[:, 23:] = 7.0
    assert torch.equal(_ours(packed)[:, :23], before[:, :23])


def test_any_layout_in_memory_gives_the_same() -> None:
    packed = _input(2, 9, 2, 8)
    wide = normal(2, 9, 60).to(packed)
    wide[..., 4:52] = packed.flatten(2)
    direction = normal(2, 1, 1, 8).expand(2, 9, 2, 8)
    crosswise = wide[..., 4:52].unflatten(2, (3, 2, 8))
    for ours, same in zip(results(_ours, [crosswise], direction), results(_ours, [packed], direction), strict=True):
        assert torch.equal(ours, same)


@pytest.mark.skipif(not INTERPRETED, reason="finite differences need float64")
def test_gradients_are_those_of_finite_differences() -> None:
    assert torch.autograd.gradcheck(_ours, [_input(1, 2, 1, 2).requires_grad_()])


def test_two_calls_give_the_same_digits() -> None:
    packed, direction = _input(2, 70, 2, 8, torch.float32), normal(2, 70, 2, 8)
    for first, second in zip(*(results(_ours, [packed], direction) for _ in range(2)), strict=True):
        assert torch.equal(first, second)


def test_torch_accepts_the_operators() -> None:
    packed = _input(1, 6, 2, 4, torch.float32).requires_grad_()
    tables = tuple(table.to(packed.detach()) for table in _tables(6, 4))
    torch.library.opcheck(
        torch.ops.aira_kernels.rotary_attention.default, (packed, *tables), test_utils=OPERATOR_CHECKS
    )


@pytest.mark.parametrize(
    ("packed", "table", "message"),
    [
        ((1, 4, 2, 2, 8), (4, 8), r"expected \(B, L, 3, H, P\)"),
        ((1, 0, 3, 2, 8), (0, 8), "nothing empty"),
        ((1, 4, 3, 2, 7), (4, 7), "an even number of at most 64 features"),
        ((1, 4, 3, 2, 66), (4, 66), "an even number of at most 64 features"),
        ((1, 4, 3, 2, 8), (5, 8), r"has shape \[5, 8\], expected \[4, 8\]"),
    ],
)
def test_shapes_that_do_not_fit_are_refused(packed: tuple[int, ...], table: tuple[int, ...], message: str) -> None:
    with pytest.raises(ValueError, match=message):
        rotary_attention(torch.ones(packed), torch.ones(table), torch.ones(table))
