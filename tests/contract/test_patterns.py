"""The notation of layer patterns: what it expands to, and where it breaks."""

import re

import pytest
from hypothesis import given
from hypothesis import strategies as st

from aira_bench.errors import UsageError
from aira_bench.scaling import notation
from aira_contract.patterns import MAX_LAYERS, MAX_NESTING, PatternError, read_pattern
from aira_contract.primitives import PRIMITIVES, SYMBOLS

NAMES = {name: each.symbol for each in PRIMITIVES for name in (each.symbol, each.letter, each.written)}
Tree = str | tuple[int, "list[Tree]"]
trees = st.recursive(
    st.sampled_from(sorted(NAMES)),
    lambda inner: st.tuples(st.integers(1, 4), st.lists(inner, min_size=1, max_size=4)),
    max_leaves=12,
)


def layers_of(tree: Tree) -> list[str]:
    """What a tree of counts and symbols stands for, by itself and not by the reader."""
    if isinstance(tree, str):
        return [NAMES[tree]]
    count, inner = tree
    return [layer for _ in range(count) for part in inner for layer in layers_of(part)]


@st.composite
def spellings(draw: st.DrawFn) -> tuple[str, list[str]]:
    """A text and the layers it means, with separators and blanks wherever they are free."""
    separators, blanks = st.sampled_from(("-", "+", ",", "")), st.sampled_from(("", " ", "\t"))

    def spelt(tree: Tree) -> str:
        if isinstance(tree, str):
            return draw(blanks) + tree
        count, inner = tree
        body = spelt(inner[0]) + "".join(draw(separators) + spelt(part) for part in inner[1:])
        return f"{draw(blanks)}{count if count > 1 or draw(st.booleans()) else ''}{draw(blanks)}({body}{draw(blanks)})"

    tree = draw(trees)
    return spelt(tree), layers_of(tree)


@given(spellings())
def test_every_spelling_of_a_tree_is_the_layers_of_the_tree(case: tuple[str, list[str]]) -> None:
    text, layers = case
    if len(layers) > MAX_LAYERS:
        with pytest.raises(PatternError, match="at most 1024 are read"):
            read_pattern(text)
    else:
        assert list(read_pattern(text)) == layers


@given(st.text(alphabet="AmMbS()0123-+, \tx\xe9", max_size=24))
def test_any_text_is_a_pattern_or_one_printable_line_with_a_place_in_it(text: str) -> None:
    try:
        layers = read_pattern(text)
    except PatternError as error:
        found = re.match(r"character ([0-9]+): ", str(error))
        assert found
        assert 1 <= int(found[1]) <= len(text) + 1
        message = str(error)
    else:
        assert 1 <= len(layers) <= MAX_LAYERS
        assert set(layers) <= set(SYMBOLS)
        return
    assert message.isprintable()
    assert message.isascii()


@given(st.lists(st.sampled_from(SYMBOLS), min_size=1, max_size=40))
def test_what_the_host_writes_is_read_back(layers: list[str]) -> None:
    assert list(read_pattern(notation.write_pattern(layers))) == layers


@pytest.mark.parametrize(
    ("text", "message"),
    [
        ("", "character 1: expected a symbol or '(', found the end"),
        ("AxM", "character 2: 'x' is no symbol"),
        ("2(A-M", "character 2: '(' is never closed"),
        ("A)", "character 2: ')' closes nothing"),
        ("A-", "character 3: expected a symbol or '(', found the end"),
        ("0A", "character 1: '0' is no count"),
        (f"{MAX_LAYERS + 1}A", "1025 layers up to here, at most 1024"),
        ("99999A", "character 1: more than 1024 layers"),
        ("1000(A)1000M", "character 8: 2000 layers up to here"),
        ("(" * (MAX_NESTING + 1) + "A" + ")" * (MAX_NESTING + 1), "more than 32 parentheses inside each other"),
    ],
)
def test_what_is_no_pattern_is_refused_where_it_breaks(text: str, message: str) -> None:
    with pytest.raises(PatternError, match=re.escape(message)):
        read_pattern(text)
    with pytest.raises(UsageError, match=re.escape(message)):
        notation.read_pattern(text)


def test_the_deepest_and_the_longest_admitted_pattern_are_read() -> None:
    assert read_pattern("(" * MAX_NESTING + "A" + ")" * MAX_NESTING) == ("mA",)
    assert read_pattern(f"{MAX_LAYERS}M") == ("M",) * MAX_LAYERS
    assert len(read_pattern("32(32A)")) == MAX_LAYERS
