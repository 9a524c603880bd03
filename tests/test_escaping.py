"""Escaping: one function for each medium, whatever a stranger wrote."""

import csv
import html
import io
import unicodedata
from collections.abc import Callable

import pytest
from hypothesis import given
from hypothesis import strategies as st

from aira_bench.escaping import CELL_CHARS, csv_cell, json_text, markdown, one_line, printable, xml_text
from hostile_text import HOSTILE, is_raw

ANY_TEXT = st.text(st.characters(codec=None), max_size=60) | st.sampled_from(HOSTILE)
PLAIN_TEXT = st.text("abcdefghijklmnopqrstuvwxyzABCDEFGHIJKLMNOPQRSTUVWXYZ0123456789 .,;()_/#äßéλ中", max_size=200)
FUNCTIONS: tuple[Callable[[object], object], ...] = (
    lambda value: printable(str(value)),
    one_line,
    markdown,
    csv_cell,
    xml_text,
)


@pytest.mark.parametrize("function", FUNCTIONS)
@given(text=ANY_TEXT)
def test_nothing_raw_survives_and_escaping_twice_changes_nothing(
    function: Callable[[object], object], text: str
) -> None:
    shown = str(function(text))
    assert not is_raw(shown.replace("\n", "").replace("\t", "") if function is FUNCTIONS[0] else shown)
    assert function(shown) == shown


@pytest.mark.parametrize("function", FUNCTIONS)
@given(text=PLAIN_TEXT)
def test_plain_text_stays_as_it_is(function: Callable[[object], object], text: str) -> None:
    assert function(text) == text


@given(text=ANY_TEXT)
def test_no_cell_of_csv_begins_a_formula_or_a_row(text: str) -> None:
    written = io.StringIO()
    csv.writer(written, lineterminator="\n").writerow(["first", csv_cell(text), -1.5])
    assert written.getvalue().count("\n") == 1
    (row,) = csv.reader([written.getvalue()])
    assert row[2] == "-1.5"
    assert not row[1].lstrip().startswith(("=", "+", "-", "@", "\uff1d", "\uff0b", "\uff0d", "\uff20"))


def test_no_part_of_a_cell_is_a_formula_where_semicolons_part_cells() -> None:
    """As in spreadsheets of languages that write 0,5 for a half."""
    assert csv_cell('a;=HYPERLINK("x")') == 'a;\'=HYPERLINK("x")'
    assert csv_cell("a; +1;b;c") == "a; '+1;b;c"
    assert csv_cell("\xa0=1") == "'\xa0=1"


@pytest.mark.parametrize("value", [0, -1, 2.5, -1e300, None, True])
def test_numbers_of_csv_stay_numbers(value: object) -> None:
    assert csv_cell(value) is value


@given(text=ANY_TEXT)
def test_a_cell_of_markdown_stays_a_cell(text: str) -> None:
    shown = markdown(text)
    assert not set(shown) & set("|`<>[]*~\\@\n\r")
    assert "://" not in shown


@given(text=ANY_TEXT)
def test_text_of_a_picture_is_text(text: str) -> None:
    shown = xml_text(text)
    assert not set(shown) & set("<>\"'")
    assert html.unescape(html.unescape(shown)) == html.unescape(html.unescape(one_line(text)))


def test_a_megabyte_is_cut_and_says_so() -> None:
    shown = one_line("a" * 1_000_000)
    assert len(shown) == CELL_CHARS
    assert shown.endswith("[... of 1000000 characters]")


def test_json_is_ascii() -> None:
    assert json_text(HOSTILE).isascii()
    assert not is_raw(json_text(HOSTILE).replace("\n", ""))


def test_accents_pile_up_to_three() -> None:
    shown = printable("Z" + "\u0301" * 50)
    assert sum(unicodedata.category(character) == "Mn" for character in shown) == 3
