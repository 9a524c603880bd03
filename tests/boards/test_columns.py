"""The list of columns, and that every format is made of it and of nothing else."""

import csv
import io
import json
import re

import pytest
from hypothesis import given
from hypothesis import strategies as st
from rich.console import Console

from aira_bench.boards import columns, formats
from aira_bench.boards.board import Table
from aira_bench.boards.columns import COLUMNS, Column, Shown, cost, duration, shown_columns, tokens
from aira_bench.boards.formats import (
    heading,
    legend,
    print_tables,
    records,
    stacked,
    to_csv,
    to_json,
    to_markdown,
    to_terminal,
)
from aira_bench.record.node import ModelUse
from boards.made_boards import BPB, EMPTY, FULL, MAD, RETRIED, UNPRICED

ROWS = (FULL, UNPRICED, EMPTY, RETRIED)
TABLE = Table(MAD, (FULL, UNPRICED, EMPTY))


def test_no_two_columns_share_a_name_a_heading_or_a_place() -> None:
    names = [name for column in COLUMNS for name, _ in column.cells(FULL)]
    assert len(set(names)) == len(names)
    shown = shown_columns()
    assert len({each.heading for each in shown}) == len({each.place for each in shown}) == len(shown)
    assert [each.place for each in shown] == sorted(each.place for each in shown)


@pytest.mark.parametrize("row", ROWS)
def test_every_row_has_every_key_and_only_plain_values(row: object) -> None:
    (record,) = records([Table(MAD, (row,))])  # type: ignore[arg-type]
    assert list(record) == list(records([TABLE])[0])
    assert all(value is None or isinstance(value, str | int | float) for value in record.values())


def test_keys_that_others_parse_are_where_they_always_were() -> None:
    header = list(records([TABLE])[0])
    assert header[:9] == ["task", "metric", "lower_is_better", "profile", "hardware", "evaluator", "data", "seed_set",
                          "synthetic"]  # fmt: skip
    assert header[9:16] == ["agent", "scaffold", "fitness", "steps", "hours", "record", "isolation"]
    first = header.index("normalized_corrected_mean")
    assert header[first : first + 8] == [
        *("normalized_corrected_mean", "normalized_corrected_sd", "changed"),
        *("hidden_data", "confirmed_under", "shares_hidden_data_with", "noise_floor", "noise_measured"),
    ]
    assert header[header.index("left_out") :] == [
        *(
            "left_out",
            "published_submission_rate",
            "standing",
            "rank",
            "trainings",
            "search_deviation",
            "training_deviation",
        ),
        *("overclaim_mean", "overclaim_sd", "not_normalized", "ordered_by"),
    ]
    estimated = [name.removesuffix("_standard_error") for name in header if name.endswith("_standard_error")]
    assert estimated == ["validation", "test", "confirmed"]


@pytest.mark.parametrize("row", ROWS)
def test_a_cell_for_people_is_never_empty(row: object) -> None:
    for shown in shown_columns():
        text = shown.text(row)  # type: ignore[arg-type]
        assert text
        assert "\n" not in text


def test_a_new_column_reaches_every_format_from_its_one_entry(monkeypatch: pytest.MonkeyPatch) -> None:
    """Files get it at their end, tables at its place, and the legend says what it means."""
    entry = Column("luck", lambda row: len(row.results) / 7, Shown(35, "luck", lambda row: "7 %", "made up."))
    monkeypatch.setattr(columns, "COLUMNS", (*COLUMNS, entry))
    monkeypatch.setattr(formats, "COLUMNS", (*COLUMNS, entry))
    assert list(records([TABLE])[0])[-1] == "luck"
    assert to_csv([TABLE]).splitlines()[0].endswith(",luck")
    assert json.loads(to_json([TABLE]))[0]["luck"] == 8 / 7
    assert "| seeds | luck | run again |" in to_markdown([TABLE])
    assert "luck 7 %" in stacked(TABLE, 80)
    assert "Luck: made up." in legend([TABLE])
    console = Console(width=900, record=True, file=io.StringIO())
    console.print(to_terminal(TABLE))
    assert "luck" in console.export_text()


