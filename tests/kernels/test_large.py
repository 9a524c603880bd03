"""Full-size models: parameters against the host's formulas, the blocks against the textbook."""

import math

import pytest
import torch
from torch.nn import functional

from aira_contract import training_arithmetic as arithmetic
from aira_contract.model_sizes import SCALES, ModelSize, model_size, space_of
from aira_contract.patterns import PatternError, read_pattern
from aira_kernels.attention import GroupedQueryAttention
from aira_kernels.large import LargeLanguageModel, build_large
from aira_kernels.mamba2 import Mamba2
from aira_kernels.mlp import SwigluMlp
from aira_kernels.norm import RmsNorm

TINY = ModelSize("tiny", "2-primitive", 0, 64, 4, 16, 2, 96, 8, mamba_head_dim=32, mamba_chunk=4)
PUBLISHED = ("16(A-M)", "5(2A-M)-A", "2(3A-4(M-A)-5M)", "8(Mb-M)-Mb", "2Mb-M-3A", "SSMASSMASSMASSMM")


def _generator(seed: int = 0) -> torch.Generator:
    return torch.Generator().manual_seed(seed)


def _count(module: torch.nn.Module) -> int:
    return sum(parameter.numel() for parameter in module.parameters())


@pytest.mark.parametrize("scale", SCALES)
@pytest.mark.parametrize("pattern", PUBLISHED)
def test_parameters_are_the_formulas_to_the_last_one(pattern: str, scale: str) -> None:
    model = build_large(pattern, scale, generator=_generator(), device="meta")
    layers = read_pattern(pattern)
    size = model_size(scale, space_of(layers))
    counts = arithmetic.count_layers(layers)
    assert _count(model) == arithmetic.parameters_with_embedding(counts, size)
    assert _count(model) - model.embed.weight.numel() == arithmetic.parameters(counts, size)
    for symbol, norm, layer in zip(layers, model.norms, model.layers, strict=True):
        assert _count(norm) + _count(layer) == arithmetic.layer_parameters(symbol, size)


@pytest.mark.parametrize(("scale", "parameters"), [("350M", 14_642_576), ("1B", 25_847_232), ("3B", 58_530_592)])
def test_a_mamba_block_has_the_published_number_of_parameters(scale: str, parameters: int) -> None:
    assert _count(Mamba2(model_size(scale, "3-primitive"), generator=_generator(), device="meta")) == parameters


@pytest.mark.parametrize("symbol", ["M", "mA", "Mb"])
@pytest.mark.parametrize("length", [1, 9])
def test_no_position_reads_a_later_one(symbol: str, length: int) -> None:
    model = LargeLanguageModel((symbol,), TINY, generator=_generator(), vocabulary=11).double()
    x = torch.randn(2, length, TINY.width, generator=_generator(1), dtype=torch.float64).requires_grad_()
    y = model.layers[0](x)
    assert y.shape == x.shape
    for position in range(length):
        (gradient,) = torch.autograd.grad(y[:, position].sum(), x, retain_graph=True)
        assert torch.equal(gradient[:, position + 1 :], torch.zeros_like(gradient[:, position + 1 :]))


def test_grouped_attention_equals_the_textbook_formula() -> None:
    block = GroupedQueryAttention(TINY, generator=_generator()).double()
    x = torch.randn(2, 7, TINY.width, generator=_generator(1), dtype=torch.float64)
    query, key, value = block.project_in(x).view(2, 7, 8, 16).transpose(1, 2).split((4, 2, 2), dim=1)
    # The block turns in float32, as it does for 16-bit types; the angles here are exact.
    angle = torch.arange(7.0)[:, None] * 500_000.0 ** (-torch.arange(0, 16, 2) / 16)
    turn = torch.polar(torch.ones_like(angle), angle)
    query, key = (
        torch.view_as_real(torch.complex(*part.float().chunk(2, dim=-1)) * turn).transpose(-1, -2).flatten(-2).double()
        for part in (query, key)
    )
    heads = []
    for head in range(4):
        scores = query[:, head] @ key[:, head // 2].transpose(-1, -2) / 4
        scores = scores.masked_fill(torch.ones(7, 7, dtype=torch.bool).triu(1), float("-inf"))
        heads.append(scores.softmax(-1) @ value[:, head // 2])
    expected = block.project_out(torch.cat(heads, dim=-1))
    torch.testing.assert_close(block(x), expected, rtol=1e-5, atol=1e-6)


def test_swiglu_and_rms_norm_equal_their_formulas() -> None:
    mlp = SwigluMlp(TINY, generator=_generator())
    x = torch.randn(3, TINY.width, generator=_generator(1))
    gate, up = mlp.expand.weight.chunk(2)
    expected = (functional.silu(x @ gate.T) * (x @ up.T)) @ mlp.contract.weight.T
    torch.testing.assert_close(mlp(x), expected)
    norm = RmsNorm(TINY.width)
    with torch.no_grad():
        norm.weight_D.uniform_(generator=_generator(2))
    torch.testing.assert_close(norm(x), x / (x.square().mean(-1, keepdim=True) + 1e-5).sqrt() * norm.weight_D)


def test_the_model_reads_its_head_from_the_embedding() -> None:
    model = LargeLanguageModel(("mA", "Mb", "M"), TINY, generator=_generator(), vocabulary=11)
    tokens = torch.randint(0, 11, (2, 10), generator=_generator())
    logits = model(tokens)
    assert logits.shape == (2, 10, 11)
    torch.testing.assert_close(logits, model.hidden(tokens) @ model.embed.weight.T)
    changed = tokens.clone()
    changed[:, 6:] = 0
    torch.testing.assert_close(logits[:, :6], model(changed)[:, :6])


def test_bfloat16_stays_near_float32_and_turns_positions_exactly() -> None:
    block = GroupedQueryAttention(TINY, generator=_generator())
    x = torch.randn(1, 300, TINY.width, generator=_generator(1))
    exact = block(x)
    rounded = block.bfloat16()(x.bfloat16())
    assert rounded.dtype == torch.bfloat16
    assert block.rotary.cosine_LP.dtype == torch.float32
    assert (rounded.float() - exact).abs().max() < 0.03 * exact.abs().max()


def test_initial_weights_come_from_the_generator_alone_and_shrink_with_depth() -> None:
    before = torch.random.get_rng_state()
    first, second = (
        LargeLanguageModel(("mA", "Mb", "M", "M") * 2, TINY, generator=_generator(5), vocabulary=11) for _ in range(2)
    )
    assert torch.equal(torch.random.get_rng_state(), before)
    for ours, same in zip(first.parameters(), second.parameters(), strict=True):
        assert torch.equal(ours, same)
    for layer, last in ((0, "project_out"), (1, "project_out"), (2, "contract")):
        weight = getattr(first.layers[layer], last).weight
        assert weight.std().item() == pytest.approx(0.02 / math.sqrt(16), rel=0.1)
    assert first.layers[0].project_in.weight.std().item() == pytest.approx(0.02, rel=0.1)


def test_an_unreadable_pattern_or_an_unknown_scale_makes_no_model() -> None:
    with pytest.raises(PatternError, match="character 2: 'x' is no symbol"):
        build_large("AxM", "1B", generator=_generator(), device="meta")
    with pytest.raises(ValueError, match="350M, 1B, 3B"):
        build_large("A-M", "7B", generator=_generator(), device="meta")
