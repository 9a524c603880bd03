"""How a published number is judged, and what is shown of the judgement."""

import io
from decimal import ROUND_HALF_UP, Decimal
from fractions import Fraction

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from rich.console import Console

from aira_bench.bundled import bundled_folder
from aira_bench.reproduce.averages import accuracy_cells, core_cells
from aira_bench.reproduce.cells import Cell, LeftOut, Reproduction, Status, compare_decimal, decimal_text, places_of
from aira_bench.reproduce.render import print_report, report_record
from aira_bench.reproduce.tables import TABLES, reproduce
from aira_contract.training_arithmetic import LayerCounts

FRACTIONS = st.fractions(Fraction(-1000), Fraction(1000), max_denominator=10**6)
CELLS = st.builds(
    Cell,
    st.sampled_from(["2", "7", "layers"]),
    st.text("abc", min_size=1, max_size=3),
    st.just("x"),
    st.just("1.0"),
    st.just("1.0"),
    st.sampled_from(Status),
    st.just("why"),
)


@given(FRACTIONS, st.integers(0, 5))
def test_a_value_is_written_within_half_a_unit_of_its_last_digit(value: Fraction, places: int) -> None:
    text = decimal_text(value, places)
    assert places_of(text) == places
    assert abs(Fraction(text) - value) <= Fraction(1, 2 * 10**places)


@pytest.mark.parametrize(
    ("value", "places", "text"),
    [
        (Fraction(5, 100), 1, "0.1"), (Fraction(-5, 100), 1, "-0.1"), (Fraction(15, 10), 0, "2"),
        (Fraction(25, 10), 0, "3"), (Fraction(-25, 10), 0, "-3"), (Fraction(1, 3), 4, "0.3333"), (Fraction(0), 2, "0.00"),
    ],
)  # fmt: skip
def test_halves_go_away_from_zero(value: Fraction, places: int, text: str) -> None:
    assert decimal_text(value, places) == text


@given(FRACTIONS, st.integers(0, 4), st.fractions(Fraction(1, 10**5), Fraction(2)), FRACTIONS)
def test_a_status_follows_from_the_distance_alone(value: Fraction, places: int, slack: Fraction, off: Fraction) -> None:
    exact = Decimal((value + off).numerator) / Decimal((value + off).denominator)
    published = str(exact.quantize(Decimal(1).scaleb(-places), ROUND_HALF_UP))
    status, text = compare_decimal(published, value, slack)
    distance = abs(Fraction(published) - value)
    if Decimal(text) == Decimal(published):
        assert status is Status.REPRODUCED
        assert distance <= Fraction(1, 2 * 10**places)
    else:
        assert status is (Status.ROUNDING if distance < slack else Status.MISMATCH)
    assert text == decimal_text(value, places)


def test_slack_is_exclusive() -> None:
    slack = Fraction(1, 10)
    assert compare_decimal("1.0", Fraction("1.09"), slack)[0] is Status.ROUNDING
    assert compare_decimal("1.0", Fraction("1.1"), slack)[0] is Status.MISMATCH
    assert compare_decimal("1.0", Fraction("0.9"), slack)[0] is Status.MISMATCH


@given(st.lists(CELLS, max_size=12))
def test_a_report_counts_every_cell_once(cells: list[Cell]) -> None:
    report = Reproduction(tuple(cells))
    assert sum(report.counts().values()) == len(cells)
    for status in Status:
        assert report.counts()[status] == sum(report.counts(table)[status] for table in report.tables)
    assert sorted(report.tables) == sorted({cell.table for cell in cells})
    assert report.holds == (report.counts()[Status.MISMATCH] == 0)


@given(st.lists(CELLS, max_size=8))
@settings(max_examples=25)
def test_what_is_printed_counts_what_is_recorded(cells: list[Cell]) -> None:
    report = Reproduction(tuple(cells), (LeftOut("headline", "a claim", "54 %", "nobody published it"),))
    record, stream = report_record(report), io.StringIO()
    print_report(report, Console(file=stream, width=200))
    printed = stream.getvalue()
    last = next(line for line in printed.splitlines() if line.startswith("all"))
    assert [int(number) for number in last.split()[1:]] == [*report.counts().values(), len(cells)]
    assert ("cells that did not come out" in printed) == any(cell.status is not Status.REPRODUCED for cell in cells)
    assert "not recomputable: a claim: 54 % (nobody published it)" in printed
    assert len(record["cells"]) == len(cells)
    assert record["summary"].keys() == set(report.tables)


def test_every_cell_of_every_table_says_which_number_it_is_of() -> None:
    report = reproduce([])
    assert report.tables == tuple(TABLES)
    places = [(cell.table, cell.row, cell.column) for cell in report.cells]
    assert len(places) == len(set(places)), "no number is judged twice"
    for cell in report.cells:
        assert cell.published
        assert cell.row
        assert (cell.reason == "") == (cell.status is Status.REPRODUCED), cell


def test_the_tables_are_asked_for_in_any_order_and_answered_in_theirs() -> None:
    whole = reproduce([])
    some = reproduce(["9", "2", "9"])
    assert set(some.tables) == {"2", "9"}
    assert [cell for cell in whole.cells if cell.table in ("2", "9")] == sorted(
        some.cells, key=[cell for cell in whole.cells if cell.table in ("2", "9")].index
    )


def test_every_row_has_three_averages_and_every_row_of_table_7_one() -> None:
    folder = bundled_folder("published")
    for table in ("2", "3"):
        cells = accuracy_cells(table, folder)
        rows = list(dict.fromkeys(cell.row for cell in cells))
        assert [cell.column for cell in cells] == ["avg_acc", "avg_acc_norm", "dclm_core"] * len(rows)
    assert {cell.column for cell in core_cells(folder)} == {"average"}


@pytest.mark.parametrize(
    ("counts", "text"),
    [
        (LayerCounts(5, 11), "5 A + 11 M"),
        (LayerCounts(0, 1), "0 A + 1 M"),
        (LayerCounts(2, 3, 4), "2 A + 3 M + 4 Mb"),
    ],
)
def test_layers_are_written_with_mamba_only_where_there_is_any(counts: LayerCounts, text: str) -> None:
    assert str(counts) == text
