"""What holds of every pattern that is grown, and of every estimate of its training."""

from itertools import groupby

import pytest
from hypothesis import assume, given
from hypothesis import strategies as st

from aira_bench.errors import UsageError
from aira_bench.published_tables import read_table
from aira_bench.scaling.extrapolate import extrapolate, nearest_size
from aira_bench.scaling.notation import ATTENTION, MAMBA, MLP, SYMBOLS
from aira_contract.gpu_types import GPU_TYPES
from aira_contract.model_sizes import MODEL_SIZES, ModelSize, Space, model_size
from aira_contract.patterns import MAX_LAYERS, Pattern
from aira_contract.training_arithmetic import (
    FLOP_BUDGETS,
    LayerCounts,
    count_layers,
    flops_per_token,
    isoflop_steps,
    layer_flops_per_token,
    layer_parameters,
    parameters,
)

BASES = st.lists(st.sampled_from(SYMBOLS), min_size=1, max_size=16).map(tuple)
SIZES = st.sampled_from(MODEL_SIZES)
TARGETS = st.integers(200_000_000, 4_000_000_000)


def collapsed(pattern: Pattern) -> list[str]:
    """The kinds of layers in turn, however long each run is."""
    return [symbol for symbol, _ in groupby(pattern)]


def is_subsequence(part: list[str], whole: list[str]) -> bool:
    left = iter(whole)
    return all(symbol in left for symbol in part)


def base_parameters(base: Pattern, size: ModelSize) -> int:
    return sum(layer_parameters(symbol, size) for symbol in base)


