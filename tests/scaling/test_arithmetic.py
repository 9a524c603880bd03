"""Parameters and FLOPs of full-size models against figures worked out apart from this code."""

import pytest
from hypothesis import given
from hypothesis import strategies as st

from aira_bench.scaling.notation import read_pattern
from aira_contract.model_sizes import MODEL_SIZES, SCALES, ModelSize, model_size, space_of
from aira_contract.training_arithmetic import (
    LayerCounts,
    count_layers,
    flops_per_token,
    isoflop_steps,
    layer_flops_per_token,
    layer_parameters,
    parameters,
    parameters_with_embedding,
)


@pytest.mark.parametrize(
    ("scale", "attention", "mlp_two", "mlp_three", "mamba"),
    [
        ("350M", 188_743_680, 113_246_208, 169_869_312, 92_534_784),
        ("1B", 264_241_152, 301_989_888, 301_989_888, 161_323_008),
        ("3B", 452_984_832, 452_984_832, 679_477_248, 369_979_392),
    ],
)
def test_flops_of_one_layer(scale: str, attention: int, mlp_two: int, mlp_three: int, mamba: int) -> None:
    two, three = model_size(scale, "2-primitive"), model_size(scale, "3-primitive")
    assert layer_flops_per_token("mA", two) == layer_flops_per_token("mA", three) == attention
    assert layer_flops_per_token("M", two) == mlp_two
    assert layer_flops_per_token("M", three) == mlp_three
    assert layer_flops_per_token("Mb", three) == mamba


@pytest.mark.parametrize(("scale", "count"), [("350M", 14_642_576), ("1B", 25_847_232), ("3B", 58_530_592)])
def test_parameters_of_a_mamba_layer(scale: str, count: int) -> None:
    size = model_size(scale, "3-primitive")
    assert layer_parameters("Mb", size) == count + size.width


def test_the_papers_worked_examples() -> None:
    composite = LayerCounts(attention=10, mlp=19)
    hybrid = LayerCounts(attention=6, mlp=10, mamba=16)
    assert isoflop_steps(composite, model_size("1B", "2-primitive"), 4 * 10**20) == 91_041
    assert isoflop_steps(hybrid, model_size("1B", "3-primitive"), 4 * 10**20) == 106_162


def test_llama_1b_by_hand() -> None:
    size = model_size("1B", "2-primitive")
    counts = count_layers(read_pattern("16(A-M)"))
    attention = 2048 * 2048 * 2 + 2 * 2048 * 512 + 2048
    mlp = 3 * 2048 * 8192 + 2048
    assert parameters(counts, size) == 16 * (attention + mlp) + 2048
    assert parameters_with_embedding(counts, size) == parameters(counts, size) + 128_256 * 2048


@given(
    st.sampled_from(MODEL_SIZES),
    st.builds(LayerCounts, *[st.integers(0, 60)] * 3).filter(lambda counts: counts.layers > 0),
    st.integers(10**15, 10**22),
)
def test_steps_spend_the_budget(size: ModelSize, counts: LayerCounts, budget: int) -> None:
    step = 524_288 * flops_per_token(counts, size)
    left = budget - isoflop_steps(counts, size, budget) * step
    if size.space == "3-primitive":
        assert 0 <= left < step, "rounded down, as Table 11"
    else:
        assert -step < 2 * left <= step or 2 * left == -step, "to the nearest, as Table 10"


def test_every_size_is_whole() -> None:
    for size in MODEL_SIZES:
        assert size.query_heads * size.head_dim == size.width
        assert size.mamba_heads * 64 == size.mamba_inner
    assert [model_size(scale, "3-primitive").kv_width for scale in SCALES] == [512, 512, 1024]


def test_a_pattern_with_mamba_layers_belongs_to_the_three_primitive_space() -> None:
    assert space_of(("mA", "M")) == "2-primitive"
    assert space_of(("mA", "Mb")) == "3-primitive"
