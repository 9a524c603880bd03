"""Figures 5, 6, 23 and 24 from planted programmes: what is drawn is in the CSV, and the same runs give the same bytes."""

import csv
from pathlib import Path

import numpy as np
import pytest

from aira_bench.cli.main import run_command_line
from scaling.planted_programmes import BUDGETS, SIZES, loss, table, written

HYBRIDS = {"Nemotron-2": -0.035, "AIRAhybrid-C (Stretched)": -0.043}
FORMERS = {"Llama 3.2": -0.035, "AIRAformer-C (Stacked)": -0.054}


def draw(folder: Path, text: str, out: str, *options: str) -> Path:
    path = written(folder, text)
    assert (
        run_command_line(["scale", "fit", str(path), "--resamples", "200", "--out", str(folder / out), *options]) == 0
    )
    return folder / out


def rows(path: Path) -> list[dict[str, str]]:
    with path.open(newline="") as stream:
        return list(csv.DictReader(stream))


def test_files_and_values(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    drawn = draw(tmp_path, table(FORMERS), "drawn", "--noise", "0.000001")
    names = ("figure05_frontiers", "figure05_isoflop_parabolas", "figure23_isoflop_losses")
    assert {path.name for path in drawn.iterdir()} == {
        f"{name}.{kind}" for name in names for kind in ("svg", "pdf", "csv")
    }
    assert "figure05_frontiers" in capsys.readouterr().err
    runs = [row for row in rows(drawn / "figure05_isoflop_parabolas.csv") if row["kind"] == "run"]
    assert len(runs) == 2 * len(SIZES) * len(BUDGETS)
    assert all(
        float(row["loss"]) == pytest.approx(
            loss(FORMERS[row["architecture"]], float(row["parameters"]), float(row["budget_flops"]))
        )
        for row in runs
    )  # fmt: skip
    curve = [row for row in rows(drawn / "figure05_isoflop_parabolas.csv") if row["kind"] == "curve"]
    assert all(
        float(row["loss"]) == pytest.approx(
            loss(FORMERS[row["architecture"]], float(row["parameters"]), float(row["budget_flops"])), rel=1e-6
        )
        for row in curve
    )  # fmt: skip
    told = {(row["kind"], row["architecture"]): row for row in rows(drawn / "figure05_frontiers.csv")}
    slope = told["slope", "AIRAformer-C (Stacked)"]
    assert float(slope["value"]) == pytest.approx(-0.054)
    assert float(slope["low"]) <= float(slope["value"]) <= float(slope["high"])
    faster = told["per cent faster by slope than Llama 3.2", "AIRAformer-C (Stacked)"]
    assert float(faster["value"]) == pytest.approx(100 * (54 / 35 - 1), rel=1e-4)
    assert {row["size"] for row in rows(drawn / "figure23_isoflop_losses.csv")} == {
        "350M parameters", "1B parameters", "3B parameters"
    }  # fmt: skip


def test_hybrids_are_figures_6_and_24(tmp_path: Path) -> None:
    drawn = draw(tmp_path, table(HYBRIDS, np.random.default_rng(1)), "drawn")
    assert {path.stem for path in drawn.iterdir()} == {
        "figure06_frontiers", "figure06_isoflop_parabolas", "figure24_isoflop_losses"
    }  # fmt: skip


def test_the_same_runs_give_the_same_bytes(tmp_path: Path) -> None:
    text = table(FORMERS, np.random.default_rng(2))
    header, *lines = text.splitlines()
    first = draw(tmp_path, text, "first", "--reference", "Llama 3.2")
    second = draw(tmp_path, "\n".join([header, *reversed(lines)]), "second", "--reference", "Llama 3.2")
    for path in first.iterdir():
        assert path.read_bytes() == (second / path.name).read_bytes(), path.name


def test_a_programme_without_a_frontier_is_drawn_without_one(tmp_path: Path) -> None:
    drawn = draw(tmp_path, table(FORMERS, sizes=SIZES[:2]), "drawn")
    assert {path.stem for path in drawn.iterdir()} == {"figure05_isoflop_parabolas", "figure23_isoflop_losses"}


def test_names_of_strangers_are_text(tmp_path: Path) -> None:
    drawn = draw(tmp_path, table({"$x_{1}$": -0.04, "=SUM(A1)": -0.05}, np.random.default_rng(3)), "drawn")
    names = {row["architecture"] for row in rows(drawn / "figure05_frontiers.csv")}
    assert "=SUM(A1)" not in names, "a cell that a spreadsheet would compute"