@given(BASES, TARGETS)
def test_stretching_keeps_the_order_of_the_layers(base: Pattern, target: int) -> None:
    assume(target < MAX_LAYERS * layer_parameters(base[0], nearest_size(target, "2-primitive")) // 4)
    grown = extrapolate(base, target, "stretch", rounding="ceil")
    assert collapsed(grown.pattern) == collapsed(base)
    fitted = extrapolate(base, target, "stretch")
    assert is_subsequence(collapsed(fitted.pattern), [symbol for symbol in base for _ in range(2)])


@given(BASES, st.integers(1, 8), SIZES)
def test_a_whole_multiple_of_a_base_needs_no_rounding(base: Pattern, factor: int, size: ModelSize) -> None:
    target = factor * base_parameters(base, size) + size.width
    stretched = extrapolate(base, target, "stretch", size=size)
    stacked = extrapolate(base, target, "stack", size=size)
    assert stretched.factor == stacked.factor == factor
    assert stacked.pattern == stacked.untrimmed == base * factor
    assert stretched.pattern == tuple(symbol for symbol in base for _ in range(factor))
    assert stretched.parameters == stacked.parameters == target


@given(BASES, TARGETS, st.sampled_from(["stretch", "stack"]))
def test_fit_is_never_farther_from_the_target_than_the_published_rule(base: Pattern, target: int, method: str) -> None:
    size = nearest_size(target, "3-primitive" if MAMBA in base else "2-primitive")
    fitted = extrapolate(base, target, method, size=size)  # type: ignore[arg-type]
    published = extrapolate(base, target, method, size=size, rounding="ceil")  # type: ignore[arg-type]
    assert abs(fitted.parameters - target) <= abs(published.parameters - target)
    assert fitted.untrimmed == published.pattern
    assert len(fitted.pattern) <= len(published.pattern)
    assert is_subsequence(list(fitted.pattern), list(published.pattern)), "layers are taken away, none is put in"


@given(BASES, TARGETS, st.integers(0, 500_000_000))
def test_a_larger_target_never_has_fewer_layers(base: Pattern, target: int, more: int) -> None:
    size = model_size("1B", "3-primitive" if MAMBA in base else "2-primitive")
    small = extrapolate(base, target, "stretch", size=size, rounding="ceil")
    large = extrapolate(base, target + more, "stretch", size=size, rounding="ceil")
    assert len(small.pattern) <= len(large.pattern)
    assert small.parameters <= large.parameters


def test_the_longest_pattern_is_still_grown_and_one_parameter_more_is_refused() -> None:
    size = model_size("350M", "2-primitive")
    longest = MAX_LAYERS * layer_parameters(MLP, size) + size.width
    assert len(extrapolate((MLP,), longest, "stretch", size=size).pattern) == MAX_LAYERS
    with pytest.raises(UsageError, match=f"more than {MAX_LAYERS} layers"):
        extrapolate((MLP,), longest + 1, "stretch", size=size)


def test_a_target_between_two_scales_takes_the_nearer_as_a_ratio() -> None:
    small, large = (model_size(scale, "2-primitive").nominal_parameters for scale in ("350M", "1B"))
    between = round((small * large) ** 0.5)
    assert nearest_size(between - 10**6, "2-primitive").scale == "350M"
    assert nearest_size(between + 10**6, "2-primitive").scale == "1B"
    assert nearest_size(1, "3-primitive").scale == "350M"
    assert nearest_size(10**13, "3-primitive").scale == "3B"


def test_steps_are_given_for_the_budgets_of_the_published_tables() -> None:
    grown = extrapolate((ATTENTION, MLP) * 8, 10**9, "stretch")
    assert [step.budget_flops for step in grown.steps] == [2 * 10**19, 4 * 10**19, 8 * 10**19, 2 * 10**20, 4 * 10**20]
    assert [step.budget_flops for step in grown.steps] == list(FLOP_BUDGETS)


@given(SIZES, st.builds(LayerCounts, st.integers(0, 50), st.integers(0, 50), st.integers(0, 50)))
def test_parameters_and_flops_add_up_layer_by_layer(size: ModelSize, counts: LayerCounts) -> None:
    number = {ATTENTION: counts.attention, MLP: counts.mlp, MAMBA: counts.mamba}
    assert parameters(counts, size) == size.width + sum(n * layer_parameters(s, size) for s, n in number.items())
    assert flops_per_token(counts, size) == sum(n * layer_flops_per_token(s, size) for s, n in number.items())


@given(SIZES)
def test_a_weight_matrix_costs_six_flops_a_token(size: ModelSize) -> None:
    """Two for the multiplication, and twice that backwards: what is left of the formulas is attention's and the scan's."""
    norm = size.width
    mlp = layer_parameters(MLP, size) - norm
    assert layer_flops_per_token(MLP, size) == 6 * mlp
    attention = layer_parameters(ATTENTION, size) - norm
    assert layer_flops_per_token(ATTENTION, size) - 6 * attention == 12 * 8192 * size.width


@pytest.mark.parametrize("table", ["10", "11"])
def test_a_grown_models_steps_are_those_of_every_cell_of_its_table(table: str) -> None:
    """Each row's own layers, grown to their own size, which is what `extrapolate` prints steps of."""
    space: Space = "2-primitive" if table == "10" else "3-primitive"
    rows = read_table(table, ("scale", "attention", "mlp"))
    for row in rows:
        base = (ATTENTION,) * int(row["attention"]) + (MLP,) * int(row["mlp"]) + (MAMBA,) * int(row.get("mamba", "0"))
        size = model_size(row["scale"], space)
        model = extrapolate(base, parameters(count_layers(base), size), "stretch", size=size)
        assert model.pattern == base
        printed = [int(row[f"steps_{budget:.0e}".replace("+", "")]) for budget in FLOP_BUDGETS]
        assert [budget.steps for budget in model.steps] == printed, (row["architecture"], row["scale"])
    assert len(rows) * len(FLOP_BUDGETS) == (120 if table == "10" else 165)


def test_a_model_without_layers_has_no_steps() -> None:
    with pytest.raises(ValueError, match="without layers"):
        isoflop_steps(LayerCounts(0, 0, 0), model_size("1B", "2-primitive"), 10**20)


def test_memories_and_peaks_are_the_vendors() -> None:
    found = {name: (round(gpu.memory_gib * 2**30 / 1e9), gpu.peak_tflops) for name, gpu in GPU_TYPES.items()}
    assert found == {
        "a100-40gb": (40, 312), "a100-80gb": (80, 312), "h100": (80, 989), "h200": (141, 989), "l40s": (48, 362),
    }  # fmt: skip
