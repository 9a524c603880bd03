"""What the command line takes for a number, a length of time or a list of seeds, and what it says of the rest."""

import argparse
import math
from collections.abc import Callable

import pytest
from hypothesis import given
from hypothesis import strategies as st

from aira_bench.cli.options import (
    LARGEST_SEED,
    MOST,
    MOST_HOURS,
    MOST_SECONDS,
    MOST_SEEDS,
    MOST_STEPS,
    core_list,
    gpu_list,
    hours,
    positive_float,
    positive_int,
    seconds,
    seed_list,
    step_count,
)

WHOLE: dict[Callable[[str], int], int] = {positive_int: MOST, step_count: MOST_STEPS}
FRACTIONS: dict[Callable[[str], float], int] = {positive_float: MOST, hours: MOST_HOURS, seconds: MOST_SECONDS}
hostile = st.text(max_size=60) | st.sampled_from(
    ["", " ", "1_000", "+1", "-1", "0x10", "1e400", "nan", "inf", "-inf", "١٢", "½", "1.5.2", "9" * 5000, "1 2", "--3", "\x1b[31m", "\U0001019d" * 20]
)  # fmt: skip


def refusal(read: Callable[[str], object], text: str) -> str | None:
    """What the reader says of a text it does not take; None if it takes it."""
    try:
        read(text)
    except argparse.ArgumentTypeError as error:
        return str(error)
    return None


@pytest.mark.parametrize("read", WHOLE)
@given(value=st.integers(-10, 2 * MOST))
def test_whole_numbers_are_read_up_to_a_bound(read: Callable[[str], int], value: int) -> None:
    said = refusal(read, str(value))
    if 0 < value <= WHOLE[read]:
        assert read(str(value)) == value
    else:
        assert said is not None
        assert f"at most {WHOLE[read]}" in said


@pytest.mark.parametrize("read", FRACTIONS)
@given(value=st.floats(allow_nan=True, allow_infinity=True))
def test_fractions_are_finite_above_nothing_and_bounded(read: Callable[[str], float], value: float) -> None:
    if 0 < value <= FRACTIONS[read]:
        assert read(repr(value)) == value
    else:
        assert refusal(read, repr(value)) is not None


@pytest.mark.parametrize("read", [*WHOLE, *FRACTIONS, seed_list])
@given(text=hostile)
def test_any_other_text_is_one_short_line(read: Callable[[str], object], text: str) -> None:
    said = refusal(read, text)
    if said is not None:
        assert len(said) < 200
        assert said.isprintable(), "what was typed is quoted escaped"
        assert " is not a" in said
    else:
        assert text.isascii()
        assert "_" not in text


@given(st.integers(1, MOST_SEEDS))
def test_a_number_of_seeds_stands_for_the_first_so_many(count: int) -> None:
    assert seed_list(str(count)) == tuple(range(count))


@given(st.lists(st.integers(0, LARGEST_SEED), min_size=1, max_size=20, unique=True), st.booleans())
def test_named_seeds_are_taken_in_their_order(seeds: list[int], trailing: bool) -> None:
    text = ",".join(map(str, seeds)) + ("," if trailing or len(seeds) == 1 else "")
    assert seed_list(text) == tuple(seeds)


@pytest.mark.parametrize(
    "text",
    ["0", "-1", "1,1", "1,,2", ",", ",1", "1,2,,", "a,b", f"{LARGEST_SEED + 1},", str(MOST_SEEDS + 1),
     ",".join(map(str, range(MOST_SEEDS + 1)))],
)  # fmt: skip
def test_seeds_that_cannot_be_meant_are_refused(text: str) -> None:
    assert refusal(seed_list, text) is not None


def test_the_most_seeds_can_be_named_one_by_one() -> None:
    assert len(seed_list(",".join(map(str, range(MOST_SEEDS))))) == MOST_SEEDS
    assert seed_list(f"{LARGEST_SEED},") == (LARGEST_SEED,)


def test_ten_years_are_the_longest() -> None:
    assert hours(str(MOST_HOURS)) == seconds(str(MOST_SECONDS)) / 3600
    assert refusal(hours, str(math.nextafter(MOST_HOURS, math.inf))) is not None


@pytest.mark.parametrize(
    ("text", "found"),
    [
        ("2", 2), ("3,", ("3",)), ("0,3", ("0", "3")), ("0-3", ("0", "1", "2", "3")), ("0-1, 5", ("0", "1", "5")),
        ("all", ("all",)), ("1:0,1:1", ("1:0", "1:1")), ("GPU-1-2", ("GPU-1-2",)), ("3-1", ("3-1",)), ("-1", ("-1",)),
    ],
)  # fmt: skip
def test_gpus_are_a_number_or_names(text: str, found: int | tuple[str, ...]) -> None:
    assert gpu_list(text) == found


@pytest.mark.parametrize("text", ["", ",", "0,,1", "0,0", "0-2,1", "all,1", "0", "9" * 5000])
def test_what_names_no_gpu_is_refused(text: str) -> None:
    with pytest.raises(argparse.ArgumentTypeError):
        gpu_list(text)


@given(hostile | st.text("0123456789-,: \u00b2", max_size=12))
def test_no_text_breaks_a_list_of_gpus_or_cores(text: str) -> None:
    for read in (gpu_list, core_list):
        try:
            found = read(text)
        except argparse.ArgumentTypeError:
            continue
        assert isinstance(found, int) or found
