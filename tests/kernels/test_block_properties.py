"""Blocks and their inner operations: batches and positions kept apart, types kept, sizes free."""

import math
from typing import Any

import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st
from kernel_comparison import normal
from torch import Tensor, nn
from torch.nn import functional

from aira_contract.model_sizes import ModelSize
from aira_contract.primitives import BY_SYMBOL, SYMBOLS
from aira_contract.training_arithmetic import count_layers, layer_parameters, parameters_with_embedding
from aira_kernels import backend
from aira_kernels.attention import GroupedQueryAttention, RotaryTable
from aira_kernels.convolution import causal_convolution, convolution_silu
from aira_kernels.large import LargeLanguageModel
from aira_kernels.layers import LAYERS
from aira_kernels.mamba2 import Mamba2
from aira_kernels.norm import RmsNorm
from aira_kernels.reference import causal_attention, rms_norm
from aira_kernels.sizes import BlockSizes

few = settings(max_examples=15, deadline=None)
SMALL = BlockSizes(width=16, attention_head_dim=4, mamba_head_dim=8, mamba_state=4, mamba_chunk=4)


def generator(seed: int = 0) -> torch.Generator:
    return torch.Generator().manual_seed(seed)


def block(symbol: str, sizes: BlockSizes = SMALL) -> nn.Module:
    return LAYERS[symbol].searched(sizes, generator=generator()).double()


# Blocks --------------------------------------------------------------------------------------------------------------


@pytest.mark.parametrize("symbol", SYMBOLS)
def test_examples_of_a_batch_do_not_meet(symbol: str) -> None:
    layer, x = block(symbol), normal(3, 7, SMALL.width)
    together = layer(x)
    for example in range(3):
        torch.testing.assert_close(together[[example]], layer(x[[example]]), rtol=1e-9, atol=1e-11)


@pytest.mark.parametrize("symbol", SYMBOLS)
def test_a_primitive_mixes_positions_as_its_table_says(symbol: str) -> None:
    layer, x = block(symbol), normal(1, 6, SMALL.width)
    moved = x.clone()
    moved[:, 2] += 1
    changed = (layer(x) - layer(moved)).abs().amax(-1)[0] > 1e-9
    assert changed[2]
    assert changed[3:].any().item() is BY_SYMBOL[symbol].mixes_positions
    assert not changed[:2].any()


@pytest.mark.parametrize("symbol", SYMBOLS)
@pytest.mark.parametrize("dtype", [torch.float32, torch.float64, torch.bfloat16])
def test_a_block_keeps_the_type_of_its_input(symbol: str, dtype: torch.dtype) -> None:
    layer = LAYERS[symbol].searched(SMALL, generator=generator()).to(dtype)
    out = layer(normal(2, 5, SMALL.width).to(dtype))
    assert out.dtype == dtype
    assert torch.isfinite(out.float()).all()


@pytest.mark.parametrize("symbol", SYMBOLS)
def test_every_weight_of_a_block_has_a_gradient(symbol: str) -> None:
    layer = block(symbol)
    layer(normal(2, 9, SMALL.width)).square().sum().backward()
    for name, parameter in layer.named_parameters():
        assert parameter.grad is not None, name
        assert parameter.grad.abs().sum() > 0, name


@few
@given(st.sampled_from((1, 2, 3, 4, 8, 64)))
def test_mambas_chunk_changes_rounding_only(chunk: int) -> None:
    x = normal(2, 10, SMALL.width)
    sizes = BlockSizes(width=16, attention_head_dim=4, mamba_head_dim=8, mamba_state=4, mamba_chunk=chunk)
    torch.testing.assert_close(block("Mb", sizes)(x), block("Mb")(x), rtol=1e-9, atol=1e-11)


def test_mamba_equals_the_textbook_formula() -> None:
    """Projection, convolution, steps, recurrence, skip, gate, norm and projection, written out one after the other."""
    layer, x = block("Mb"), normal(2, 7, SMALL.width)
    assert isinstance(layer, Mamba2)
    inner, heads, state = SMALL.mamba_inner, SMALL.mamba_heads, SMALL.mamba_state
    gate, mixed, step = (x @ layer.project_in.weight.T).split([inner, inner + 2 * state, heads], -1)
    taps = [functional.pad(mixed, (0, 0, 3 - tap, 0))[:, :7] * layer.convolution.weight_TE[tap] for tap in range(4)]
    mixed = functional.silu(torch.stack(taps).sum(0) + layer.convolution.bias_E)
    values, b, c = mixed.split([inner, state, state], -1)
    values = values.view(2, 7, heads, -1)
    step = (step + layer.step_bias_H).exp().add(1).log()
    hidden, outputs = torch.zeros(2, heads, values.shape[-1], state).double(), []
    for t in range(7):
        fading = (-step[:, t] * layer.log_rate_H.exp()).exp()
        assert (fading < 1).all(), "what a head remembers only fades"
        arriving = step[:, t, :, None, None] * values[:, t, ..., None] * b[:, t, None, None]
        hidden = fading[..., None, None] * hidden + arriving
        outputs.append(hidden @ c[:, t, None, :, None])
    y = (torch.stack(outputs, 1)[..., 0] + layer.skip_H[:, None] * values).flatten(2) * functional.silu(gate)
    y = y / (y.square().mean(-1, keepdim=True) + 1e-5).sqrt() * layer.norm_weight
    torch.testing.assert_close(layer(x), y @ layer.project_out.weight.T)


