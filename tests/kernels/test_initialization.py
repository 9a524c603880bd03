"""Initial weights: their distributions, and that they come from the generator and from nothing else."""

import math

import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st
from torch import nn

from aira_kernels.backbone import AUTOENCODER_STD, EMBEDDING_STD, AutoEncoder, LanguageModel, ResidualStack, sinusoids
from aira_kernels.initialization import embedding, linear, redraw_linears
from aira_kernels.sizes import BlockSizes

SMALL = BlockSizes(width=32, attention_head_dim=8, mamba_head_dim=32, mamba_state=8, mamba_chunk=4)
few = settings(max_examples=20, deadline=None)


def generator(seed: int = 0) -> torch.Generator:
    return torch.Generator().manual_seed(seed)


@few
@given(st.integers(1, 40), st.integers(1, 40), st.booleans())
def test_linear_weights_stay_within_torchs_own_bound(inputs: int, outputs: int, bias: bool) -> None:
    layer = linear(inputs, outputs, bias=bias, generator=generator())
    assert (layer.bias is None) != bias
    assert layer.weight.abs().max() <= 1 / math.sqrt(inputs)
    assert torch.equal(layer(torch.zeros(3, inputs)), torch.zeros(3, outputs)), "biases begin at zero, as MAD-lab's"


def test_linear_weights_fill_their_bound_evenly_as_torchs_do() -> None:
    torch.manual_seed(0)
    bound = 1 / math.sqrt(64)
    quantiles = torch.linspace(0, 1, 9)
    for layer in (linear(64, 512, bias=True, generator=generator()), nn.Linear(64, 512)):
        found = torch.quantile(layer.weight.detach().flatten(), quantiles)
        torch.testing.assert_close(found, (2 * quantiles - 1) * bound, rtol=0, atol=bound / 50)


@pytest.mark.parametrize("std", [0.02, 1.0])
def test_embeddings_are_normal(std: float) -> None:
    table = embedding(500, 64, std=std, generator=generator()).weight
    assert table.mean().item() == pytest.approx(0, abs=std / 50)
    assert table.std().item() == pytest.approx(std, rel=0.02)
    assert ((table.abs() < std).float().mean().item()) == pytest.approx(0.683, abs=0.01)


def test_redrawing_touches_linear_layers_alone() -> None:
    module = nn.Sequential(nn.LayerNorm(4), linear(4, 8, bias=True, generator=generator()), nn.Embedding(3, 4))
    norm, table = module[0].weight.clone(), module[2].weight.clone()
    redraw_linears(module, std=0.5, generator=generator(1))
    assert torch.equal(module[0].weight, norm)
    assert torch.equal(module[2].weight, table)
    assert torch.equal(module[1].bias, torch.zeros(8))
    assert module[1].weight.abs().max() > 0.5, "beyond the uniform bound of a half"


def test_a_redrawn_layer_depends_on_the_generator_and_not_on_what_it_was() -> None:
    first, second = (linear(6, 6, bias=False, generator=generator(seed)) for seed in (1, 2))
    redraw_linears(first, std=0.1, generator=generator(3))
    redraw_linears(second, std=0.1, generator=generator(3))
    assert torch.equal(first.weight, second.weight)


def test_on_the_meta_device_nothing_is_drawn() -> None:
    source = generator()
    before = source.get_state()
    assert linear(8, 8, bias=True, generator=source, device="meta").weight.is_meta
    assert embedding(8, 8, std=1.0, generator=source, device="meta").weight.is_meta
    assert torch.equal(source.get_state(), before)


@pytest.mark.parametrize("symbols", [("M",), ("mA",), ("Mb",), ("mA", "Mb", "M")])
def test_layers_are_drawn_in_order_so_a_longer_model_begins_like_a_shorter(symbols: tuple[str, ...]) -> None:
    short, long = (ResidualStack(layers, SMALL, generator=generator(4)) for layers in (symbols, (*symbols, "M")))
    for name, parameter in short.state_dict().items():
        assert torch.equal(parameter, long.state_dict()[name]), name


