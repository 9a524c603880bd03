"""Sizes of the full-size models."""

from dataclasses import replace

import pytest

from aira_contract.model_sizes import MODEL_SIZES, SCALES, ModelSize, model_size, space_of

TINY = ModelSize("tiny", "2-primitive", 0, 64, 4, 16, 2, 96, 8, mamba_head_dim=32)


@pytest.mark.parametrize(
    ("change", "message"),
    [
        ({"head_dim": 8}, "4 heads of 8 do not make width 64"),
        ({"kv_heads": 3}, "4 query heads do not divide among 3 key-value heads"),
        ({"mamba_head_dim": 48}, "inner size 128 is not a multiple of 48"),
    ],
)
def test_sizes_that_do_not_fit_are_refused(change: dict[str, int], message: str) -> None:
    with pytest.raises(ValueError, match=message):
        replace(TINY, **change)  # type: ignore[arg-type]


def test_every_scale_has_sizes_in_both_spaces_and_only_the_mlp_differs() -> None:
    assert SCALES == ("350M", "1B", "3B")
    assert len(MODEL_SIZES) == 2 * len(SCALES)
    for scale in SCALES:
        two, three = model_size(scale, "2-primitive"), model_size(scale, "3-primitive")
        assert replace(three, space="2-primitive", mlp_hidden=two.mlp_hidden) == two
    with pytest.raises(ValueError, match="unknown scale '7B', expected one of 350M, 1B, 3B"):
        model_size("7B", "2-primitive")


def test_one_mamba_layer_makes_a_pattern_of_the_three_primitive_space() -> None:
    assert space_of(("mA", "M", "Mb")) == "3-primitive"
    assert space_of(("mA", "M")) == "2-primitive"
    assert space_of(()) == "2-primitive"


def test_derived_sizes_of_mamba_by_hand() -> None:
    assert (TINY.mamba_inner, TINY.mamba_heads, TINY.mamba_convolved) == (128, 4, 144)
    assert TINY.mamba_projection == 128 + 144 + 4
