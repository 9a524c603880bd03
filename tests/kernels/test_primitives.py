"""Sizes, causality and positions of the primitives and the two backbones."""

import math

import pytest
import torch
from torch import Tensor, nn
from torch.nn import functional

from aira_contract.model_sizes import model_size
from aira_contract.primitives import SYMBOLS
from aira_kernels.attention import CausalSelfAttention, RotaryTable
from aira_kernels.backbone import AutoEncoder, LanguageModel
from aira_kernels.layers import LAYERS
from aira_kernels.mamba2 import CausalConvolution, Mamba2
from aira_kernels.mlp import ReluMlp
from aira_kernels.sizes import BlockSizes

SMALL = BlockSizes(width=32, attention_head_dim=8, mamba_head_dim=32, mamba_state=8, mamba_chunk=4)


def _generator(seed: int = 0) -> torch.Generator:
    return torch.Generator().manual_seed(seed)


def _random(*shape: int, seed: int = 1) -> Tensor:
    return torch.randn(*shape, generator=_generator(seed))


@pytest.mark.parametrize(("symbol", "parameters"), [("M", 131_072), ("mA", 66_048), ("Mb", 117_388)])
def test_the_paper_sizes_have_the_published_parameter_counts(symbol: str, parameters: int) -> None:
    block = LAYERS[symbol].searched(BlockSizes(), generator=_generator())
    assert sum(parameter.numel() for parameter in block.parameters()) == parameters


@pytest.mark.parametrize("symbol", ["M", "mA", "Mb"])
@pytest.mark.parametrize("length", [1, 9, 16])
def test_no_position_reads_a_later_one(symbol: str, length: int) -> None:
    block = LAYERS[symbol].searched(SMALL, generator=_generator()).double()
    x = _random(2, length, SMALL.width).double().requires_grad_()
    y = block(x)
    assert y.shape == x.shape
    for position in range(length):
        (gradient,) = torch.autograd.grad(y[:, position].sum(), x, retain_graph=True)
        assert torch.equal(gradient[:, position + 1 :], torch.zeros_like(gradient[:, position + 1 :]))


@pytest.mark.parametrize("symbol", ["mA", "Mb"])
def test_a_mixer_reads_every_earlier_position(symbol: str) -> None:
    block = LAYERS[symbol].searched(SMALL, generator=_generator()).double()
    x = _random(1, 12, SMALL.width).double().requires_grad_()
    (gradient,) = torch.autograd.grad(block(x)[:, -1].sum(), x)
    assert (gradient.abs().sum(-1) > 0).all()


def test_the_mlp_reads_its_own_position_only() -> None:
    block = ReluMlp(SMALL, generator=_generator())
    x = _random(1, 6, SMALL.width)
    torch.testing.assert_close(block(x)[:, 3:4], block(x[:, 3:4]))


def test_rotary_products_depend_on_distance_alone() -> None:
    table = RotaryTable(8)
    query, key = _random(8, seed=2).double(), _random(8, seed=3).double()
    turned_query, turned_key = (table.rotate(vector.expand(1, 1, 20, 8)) for vector in (query, key))
    products = (turned_query @ turned_key.transpose(-1, -2))[0, 0]
    for offset in (0, 1, 7):
        diagonal = products.diagonal(offset)
        torch.testing.assert_close(diagonal, diagonal[:1].expand_as(diagonal))
    assert not torch.isclose(products[0, 0], products[0, 1])
    torch.testing.assert_close(turned_query.norm(dim=-1), query.norm().expand(1, 1, 20))


def test_rotary_turns_each_pair_by_its_own_frequency() -> None:
    unit = torch.zeros(1, 1, 3, 8, dtype=torch.float64)
    unit[..., 1] = 1.0  # paired with feature 5; its frequency is 10000 ** (-2 / 8)
    turned = RotaryTable(8).rotate(unit)[0, 0, 2]
    angle = 2 * 10_000 ** (-2 / 8)
    assert turned[1].item() == pytest.approx(math.cos(angle))
    assert turned[5].item() == pytest.approx(math.sin(angle))


def test_attention_can_be_trained_after_predicting() -> None:
    block = CausalSelfAttention(SMALL, generator=_generator())
    with torch.inference_mode():
        block(_random(1, 5, SMALL.width))
    x = _random(1, 5, SMALL.width).requires_grad_()
    (gradient,) = torch.autograd.grad(block(x).sum(), x)
    assert gradient.abs().sum() > 0


