"""The table of primitives: every name means one layer, and whoever needs the table has it all."""

from itertools import combinations

from aira_contract.model_sizes import MODEL_SIZES
from aira_contract.primitives import BY_LETTER, BY_SYMBOL, IN_PATTERNS, PRIMITIVES, SYMBOLS
from aira_contract.training_arithmetic import layer_flops_per_token, layer_parameters
from aira_kernels.layers import LAYERS


def test_no_name_means_two_primitives() -> None:
    for one, other in combinations(PRIMITIVES, 2):
        names = {one.symbol, one.letter, one.written}, {other.symbol, other.letter, other.written}
        assert not names[0] & names[1]
        assert one.colour != other.colour
    assert set(BY_SYMBOL) == set(SYMBOLS) == set(IN_PATTERNS)
    assert all(len(letter) == 1 and letter.isupper() for letter in BY_LETTER)


def test_a_whole_architecture_of_letters_cannot_be_read_as_symbols() -> None:
    """`M` is both, and means the same."""
    for letter, each in BY_LETTER.items():
        assert letter not in BY_SYMBOL or BY_SYMBOL[letter] is each


def test_every_primitive_is_built_at_both_sizes_and_counted() -> None:
    assert set(LAYERS) == set(SYMBOLS)
    for size in MODEL_SIZES:
        for symbol in SYMBOLS:
            assert layer_parameters(symbol, size) > 0
            assert layer_flops_per_token(symbol, size) > 0


def test_some_primitives_look_at_other_positions_and_some_do_not() -> None:
    assert {each.mixes_positions for each in PRIMITIVES} == {True, False}