def test_mamba_starts_with_the_steps_that_were_drawn() -> None:
    """The bias is softplus undone: with a projection of nought, the step is the drawn one again."""
    layer = Mamba2(SMALL, generator=generator()).double()
    steps = functional.softplus(layer.step_bias_H)
    assert ((steps >= 1e-4) & (steps <= 0.1 + 1e-6)).all()
    torch.testing.assert_close(steps + torch.log(-torch.expm1(-steps)), layer.step_bias_H.data, rtol=1e-6, atol=1e-6)


@few
@given(st.integers(1, 6), st.integers(1, 4), st.integers(1, 3), st.integers(1, 8), st.integers(1, 6))
def test_sizes_of_the_search_hang_together(heads: int, half: int, expansion: int, hidden: int, state: int) -> None:
    head_dim = 2 * half
    width = heads * head_dim
    sizes = BlockSizes(width, hidden, head_dim, expansion, mamba_head_dim=head_dim, mamba_state=state)
    assert sizes.attention_heads * sizes.attention_head_dim == sizes.width
    assert sizes.mamba_heads * sizes.mamba_head_dim == sizes.mamba_inner == expansion * width
    for symbol in SYMBOLS:
        assert LAYERS[symbol].searched(sizes, generator=generator())(torch.zeros(1, 2, width)).shape == (1, 2, width)


# Full size -----------------------------------------------------------------------------------------------------------


@st.composite
def sizes(draw: st.DrawFn) -> ModelSize:
    kv_heads, shared, half = draw(st.integers(1, 3)), draw(st.integers(1, 3)), draw(st.integers(1, 4))
    head_dim, heads = 2 * half, kv_heads * shared
    hidden, state = draw(st.integers(1, 20)), draw(st.integers(1, 6))
    return ModelSize(
        "tiny", "3-primitive", 0, heads * head_dim, heads, head_dim, kv_heads, hidden, state,
        mamba_head_dim=head_dim, mamba_convolution=draw(st.integers(1, 5)), mamba_chunk=4,
    )  # fmt: skip


@few
@given(sizes(), st.lists(st.sampled_from(SYMBOLS), min_size=1, max_size=4))
def test_parameters_are_those_that_the_host_counts_for_any_sizes(size: ModelSize, pattern: list[str]) -> None:
    model = LargeLanguageModel(pattern, size, generator=generator(), device="meta")
    counted = sum(parameter.numel() for parameter in model.parameters())
    assert counted == parameters_with_embedding(count_layers(pattern), size)
    for symbol, norm, layer in zip(pattern, model.norms, model.layers, strict=True):
        both = sum(parameter.numel() for part in (norm, layer) for parameter in part.parameters())
        assert both == layer_parameters(symbol, size)
    assert model.architecture == tuple(pattern)


@few
@given(sizes())
def test_grouped_attention_is_attention_with_its_keys_repeated(size: ModelSize) -> None:
    shared = size.query_heads // size.kv_heads
    query, key, value = (
        normal(1, heads, 5, size.head_dim, seed=heads) for heads in (size.query_heads, size.kv_heads, size.kv_heads)
    )
    whole = causal_attention(query, key.repeat_interleave(shared, 1), value.repeat_interleave(shared, 1))
    torch.testing.assert_close(causal_attention(query, key, value), whole)


def test_a_large_block_reads_no_later_position_in_bfloat16_either() -> None:
    size = ModelSize("tiny", "2-primitive", 0, 16, 2, 8, 1, 24, 4, mamba_head_dim=8, mamba_chunk=4)
    layer = GroupedQueryAttention(size, generator=generator()).bfloat16()
    x = normal(1, 6, 16).bfloat16()
    changed = x.clone()
    changed[:, 4:] = 1
    assert torch.equal(layer(x)[:, :4], layer(changed)[:, :4])


# Inner operations ----------------------------------------------------------------------------------------------------


@few
@given(st.integers(1, 9), st.integers(1, 6), st.integers(1, 20))
def test_attention_averages_the_values_it_has_seen(length: int, heads: int, head_dim: int) -> None:
    """With equal scores everywhere a position's result is the mean of all values up to it, whatever was filled up."""
    value = normal(1, heads, length, head_dim)
    same = torch.zeros_like(value)
    mean = value.cumsum(2) / torch.arange(1, length + 1)[:, None]
    torch.testing.assert_close(causal_attention(same, same, value), mean, rtol=1e-9, atol=1e-11)


