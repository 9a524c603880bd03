"""The compact notation, read and written."""

import csv

import pytest
from hypothesis import given
from hypothesis import strategies as st

from aira_bench.bundled import bundled_folder
from aira_bench.scaling.notation import SYMBOLS, NotationError, read_pattern, write_pattern
from aira_contract.patterns import MAX_LAYERS

_LETTERS = {"A": "mA", "M": "M", "S": "Mb"}
_TABLES = ("table08_patterns_2prim.csv", "table09_patterns_3prim.csv")


def expand(letters: str) -> tuple[str, ...]:
    return tuple(_LETTERS[letter] for letter in letters)


def published_patterns() -> list[str]:
    patterns = []
    for table in _TABLES:
        with (bundled_folder("published") / table).open(newline="", encoding="utf-8") as stream:
            patterns += [row["pattern"] for row in csv.DictReader(stream)]
    return patterns


@pytest.mark.parametrize(
    ("text", "letters"),
    [
        ("5(2A-M)-A", "AAMAAMAAMAAMAAMA"),
        ("2Mb-M-3A", "SSMAAA"),
        ("2(3A-4(M-A)-5M)", "AAAMAMAMAMAMMMMM" * 2),
        ("(2A-2M)-4M", "AAMMMMMM"),
        ("3 (2Mb + M + A) + 2Mb + 2M", "SSMASSMASSMASSMM"),
        ("2A5M", "AAMMMMM"),
        ("AMAM AMAM", "AMAMAMAM"),
        ("mA,M,Mb", "AMS"),
        ("SSM", "SSM"),
    ],
)
def test_reads_every_spelling(text: str, letters: str) -> None:
    assert read_pattern(text) == expand(letters)


@pytest.mark.parametrize(
    ("text", "position"),
    [
        ("", 1),
        ("2A-", 4),
        ("2A--M", 4),
        ("2A-X", 4),
        ("3(2A-M", 2),
        ("2A)", 3),
        ("0A", 1),
        ("A-()", 4),
        ("2", 2),
        ("A-2(M-99999999999999A)", 7),
        ("A-1024M", 3),
        ("1024(1024(1024A))", 6),
        ("(" * 40 + "A" + ")" * 40, 33),
        ("A\nM", 2),
        ("2\u0663A", 2),
    ],
)
def test_names_the_position_of_an_error(text: str, position: int) -> None:
    with pytest.raises(NotationError, match=rf"character {position}: ") as caught:
        read_pattern(text)
    assert "\n" not in str(caught.value)


@pytest.mark.parametrize("text", published_patterns())
def test_published_patterns_round_trip(text: str) -> None:
    pattern = read_pattern(text)
    written = write_pattern(pattern)
    assert read_pattern(written) == pattern
    assert len(written) <= len(text)


@given(st.lists(st.sampled_from(SYMBOLS), min_size=1, max_size=60))
def test_any_pattern_round_trips(layers: list[str]) -> None:
    written = write_pattern(layers)
    assert read_pattern(written) == tuple(layers)
    assert write_pattern(read_pattern(written)) == written


@st.composite
def notations(draw: st.DrawFn, depth: int = 2) -> tuple[str, list[str]]:
    """A text and, made beside it, the layers it stands for."""
    texts, layers = [], []
    for _ in range(draw(st.integers(1, 3))):
        count = draw(st.integers(1, 4))
        if depth and draw(st.booleans()):
            text, inner = draw(notations(depth=depth - 1))
            text = f"({text})"
        else:
            text, symbol = draw(st.sampled_from([("A", "mA"), ("M", "M"), ("Mb", "Mb"), ("S", "Mb"), ("mA", "mA")]))
            inner = [symbol]
        texts.append(text if count == 1 and draw(st.booleans()) else f"{count}{text}")
        layers += inner * count
    return draw(st.sampled_from(["-", " + ", ","])).join(texts), layers


@given(notations())
def test_reads_what_a_text_was_made_from(made: tuple[str, list[str]]) -> None:
    text, layers = made
    assert read_pattern(text) == tuple(layers)
    if len(layers) <= 100:
        assert len(write_pattern(layers)) <= len(text.replace("S", "Mb"))


@given(st.text(alphabet="AMSb m0123()-+,x", max_size=30))
def test_hostile_text_reads_or_fails_in_one_line(text: str) -> None:
    try:
        outcome = write_pattern(read_pattern(text))
    except NotationError as error:
        outcome = str(error)
    assert outcome
    assert "\n" not in outcome


def test_writes_the_longest_patterns_in_time() -> None:
    assert write_pattern(["mA"] * MAX_LAYERS) == "1024A"
    assert write_pattern(["mA", "M"] * (MAX_LAYERS // 2)) == "512(A-M)"


def test_refuses_to_write_what_is_no_pattern() -> None:
    with pytest.raises(ValueError, match="unknown symbols"):
        write_pattern(["A"])
    with pytest.raises(ValueError, match="0 layers"):
        write_pattern([])