def test_a_stack_without_layers_changes_nothing() -> None:
    x = torch.randn(2, 3, SMALL.width, generator=generator())
    assert torch.equal(ResidualStack((), SMALL, generator=generator())(x), x)


def test_a_language_models_parts_are_drawn_as_published() -> None:
    model = LanguageModel(("mA", "M"), 300, SMALL, generator=generator())
    assert model.embed.weight.std().item() == pytest.approx(EMBEDDING_STD, rel=0.05)
    assert model.head.weight.abs().max() <= 1 / math.sqrt(SMALL.width)
    assert model.head.weight is not model.embed.weight
    for norm in (*model.stack.norms, model.norm):
        assert torch.equal(norm.weight, torch.ones(SMALL.width))
        assert torch.equal(norm.bias, torch.zeros(SMALL.width))


def test_an_autoencoders_linear_weights_are_all_redrawn() -> None:
    model = AutoEncoder(("mA", "Mb", "M"), 50, 6, SMALL, generator=generator())
    linears = [part for part in model.modules() if isinstance(part, nn.Linear)]
    assert len(linears) >= 8
    weights = torch.cat([part.weight.detach().flatten() for part in linears])
    assert weights.std().item() == pytest.approx(AUTOENCODER_STD, rel=0.02)
    assert all(part.bias is None or not part.bias.any() for part in linears)


@pytest.mark.parametrize("symbols", [("mA",), ("M",), ("Mb",), ("mA", "Mb", "M")])
def test_every_linear_bias_begins_at_zero_and_no_other_bias_is_touched(symbols: tuple[str, ...]) -> None:
    for model in (
        LanguageModel(symbols, 20, SMALL, generator=generator()),
        AutoEncoder(symbols, 20, 6, SMALL, generator=generator()),
    ):
        biases = [part.bias for part in model.modules() if isinstance(part, nn.Linear) and part.bias is not None]
        # The head; two of the decoder; both projections of an attention. Mamba-2's and the MLP's have none.
        assert len(biases) == 1 + 2 * isinstance(model, AutoEncoder) + 2 * ("mA" in symbols)
        assert not any(bias.any() for bias in biases)
        for name, parameter in model.named_parameters():
            if "Mb" in symbols and name.endswith(("bias_E", "step_bias_H")):
                assert parameter.abs().min() > 0, f"{name} is no linear's: drawn as Mamba-2 draws it"


def test_positions_are_no_weights() -> None:
    model = AutoEncoder(("M",), 50, 6, SMALL, generator=generator())
    assert "positions_LD" not in model.state_dict()
    again = AutoEncoder(("M",), 50, 6, SMALL, generator=generator(9))
    again.load_state_dict(model.state_dict())
    tokens = torch.arange(6)[None]
    assert torch.equal(model(tokens), again(tokens))


def test_sinusoids_are_mad_labs_worked_by_hand() -> None:
    # Width 6: halves of three features, which turn by 1, 10,000**(-1/2) and 10,000**(-2/2) a position.
    by_hand = [
        [0.0, 0.0, 0.0, 1.0, 1.0, 1.0],
        [0.841471, 0.00999983, 0.0001, 0.540302, 0.99995, 1.0],
        [0.909297, 0.0199987, 0.0002, -0.416147, 0.9998, 1.0],
    ]
    torch.testing.assert_close(sinusoids(3, 6), torch.tensor(by_hand), rtol=1e-5, atol=1e-6)


@few
@given(st.integers(1, 30), st.integers(1, 17))
def test_sinusoids_are_sines_then_cosines_for_any_width(length: int, width: int) -> None:
    table, half = sinusoids(length, width), width // 2
    assert table.shape == (length, width)
    for position in {0, length // 2, length - 1}:
        for feature in range(half):
            angle = position / 10_000 ** (feature / max(half - 1, 1))
            assert table[position, feature].item() == pytest.approx(math.sin(angle), abs=1e-5)
            assert table[position, half + feature].item() == pytest.approx(math.cos(angle), abs=1e-5)
    if width % 2:
        assert not table[:, -1].any()