def test_attention_equals_the_textbook_formula() -> None:
    block = CausalSelfAttention(SMALL, generator=_generator()).double()
    x = _random(2, 7, SMALL.width).double()
    packed = functional.linear(x, block.project_in.weight, block.project_in.bias).view(2, 7, 3, 4, 8)
    query, key, value = packed.permute(2, 0, 3, 1, 4)
    query, key = block.rotary.rotate(query), block.rotary.rotate(key)
    scores = query @ key.transpose(-1, -2) / math.sqrt(8)
    scores = scores.masked_fill(torch.ones(7, 7, dtype=torch.bool).triu(1), float("-inf"))
    mixed = (scores.softmax(-1) @ value).transpose(1, 2).reshape(2, 7, SMALL.width)
    torch.testing.assert_close(block(x), block.project_out(mixed))


def test_the_convolution_equals_torchs_depthwise_one() -> None:
    ours = CausalConvolution(6, 4, generator=_generator())
    theirs = nn.Conv1d(6, 6, 4, groups=6)
    with torch.no_grad():
        theirs.weight.copy_(ours.weight_TE.T[:, None])
        assert theirs.bias is not None
        theirs.bias.copy_(ours.bias_E)
    x = _random(2, 9, 6)
    expected = theirs(functional.pad(x.transpose(1, 2), (3, 0))).transpose(1, 2)
    torch.testing.assert_close(ours(x), expected)


@pytest.mark.parametrize("length", [1, 3, 9])
def test_the_convolutions_gradients_are_those_of_finite_differences(length: int) -> None:
    convolution = CausalConvolution(3, 4, generator=_generator()).double()
    x = _random(2, length, 3).double().requires_grad_()
    parameters = (convolution.weight_TE, convolution.bias_E)
    # gradcheck perturbs its inputs in place, the parameters among them.
    assert torch.autograd.gradcheck(lambda x, *_: convolution(x), (x, *parameters))


def test_mamba_starts_with_the_published_ranges() -> None:
    block = Mamba2(BlockSizes(width=512), generator=_generator())
    step = functional.softplus(block.step_bias_H)
    assert (step >= 1e-4).all()
    assert (step <= 0.1 + 1e-6).all()
    assert (block.log_rate_H.exp() >= 1 - 1e-6).all()
    assert (block.log_rate_H.exp() <= 16 + 1e-4).all()


@pytest.mark.parametrize("symbols", [("mA", "M"), ("Mb", "M")])
def test_initial_weights_come_from_the_generator_alone(symbols: tuple[str, ...]) -> None:
    before = torch.random.get_rng_state()
    first = LanguageModel(symbols, 16, SMALL, generator=_generator(5))
    second = LanguageModel(symbols, 16, SMALL, generator=_generator(5))
    other = LanguageModel(symbols, 16, SMALL, generator=_generator(6))
    assert torch.equal(torch.random.get_rng_state(), before)
    tokens = torch.arange(16)[None]
    assert torch.equal(first(tokens), second(tokens))
    assert not torch.equal(first(tokens), other(tokens))


def test_the_language_model_maps_ids_to_logits_causally() -> None:
    model = LanguageModel(("mA", "Mb", "M"), 11, SMALL, generator=_generator())
    tokens = torch.randint(0, 11, (2, 10), generator=_generator())
    changed = tokens.clone()
    changed[:, 6:] = 0
    assert model(tokens).shape == (2, 10, 11)
    torch.testing.assert_close(model(tokens)[:, :6], model(changed)[:, :6])


def test_the_autoencoder_decodes_from_the_last_position_alone() -> None:
    length = 8
    model = AutoEncoder(("M",) * 2, 11, length, SMALL, generator=_generator())
    tokens = torch.randint(0, 11, (2, length), generator=_generator())
    changed = tokens.clone()
    changed[:, :-1] = 0
    assert model(tokens).shape == (2, length, 11)
    torch.testing.assert_close(model(tokens), model(changed))
    mixing = AutoEncoder(("mA",), 11, length, SMALL, generator=_generator())
    assert not torch.allclose(mixing(tokens), mixing(changed))


@pytest.mark.parametrize(
    ("sizes", "message"),
    [({"width": 36}, "head size"), ({"width": 33, "attention_head_dim": 3}, "even"), ({"width": 16}, "inner size 32")],
)
def test_sizes_that_do_not_fit_are_refused(sizes: dict[str, int], message: str) -> None:
    with pytest.raises(ValueError, match=message):
        BlockSizes(**sizes)


def test_every_primitive_of_the_contract_has_a_layer_of_either_size() -> None:
    assert set(LAYERS) == set(SYMBOLS)
    size = model_size("350M", "3-primitive")
    for symbol, classes in LAYERS.items():
        layer = classes.large(size, generator=_generator(), device="meta", backend="auto")
        assert any(isinstance(part, nn.Linear) for part in getattr(layer, classes.last).modules()), symbol