def test_csv_reads_back_as_the_records() -> None:
    rows = list(csv.DictReader(io.StringIO(to_csv([TABLE, Table(BPB, (RETRIED,))]))))
    for read, record in zip(rows, records([TABLE, Table(BPB, (RETRIED,))]), strict=True):
        for name, value in record.items():
            if isinstance(value, float) and not isinstance(value, bool):
                assert float(read[name]) == value, name
            elif value is None:
                assert read[name] == "", name
            else:
                assert read[name].lstrip("'") == str(value), name


def test_a_formula_in_a_name_is_no_formula_in_csv() -> None:
    assert ",'=HYPERLINK()," in to_csv([TABLE])
    assert json.loads(to_json([TABLE]))[1]["agent"] == "=HYPERLINK()"


def test_no_tables_are_an_empty_board() -> None:
    assert (records([]), to_csv([]), json.loads(to_json([])), legend([])) == ([], "", [], "")


@pytest.mark.parametrize("width", [40, 60, 80, 120, 200])
def test_a_stacked_board_fits_its_window_and_loses_no_value(width: int) -> None:
    text = stacked(TABLE, width)
    for line in text.splitlines():
        assert len(line) <= width or "   " not in line.strip(), "one item alone may be longer"
    for shown in shown_columns()[2:]:
        value = shown.text(FULL)
        assert f"{shown.heading} {value}" in re.sub(r"\n {2}", "   ", text) or value == "-"


@pytest.mark.parametrize("width", [60, 130, 240, 400])
def test_a_printed_board_says_every_cell_at_any_width(
    width: int, capsys: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(formats, "results_console", lambda: Console(width=width, highlight=False, markup=False))
    print_tables([TABLE])
    shown = capsys.readouterr().out
    assert "\N{HORIZONTAL ELLIPSIS}" not in shown
    for word in ("0 x5, 2 x2, 3 x2 and 2 more", "193, 14 infra, 24 retried", "signed by abcd (trusted)", "$6.1728"):
        assert word in re.sub(r"\s+", " ", shown)


def test_headings_say_what_rows_share_and_what_is_made_up() -> None:
    assert heading(TABLE) == "mad-2p - Accuracy, higher is better - profile cpu - a processor"
    assert heading(Table(BPB, ())).endswith("lower is better - profile cpu - a processor - SYNTHETIC DATA, no result on the "
                                            "real data")  # fmt: skip


def test_columns_without_anything_are_left_out_and_unexplained() -> None:
    alone = to_markdown([Table(MAD, (EMPTY,))])
    assert "| confirmed |" not in alone
    assert "Run again" not in legend([Table(MAD, (EMPTY,))])
    assert "Run again" in legend([Table(MAD, (EMPTY,)), TABLE]), "one table that shows it is enough"


# Texts ---------------------------------------------------------------------------------------------------------------


@given(st.floats(0, 1e7))
def test_durations_keep_their_size(seconds: float) -> None:
    text = duration(seconds)
    units = {"s": 1, "min": 60, "h": 3600}
    parts = re.findall(r"([0-9.]+) (s|min|h)", text)
    assert abs(sum(float(number) * units[unit] for number, unit in parts) - seconds) <= (0.51 if seconds < 3600 else 60)
    assert len(text) <= 16


@pytest.mark.parametrize(
    ("seconds", "text"),
    [
        (0, "0.0 s"),
        (9.96, "10.0 s"),
        (10.4, "10 s"),
        (59.6, "1 min 0 s"),
        (3599.6, "1 h 0 min"),
        (90_061, "25 h 1 min"),
    ],
)
def test_durations_at_their_borders(seconds: float, text: str) -> None:
    assert duration(seconds) == text


@pytest.mark.parametrize(
    ("use", "counted", "priced"),
    [
        (ModelUse(), "-", "-"),
        (ModelUse(1, 1200, 34, 0.5), "1,234", "$0.5000"),
        (ModelUse(1, None, 34, 0.5), "unknown", "$0.5000"),
        (ModelUse(1, 1200, None, None), "unknown", "unknown"),
        (ModelUse(1, 0, 0, 0.0), "0", "$0.0000"),
    ],
)
def test_what_a_provider_did_not_count_is_unknown_and_never_nought(use: ModelUse, counted: str, priced: str) -> None:
    assert (tokens(use), cost(use)) == (counted, priced)
