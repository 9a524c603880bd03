"""The published tables, recomputed; and that broken tables are noticed."""

import argparse
import json
from fractions import Fraction
from pathlib import Path

import pytest
from hypothesis import given
from hypothesis import strategies as st

from aira_bench.cli import reproduce as command
from aira_bench.errors import PrerequisiteError, UsageError
from aira_bench.published_tables import FILES
from aira_bench.reproduce.cells import Cell, Status, compare_decimal
from aira_bench.reproduce.tables import TABLES, reproduce
from published_tables import edit

_STRETCHED = [f"AIRAformer-A (Stretched) {scale}" for scale in ("350M", "1B", "3B")]
_WRONG_PATTERNS = {
    *_STRETCHED,
    "AIRAformer-C (Stacked) 3B", "AIRAformer-C (Stretched) 350M", "AIRAformer-C (Stretched) 3B",
    "AIRAformer-D (Stacked) 3B", "AIRAformer-D (Stretched) 350M", "AIRAformer-D (Stretched) 3B",
    "Nemotron-H (Approx.) 1B", "Nemotron-H (Approx.) 3B",
    "Nemotron-2 (Approx.) 350M", "Nemotron-2 (Approx.) 1B", "Nemotron-2 (Approx.) 3B",
    "AIRAhybrid-B (Stacked) 350M", "AIRAhybrid-D (Stacked) 1B", "AIRAhybrid-D (Stacked) 3B",
}  # fmt: skip


def mismatches(cells: tuple[Cell, ...]) -> list[tuple[str, str]]:
    return [(cell.row, cell.column) for cell in cells if cell.status is Status.MISMATCH]


def test_every_step_count_is_reproduced() -> None:
    report = reproduce(["10", "11"])
    assert len(report.cells) == 285
    assert report.counts()[Status.REPRODUCED] == 285


def test_nothing_is_a_mismatch_and_every_other_status_has_a_reason() -> None:
    report = reproduce()
    assert report.holds
    assert set(report.tables) == set(TABLES)
    for cell in report.cells:
        assert (cell.status is Status.REPRODUCED) == (not cell.reason)


def test_the_contradicting_rows_are_found() -> None:
    wrong = {
        cell.row for cell in reproduce(["8", "9"]).cells if cell.column == "layers" and cell.status != "reproduced"
    }
    assert wrong == _WRONG_PATTERNS
    assert reproduce(["layers"]).counts()[Status.ERRATUM] == 28


def test_the_averages_of_four_baselines_are_taken_over_other_tasks() -> None:
    rows = [cell.row for cell in reproduce(["2", "3"]).cells if cell.status is Status.ERRATUM]
    assert rows == ["Nemotron-H Approx.", "Nemotron-2 Approx.", "Mamba (Mb + M)", "Composer (2Mb-M-3A)"]


def test_an_edited_step_count_is_a_mismatch(folder: Path) -> None:
    edit(folder, "10", lambda rows: rows[3].update(steps_8e19="48702"))
    report = reproduce(["10"], folder)
    assert not report.holds
    assert mismatches(report.cells) == [("AIRAformer-B (Stacked) 350M", "steps_8e19")]


def test_edited_parameters_are_a_mismatch_where_the_pattern_fits_its_row(folder: Path) -> None:
    edit(folder, "8", lambda rows: rows[0].update(params_b="0.37"))
    assert mismatches(reproduce(["8"], folder).cells) == [("Llama 3.2 350M", "params_b")]


def test_edited_parameters_are_a_mismatch_in_a_contradicting_row_too(folder: Path) -> None:
    def change(rows: list[dict[str, str]]) -> None:
        row = next(row for row in rows if row["architecture"].startswith("Nemotron-2") and row["scale"] == "1B")
        row["params_b"] = "1.40"

    edit(folder, "9", change)
    cells = mismatches(reproduce(["9"], folder).cells)
    assert ("Nemotron-2 (Approx.) 1B", "params_b") in cells


def test_an_edited_average_is_a_mismatch(folder: Path) -> None:
    edit(folder, "7", lambda rows: rows[0].update(average="47.1"))
    edit(folder, "2", lambda rows: rows[0].update(avg_acc="57.8"))
    cells = mismatches(reproduce(["2", "7"], folder).cells)
    assert cells == [("Llama 3.2", "avg_acc"), ("Llama 3.2", "average")]


def test_an_edited_headline_is_a_mismatch(folder: Path) -> None:
    edit(folder, "headline", lambda rows: rows[0].update(value="2.5"))
    assert not reproduce(["headline"], folder).holds


def test_claims_that_nothing_supports_are_listed() -> None:
    assert any("scales faster" in claim.row for claim in reproduce(["headline"]).left_out)


def test_damaged_tables_and_unknown_names(folder: Path) -> None:
    with pytest.raises(UsageError, match="'22'"):
        reproduce(["22"])
    (folder / FILES["10"]).write_text("scale,architecture\n1B,x\n")
    with pytest.raises(PrerequisiteError, match="missing"):
        reproduce(["10"], folder)
    (folder / FILES["11"]).unlink()
    with pytest.raises(PrerequisiteError, match="cannot be read"):
        reproduce(["11"], folder)


@given(st.fractions(0, 100), st.integers(0, 4))
def test_a_value_printed_by_rounding_is_reproduced(value: Fraction, places: int) -> None:
    _, text = compare_decimal("0." + "0" * places if places else "0", value, Fraction(0))
    assert abs(Fraction(text) - value) * 2 <= Fraction(1, 10**places)
    assert compare_decimal(text, value, Fraction(0))[0] is Status.REPRODUCED


def test_command_prints_every_cell_and_sets_the_exit_status(
    capsys: pytest.CaptureFixture[str], folder: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    parser = argparse.ArgumentParser()
    command.register(parser.add_subparsers())
    args = parser.parse_args(["reproduce", "--json"])
    assert args.handle(args) == 0
    document = json.loads(capsys.readouterr().out)
    assert {"published", "computed", "status", "reason"} <= set(document["cells"][0])
    assert document["summary"]["10"]["reproduced"] == 120

    edit(folder, "11", lambda rows: rows[0].update(steps_2e19="1"))
    monkeypatch.setattr("aira_bench.published_tables.bundled_folder", lambda name: folder)
    args = parser.parse_args(["reproduce", "11"])
    assert args.handle(args) == 1
    assert "mismatch" in capsys.readouterr().out
