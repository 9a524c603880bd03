"""What the scan must do whatever its inputs: linear, causal, indifferent to chunks, to groups and to steps of size 0."""

import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st
from kernel_comparison import normal, sequential_scan
from torch import Tensor

from aira_kernels.ssd import ssd_chunked, ssd_reference, ssd_sequential

Inputs = tuple[Tensor, Tensor, Tensor, Tensor, Tensor, Tensor]
few = settings(max_examples=12, deadline=None)


@st.composite
def scans(draw: st.DrawFn) -> tuple[Inputs, int]:
    """Inputs of any small shape, and a chunk."""
    batch, length, groups, each = (draw(st.integers(1, most)) for most in (2, 13, 3, 2))
    features, state, heads = draw(st.integers(1, 4)), draw(st.integers(1, 4)), groups * each
    seed = draw(st.integers(0, 999))
    x, dt = normal(batch, length, heads, features, seed=seed), normal(batch, length, heads, seed=seed + 1).abs()
    rates = -normal(heads, seed=seed + 2).abs() * draw(st.sampled_from((0.0, 1e-3, 1.0, 50.0)))
    b, c = (normal(batch, length, groups, state, seed=seed + more) for more in (3, 4))
    return (x, dt, rates, b, c, normal(heads, seed=seed + 5)), draw(st.integers(1, 16))


@few
@given(scans())
def test_it_equals_the_definition_for_any_shape_chunk_and_decay(case: tuple[Inputs, int]) -> None:
    inputs, chunk = case
    torch.testing.assert_close(ssd_reference(*inputs, chunk), sequential_scan(*inputs), rtol=1e-9, atol=1e-11)


@few
@given(scans(), st.floats(-3, 3))
def test_it_is_linear_in_its_input(case: tuple[Inputs, int], factor: float) -> None:
    (x, *rest), chunk = case
    other = normal(*x.shape, seed=77)
    mixed = ssd_reference(factor * x + other, *rest, chunk)
    apart = factor * ssd_reference(x, *rest, chunk) + ssd_reference(other, *rest, chunk)
    torch.testing.assert_close(mixed, apart, rtol=1e-9, atol=1e-9)


@few
@given(scans(), st.integers(0, 12))
def test_what_comes_later_changes_nothing_before_it(case: tuple[Inputs, int], cut: int) -> None:
    (x, dt, rates, b, c, skip), chunk = case
    at = min(cut, x.shape[1])
    whole = ssd_reference(x, dt, rates, b, c, skip, chunk)
    if at:
        part = ssd_reference(x[:, :at], dt[:, :at], rates, b[:, :at], c[:, :at], skip, chunk)
        torch.testing.assert_close(whole[:, :at], part, rtol=1e-9, atol=1e-11)


@few
@given(scans(), st.integers(0, 12))
def test_a_step_of_size_nought_is_as_if_the_position_were_not_there(case: tuple[Inputs, int], where: int) -> None:
    (x, dt, rates, b, c, skip), chunk = case
    at = min(where, x.shape[1])

    def grown(part: Tensor, *, empty: bool = False) -> Tensor:
        filling = torch.zeros_like(part[:, :1]) if empty else torch.full_like(part[:, :1], 3.0)
        return torch.cat([part[:, :at], filling, part[:, at:]], dim=1)

    longer = ssd_reference(grown(x), grown(dt, empty=True), rates, grown(b), grown(c), skip, chunk)
    kept = torch.cat([longer[:, :at], longer[:, at + 1 :]], dim=1)
    torch.testing.assert_close(kept, ssd_reference(x, dt, rates, b, c, skip, chunk), rtol=1e-9, atol=1e-11)


@few
@given(scans())
def test_heads_of_groups_are_scans_of_their_own(case: tuple[Inputs, int]) -> None:
    (x, dt, rates, b, c, skip), chunk = case
    groups, each = b.shape[2], x.shape[2] // b.shape[2]
    alone = [
        ssd_reference(x[:, :, at], dt[:, :, at], rates[at], b[:, :, [group]], c[:, :, [group]], skip[at], chunk)
        for group in range(groups)
        for at in [slice(group * each, (group + 1) * each)]
    ]
    torch.testing.assert_close(
        ssd_reference(x, dt, rates, b, c, skip, chunk), torch.cat(alone, 2), rtol=1e-9, atol=1e-11
    )


@few
@given(scans())
def test_without_steps_only_the_direct_path_is_left(case: tuple[Inputs, int]) -> None:
    (x, dt, rates, b, c, skip), chunk = case
    y = ssd_reference(x, torch.zeros_like(dt), rates, b, c, skip, chunk)
    torch.testing.assert_close(y, skip[:, None] * x)


@pytest.mark.parametrize(("groups", "chunk"), [(1, 2), (2, 3), (4, 8)])
def test_gradients_of_every_input_are_those_of_finite_differences(groups: int, chunk: int) -> None:
    x, dt = normal(1, 5, 4, 2), normal(1, 5, 4, seed=1).abs() + 0.1
    inputs = (
        x,
        dt,
        -normal(4, seed=2).abs(),
        normal(1, 5, groups, 3, seed=3),
        normal(1, 5, groups, 3, seed=4),
        normal(4),
    )
    leaves = [part.detach().clone().requires_grad_() for part in inputs]
    assert torch.autograd.gradcheck(lambda *parts: ssd_reference(*parts, chunk), leaves, fast_mode=True)


def test_groups_that_do_not_divide_the_heads_are_refused() -> None:
    x, dt, maps = normal(1, 2, 3, 2), normal(1, 2, 3).abs(), normal(1, 2, 2, 2)
    with pytest.raises(ValueError, match="3 heads in 2 groups: expected groups that divide the heads"):
        ssd_reference(x, dt, -torch.ones(3).double(), maps, maps, torch.ones(3).double(), 4)


@pytest.mark.parametrize("dtype", [torch.float32, torch.float64])
def test_results_have_the_type_of_their_input(dtype: torch.dtype) -> None:
    parts = [part.to(dtype) for part in (normal(1, 6, 2, 3), normal(1, 6, 2).abs(), -torch.ones(2), normal(1, 6, 4))]
    assert ssd_chunked(*parts, parts[3], chunk=4).dtype == dtype
    assert ssd_sequential(*parts, parts[3]).dtype == dtype


def test_a_state_fades_by_its_decay_alone() -> None:
    """One impulse, read by every later position: the response is exp(rate x time since), by hand."""
    length, rate, step = 9, -0.7, 0.3
    x = torch.zeros(1, length, 1, 1).double()
    x[0, 2] = 5.0
    ones = torch.ones(1, length, 1).double()
    y = ssd_chunked(x, ones * step, torch.tensor([rate]).double(), ones, ones, chunk=4).flatten()
    expected = [0.0, 0.0, *(5.0 * step * torch.tensor(rate * step * later).exp().item() for later in range(length - 2))]
    torch.testing.assert_close(y, torch.tensor(expected, dtype=torch.float64), rtol=1e-6, atol=1e-9)
