"""Scores on a generated stand-in are marked wherever they appear, and never share a table with real ones."""

import json
from pathlib import Path

import pytest

from aira_bench.boards.board import build_tables
from aira_bench.boards.formats import heading, records, to_csv, to_json, to_markdown
from aira_bench.cli.main import run_command_line
from aira_bench.record.folder import RunFolder
from generated_runs import manifest, write_run

DATA = {"hidden": {"sha256": "b" * 64, "bytes": 1}}


@pytest.fixture
def runs(tmp_path: Path) -> list[RunFolder]:
    """Two runs that differ in nothing but what their data is."""
    made_up = manifest("made-up", seeds=(0,), steps=3, data=DATA | {"synthetic": True})
    return [write_run(tmp_path, manifest("real", seeds=(0,), steps=3, data=DATA)), write_run(tmp_path, made_up)]


def test_real_and_synthetic_runs_never_share_a_table(runs: list[RunFolder]) -> None:
    tables = build_tables(runs)
    assert sorted((table.section.synthetic, len(table.rows)) for table in tables) == [(False, 1), (True, 1)]
    marked = [table for table in tables if "SYNTHETIC DATA" in heading(table)]
    assert [table.section.synthetic for table in marked] == [True]


def test_every_format_says_which_rows_are_synthetic(runs: list[RunFolder]) -> None:
    tables = build_tables(runs)
    assert sorted(record["synthetic"] for record in records(tables)) == [False, True]
    assert sorted(record["synthetic"] for record in json.loads(to_json(tables))) == [False, True]
    header, *rows = to_csv(tables).splitlines()
    place = header.split(",").index("synthetic")
    assert {row.split(",")[place] for row in rows} == {"True", "False"}
    assert to_markdown(tables).count("SYNTHETIC DATA") == 1


def test_the_list_of_runs_says_it_too(runs: list[RunFolder], capsys: pytest.CaptureFixture[str]) -> None:
    assert run_command_line(["status", "--runs", str(runs[0].path.parent), "--json"]) == 0
    listed = {row["run"]: row["synthetic"] for row in json.loads(capsys.readouterr().out)}
    assert listed == {"real": False, "made-up": True}


def test_a_run_of_before_sources_counts_as_real(tmp_path: Path) -> None:
    assert not manifest("old", seeds=(0,), steps=1).synthetic
