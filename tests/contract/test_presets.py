"""Architectures by name: every row of the published tables, every base, and what a name stands for where."""

from collections import Counter

import pytest

from aira_bench.reproduce.published import read_table
from aira_contract.architectures import SubmissionError, parse_submission
from aira_contract.model_sizes import SCALES, space_of
from aira_contract.patterns import PatternError, read_pattern
from aira_contract.presets import (
    BASELINES,
    FOUND_BY_AGENTS,
    PRESETS,
    SEARCHED,
    FullSizePattern,
    find_preset,
    name_of,
    read_architecture,
)

PRINTED_AS = {"Nemotron-H (Approx.)": "Nemotron-H", "Nemotron-2 (Approx.)": "Nemotron-2", "Mamba (Mb+M)": "Mamba",
              "Composer (2Mb-M-3A)": "Composer"}  # fmt: skip
COMPACT = {
    "airaformer-a": "AMAAMMAMAMAMAMMM",
    "airaformer-b": "AAAMAMAMAMAMMMMM",
    "airaformer-c": "AAMAMAMAMAAMAAAA",
    "airaformer-d": "AAMAAMAAMAAMAAMA",
    "airahybrid-a": "SSMSSSSSSSSSSSMM",
    "airahybrid-b": "SSMASSMASSMASSMM",
    "airahybrid-c": "SSASASAMASAMASAM",
    "airahybrid-d": "SSMSMSMAMSMAMSMA",
    "airahybrid-e": "SMASMASMASMASMAM",
}
"""Written out by hand from the paper's patterns."""


def test_every_row_of_tables_8_and_9_is_a_preset_and_every_full_size_pattern_is_a_row() -> None:
    rows = [
        (table, row)
        for table in ("8", "9")
        for row in read_table(table, ("architecture", "scale", "pattern", "layers"))
    ]
    printed = {
        (PRINTED_AS.get(row["architecture"], row["architecture"]), row["scale"]):
        (FullSizePattern(row["pattern"], int(row["layers"])), f"Table {table}")
        for table, row in rows
    }  # fmt: skip
    ours = {
        (preset.title, scale): (pattern, preset.source.rpartition(", ")[2])
        for preset in PRESETS
        for scale, pattern in preset.full_size.items()
    }
    assert ours == printed
    assert len(ours) == 3 * (14 + 7)


def test_bases_are_those_of_section_6_and_have_sixteen_layers() -> None:
    found = {preset.name: preset.base for preset in SEARCHED}
    assert {name: read_pattern(text or "") for name, text in found.items()} == {
        name: read_pattern(text) for name, text in COMPACT.items()
    }
    assert {len(read_architecture(name)) for name in COMPACT} == {16}
    ratios = {name: Counter(read_architecture(name)) for name in ("airaformer-a", "airaformer-b", "airaformer-c")}
    assert [(each["mA"], each["M"]) for each in ratios.values()] == [(7, 9), (7, 9), (11, 5)]


def test_names_are_many_distinct_and_read_in_every_spelling() -> None:
    assert len(FOUND_BY_AGENTS) == 14
    assert len({preset.name for preset in PRESETS}) == len(PRESETS) == 30
    for preset in PRESETS:
        for text in (preset.name, preset.title, preset.title.upper(), f"  {preset.title} "):
            assert find_preset(text) is preset
        assert preset.source
        with pytest.raises(PatternError):
            read_pattern(preset.name)
    assert name_of("AIRAformer-D (Stretched)") == "airaformer-d-stretched"
    assert [preset.name for preset in BASELINES if "pproximated" in preset.note] == ["nemotron-h", "nemotron-2"]


def test_a_name_stands_for_what_was_searched_and_with_a_scale_for_what_was_printed() -> None:
    assert read_architecture("AIRAformer-D") == read_architecture("airaformer-d-stretched") == read_pattern("5(2A-M)-A")
    grown = read_pattern("6A-3M-6A-3M-6A-3M-6A-3M-6A-3M-3A")
    assert read_architecture("airaformer-d-stretched:1B") == read_architecture("airaformer-d-stretched", "1B") == grown
    assert read_architecture("airaformer-d-stretched:350M", "1B") == read_architecture("airaformer-d-stretched:350M")
    assert read_architecture("Llama 3.2:1b") == read_architecture("Llama 3.2", "1B") == read_pattern("16(A-M)")
    assert read_architecture("5(2A-M)-A", "1B") == read_pattern("5(2A-M)-A"), "a pattern is what it is at every scale"
    assert {space_of(read_architecture(each.name, "1B")) for each in BASELINES[3:]} == {"3-primitive"}


@pytest.mark.parametrize(
    ("text", "scale", "said"),
    [
        ("llama-3.2", None, r"no searched pattern; say llama-3.2:350M, llama-3.2:1B, llama-3.2:3B"),
        ("llama-3.2:7B", None, "nothing printed at '7B'"),
        ("airaformer-d:1B", None, "airaformer-d-stacked, airaformer-d-stretched have"),
        ("airaformer-z", None, "character 1"),
        ("5(2A-M)-A:1B", None, "character 10"),
        (":1B", None, "character 1"),
    ],
)
def test_what_is_no_architecture_says_what_is(text: str, scale: str | None, said: str) -> None:
    with pytest.raises(PatternError, match=said):
        read_architecture(text, scale)


def test_a_row_that_contradicts_itself_says_so_by_itself() -> None:
    """Counted by hand: A stretched at 1B has 20 layers in its pattern and 32 beside it."""
    wrong = {(each.name, scale) for each in PRESETS for scale in SCALES
             if each.full_size and each.full_size[scale].contradicts_itself}  # fmt: skip
    assert ("airaformer-a-stretched", "1B") in wrong
    assert len(read_architecture("airaformer-a-stretched:1B")) == 20
    assert ("airaformer-d-stretched", "1B") not in wrong
    assert {name for name, _ in wrong} == {
        "airaformer-a-stretched", "airaformer-c-stacked", "airaformer-c-stretched", "airaformer-d-stacked",
        "airaformer-d-stretched", "nemotron-h", "nemotron-2", "airahybrid-b-stacked", "airahybrid-d-stacked",
    }  # fmt: skip


def test_an_agents_submission_knows_no_names() -> None:
    with pytest.raises(SubmissionError):
        parse_submission(b"architecture\nairaformer-d\n")