@few
@given(st.integers(1, 12), st.integers(1, 7), st.integers(1, 5), st.integers(0, 11))
def test_the_convolution_is_linear_and_moves_with_its_input(length: int, taps: int, channels: int, shift: int) -> None:
    weight, bias, x = normal(taps, channels, seed=1), normal(channels, seed=2), normal(2, length, channels)
    none = torch.zeros(channels).double()
    torch.testing.assert_close(causal_convolution(3 * x, weight, bias), 3 * causal_convolution(x, weight, none) + bias)
    moved = functional.pad(x, (0, 0, shift, 0))
    torch.testing.assert_close(causal_convolution(moved, weight, none)[:, shift:], causal_convolution(x, weight, none))
    torch.testing.assert_close(convolution_silu(x, weight, bias), functional.silu(causal_convolution(x, weight, bias)))


@pytest.mark.parametrize("taps", [1, 4, 9])
def test_taps_beyond_the_beginning_read_noughts(taps: int) -> None:
    ones = torch.ones(1, 5, 1).double()
    y = causal_convolution(ones, torch.ones(taps, 1).double(), torch.zeros(1).double()).flatten()
    assert y.tolist() == [min(position + 1, taps) for position in range(5)]


@few
@given(st.floats(0.01, 100), st.integers(1, 9))
def test_the_norm_forgets_how_large_its_input_was(factor: float, width: int) -> None:
    x, weight = normal(4, width) + 0.5, normal(width, seed=1)
    torch.testing.assert_close(rms_norm(factor * x, weight, 0.0), rms_norm(x, weight, 0.0))
    scale = rms_norm(x, torch.ones(width).double(), 0.0).square().mean(-1)
    torch.testing.assert_close(scale, torch.ones(4).double())


def test_a_gate_of_nought_closes_and_epsilon_keeps_the_result_finite() -> None:
    x, closed = normal(2, 6), torch.zeros(2, 6).double()
    assert torch.equal(rms_norm(x, torch.ones(6).double(), 1e-5, closed), closed)
    assert torch.equal(RmsNorm(6).double()(closed), closed)


@pytest.mark.parametrize("head_dim", [2, 4, 10])
def test_turning_keeps_lengths_and_position_nought_keeps_all(head_dim: int) -> None:
    x = normal(1, 2, 6, head_dim)
    turned = RotaryTable(head_dim).rotate(x)
    torch.testing.assert_close(turned.norm(dim=-1), x.norm(dim=-1))
    assert torch.equal(turned[..., 0, :], x[..., 0, :])


def test_a_table_grows_with_what_it_turns_and_follows_its_type() -> None:
    table = RotaryTable(4)
    short = table.rotate(normal(1, 1, 3, 4))
    long = table.rotate(normal(1, 1, 9, 4))
    assert table.cosine_LP.shape == (9, 4)
    torch.testing.assert_close(RotaryTable(4).rotate(normal(1, 1, 3, 4)), short)
    assert long.shape == (1, 1, 9, 4)
    kept = table.cosine_LP
    table.rotate(normal(1, 1, 5, 4))
    assert table.cosine_LP is kept, "what is long enough is not made again"
    assert table.rotate(normal(1, 1, 5, 4).float()).dtype == torch.float32
    assert table.cosine_LP.dtype == torch.float32
    assert not table.state_dict(), "a table is no weight"


def test_distant_positions_turn_by_exact_angles() -> None:
    """As float32, the second pair's angle at position 8,191 would be rounded in its fourth decimal."""
    unit = torch.zeros(1, 1, 8192, 64)
    unit[..., 1] = 1.0  # paired with feature 33
    turned = RotaryTable(64).rotate(unit)[0, 0, -1]
    angle = 8191 * 10_000 ** (-2 / 64)
    assert turned[[1, 33]].tolist() == pytest.approx([math.cos(angle), math.sin(angle)], abs=1e-6)


OPERATIONS: dict[str, tuple[Any, tuple[Tensor, ...], dict[str, Any]]] = {
    "norm": (backend.norm, (normal(2, 6), normal(6, seed=1)), {"epsilon": 1e-5, "gate": normal(2, 6, seed=2)}),
    "convolution": (backend.convolution, (normal(1, 5, 3), normal(4, 3), normal(3)), {}),
    "attention": (backend.attention, tuple(normal(1, heads, 5, 4, seed=heads) for heads in (4, 2, 2)), {}),
    "scan": (
        backend.scan,
        (normal(1, 5, 2, 3), normal(1, 5, 2).abs(), -torch.ones(2).double(), normal(1, 5, 1, 4), normal(1, 5, 1, 4),
         normal(2)),
        {"chunk": 2},
    ),
}  # fmt: skip


@pytest.mark.parametrize("name", sorted(OPERATIONS))
def test_each_operation_goes_to_whom_was_chosen_for_it(name: str) -> None:
    function, tensors, options = OPERATIONS[name]
    right = backend._IMPLEMENTATIONS[name]["reference"]  # type: ignore[index]
    for requested in ("auto", "reference"):
        torch.testing.assert_close(function(requested, *tensors, **options), right(*tensors, *options.values()))
    with pytest.raises(backend.BackendError):
        function("mamba_ssm", *tensors, **options)
