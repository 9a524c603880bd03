"""Lists as people read them: every row a line, numbers lined up, and no column that says nothing."""

import contextlib
import io
import os
import subprocess
import sys
from pathlib import Path
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st
from rich.console import Console

from aira_bench.cli.tables import print_rows


def shown(
    capsys: pytest.CaptureFixture[str],
    rows: list[dict[str, Any]],
    *,
    empty: str = "nothing",
    optional: tuple[str, ...] = (),
) -> list[str]:
    print_rows(rows, empty=empty, optional=optional)
    return capsys.readouterr().out.splitlines()


def test_without_rows_the_sentence_for_that_is_printed(capsys: pytest.CaptureFixture[str]) -> None:
    assert shown(capsys, [], empty="No runs in there. Try: aira-bench run") == ["No runs in there. Try: aira-bench run"]


def test_numbers_stand_right_and_have_the_same_decimals(capsys: pytest.CaptureFixture[str]) -> None:
    lines = shown(capsys, [{"name": "a", "x": 1.5, "n": 3}, {"name": "long name", "x": 12.0625, "n": 400}])
    assert lines == ["name             x    n", "a           1.5000    3", "long name  12.0625  400"]


def test_decimals_end_with_the_longest_that_are_needed(capsys: pytest.CaptureFixture[str]) -> None:
    assert [line.split() for line in shown(capsys, [{"x": 1.0}, {"x": 2.0}])] == [["x"], ["1"], ["2"]]
    assert [line.split() for line in shown(capsys, [{"x": 1.25}, {"x": 2.0}])] == [["x"], ["1.25"], ["2.00"]]
    assert [line.split() for line in shown(capsys, [{"x": 1 / 3}])] == [["x"], ["0.3333"]]


def test_what_is_not_there_is_a_dash_and_yes_is_a_word(capsys: pytest.CaptureFixture[str]) -> None:
    rows = [{"a": "x", "b": None, "c": [], "d": True}, {"a": "y", "b": 1.0, "c": ["p", "q"], "d": False}]
    header, first, second = (line.split() for line in shown(capsys, rows))
    assert header == ["a", "b", "c", "d"]
    assert first == ["x", "-", "-", "yes"]
    assert second == ["y", "1", "p,", "q"]


def test_an_optional_column_is_shown_where_one_row_needs_it(capsys: pytest.CaptureFixture[str]) -> None:
    rows: list[dict[str, Any]] = [{"a": 1, "why": ""}, {"a": 2, "why": ""}]
    assert shown(capsys, rows, optional=("why",))[0].split() == ["a"]
    assert shown(capsys, rows)[0].split() == ["a", "why"]
    rows[1]["why"] = "broken"
    assert shown(capsys, rows, optional=("why",))[0].split() == ["a", "why"]


def test_fractions_in_a_list_are_as_short_as_alone(capsys: pytest.CaptureFixture[str]) -> None:
    print_rows([{"id": 1, "v": [0.9705701096571615, 0.5], "w": ["a", True]}], empty="")
    assert capsys.readouterr().out.split() == ["id", "v", "w", "1", "0.9706,", "0.5000", "a,", "yes"]


values = st.none() | st.booleans() | st.integers(-(10**6), 10**6) | st.floats(-1e6, 1e6) | st.text("ab c", max_size=8)


rows_drawn = st.lists(
    st.builds(lambda number, v, w: {"id": number, "v": v, "w": w}, st.integers(0, 99), values, values),
    min_size=1,
    max_size=6,
)


@given(rows_drawn)
def test_every_row_is_one_line_in_its_order(rows: list[dict[str, Any]]) -> None:
    out = io.StringIO()
    with contextlib.redirect_stdout(out):
        print_rows(rows, empty="")
    lines = out.getvalue().splitlines()
    assert len(lines) == len(rows) + 1
    assert [int(line.split()[0]) for line in lines[1:]] == [row["id"] for row in rows]
    assert len({len(line) for line in lines}) == 1, "columns end where they end"


@pytest.mark.parametrize("encoding", ["ascii", "latin-1", "utf-8"])
def test_a_terminal_without_a_character_is_shown_its_number(encoding: str, tmp_path: Path) -> None:
    card = tmp_path / "snow.toml"
    card.write_text('name = "snow"\ntitle = "Snow \u2603"\n', encoding="utf-8")
    done = subprocess.run(
        [sys.executable, "-m", "aira_bench", "run", "--agent", "evolution", "--task", "sn\u2603w"],
        capture_output=True, timeout=60, check=False, cwd=tmp_path,
        env={**os.environ, "PYTHONIOENCODING": encoding, "PYTHONUTF8": "0", "AIRA_HOME": str(tmp_path)},
    )  # fmt: skip
    assert done.returncode == 2
    said = done.stderr.decode(encoding)
    assert "Traceback" not in said
    assert ("\u2603" in said) or ("2603" in said)


def in_a_window(monkeypatch: pytest.MonkeyPatch, columns: int, rows: list[dict[str, Any]]) -> list[str]:
    """What is shown where stdout is a terminal of so many columns."""
    out = io.StringIO()
    console = Console(file=out, width=columns, force_terminal=True, color_system=None, highlight=False, markup=False)
    monkeypatch.setattr("aira_bench.cli.tables.results_console", lambda: console)
    print_rows(rows, empty="")
    return out.getvalue().splitlines()


RUNS = [
    {"run": f"evolution-mad-2p-cpu-{number}", "state": "finished", "record": "signed by 2d3dadad6e13fd81 (this machine)",
     "agent": "evolution", "task": "mad-2p", "profile": "cpu", "synthetic": False, "seeds": "10/10", "steps": 5000,
     "valid": 4321, "infra errors": 0, "tokens": "-", "cost": None}
    for number in range(2)
]  # fmt: skip


@pytest.mark.parametrize("columns", [20, 30, 80])
def test_a_window_too_narrow_for_the_columns_has_one_value_a_line(
    monkeypatch: pytest.MonkeyPatch, columns: int
) -> None:
    """At 80 columns the list of runs was three letters wide a column, at 30 one."""
    lines = in_a_window(monkeypatch, columns, RUNS)
    assert all(len(line) <= columns for line in lines)
    for part in ("  state: finished", "  task: mad-2p", "  steps: 5000"):
        assert [line.rstrip() for line in lines].count(part) == 2
    assert not any("tokens" in line or "cost" in line for line in lines), "what says nothing is left out"


def test_a_window_wide_enough_has_a_table(monkeypatch: pytest.MonkeyPatch) -> None:
    lines = in_a_window(monkeypatch, 200, RUNS)
    assert len(lines) == 3
    assert lines[0].split()[:3] == ["run", "state", "record"]
    few = [{"seed": 0, "step": 7, "class": "valid", "reason": "a long sentence that wraps " * 4}]
    assert in_a_window(monkeypatch, 60, few)[0].split() == ["seed", "step", "class", "reason"]
