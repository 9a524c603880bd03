"""`aira-bench scale latency` as a user types it: measured in a process at toy size, shown again, and drawn."""

import csv
import json
from pathlib import Path

import pytest

from aira_bench.cli.main import run_command_line
from aira_contract.latency import LatencyRow, Machine
from aira_contract.primitives import SYMBOLS

TOY = ["--scale", "toy", "--device", "cpu", "--context", "8", "--phase", "decode", "--decode-batch", "1"]


def _table(path: Path) -> Path:
    """Parts of 1B with round figures."""
    lines = [Machine({"device": "H100"}).to_line()]
    for number, part in enumerate((*SYMBOLS, "embedding", "head"), start=1):
        lines.append(
            LatencyRow(
                part=part, scale="1B", space="2-primitive", name="", pattern="", phase="forward", batch=1, length=8192,
                context=0, dtype="bfloat16", cache="cold", copies=2, captured=True, median_s=number / 1e3,
                low_s=number / 1e3, high_s=number / 1e3, rounds=20,
            ).to_line()
        )  # fmt: skip
    path.write_text("\n".join(lines) + "\n")
    return path


def test_a_toy_is_measured_kept_line_by_line_and_shown_again(
    tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    out = tmp_path / "latency.jsonl"
    measure = ["scale", "latency", "Mb-A", *TOY, "--vocabulary", "50", "--rounds", "2", "--limit-s", "2000"]
    measure += ["--out", str(out), "--json"]
    assert run_command_line(measure) == 0
    said = json.loads(capsys.readouterr().out)
    (model,) = said["models"]
    assert model["pattern"] == "Mb-A"
    assert model["total_s"] > model["blocks_s"] > 0
    assert model["measured_s"] > 0
    assert model["difference"] == pytest.approx(model["total_s"] / model["measured_s"] - 1)
    assert {row["part"] for row in said["rows"]} == {"Mb", "mA", "embedding", "head", "model"}
    assert said["machine"]["clock"] == "processor time"
    assert run_command_line(["scale", "latency", "--from", str(out), "--scale", "toy", "--json"]) == 0
    assert json.loads(capsys.readouterr().out)["models"] == said["models"]
    assert run_command_line(["scale", "latency", "--from", str(out), "--scale", "toy"]) == 0
    shown = capsys.readouterr().out
    assert "decode 1 x 1 behind 8" in shown
    assert "sum against whole" in shown


def test_the_figure_has_every_architecture_of_tables_2_and_3(
    tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    pytest.importorskip("matplotlib")
    table, folder = _table(tmp_path / "latency.jsonl"), tmp_path / "figures"
    assert run_command_line(["scale", "latency", "--from", str(table), "--figure", str(folder), "--json"]) == 0
    said = json.loads(capsys.readouterr().out)
    files = {path.name: path.read_bytes() for path in folder.iterdir()}
    assert set(files) == {f"figure07_latency_pareto.{kind}" for kind in ("svg", "pdf", "csv")}
    rows = list(csv.DictReader(files["figure07_latency_pareto.csv"].decode().splitlines()))
    assert len(rows) == 21
    llama = next(row for row in rows if row["architecture"] == "Llama 3.2")
    assert float(llama["blocks_s"]) == pytest.approx(16 * (1 + 2) / 1e3)
    assert float(llama["latency_s"]) == pytest.approx(16 * 3e-3 + 9e-3)
    assert (llama["loss"], llama["pattern"]) == ("2.815", "16(A-M)")
    front = {row["architecture"] for row in rows if row["on_front"] == "True"}
    assert said["fronts"][0]["architectures"] == [row["architecture"] for row in rows if row["on_front"] == "True"]
    assert "AIRAhybrid-D (Stretched)" in front  # the lowest loss of all
    assert run_command_line(["scale", "latency", "--from", str(table), "--figure", str(folder)]) == 0
    assert {path.name: path.read_bytes() for path in folder.iterdir()} == files


def test_what_cannot_be_drawn_says_why(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    table = str(_table(tmp_path / "latency.jsonl"))
    figure = ["--figure", str(tmp_path / "figures")]
    assert run_command_line(["scale", "latency", "--from", table, "--scale", "350M", *figure]) == 2
    assert "prints losses at 1B alone" in capsys.readouterr().err
    assert run_command_line(["scale", "latency", "--from", table, "--losses", "x.csv"]) == 2
    assert "--losses are for the figure" in capsys.readouterr().err
    assert not (tmp_path / "figures").exists()


def test_a_device_that_is_not_there_is_said_in_one_line(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    torch = pytest.importorskip("torch")
    if torch.cuda.is_available():
        pytest.skip("there is a device")
    out = tmp_path / "latency.jsonl"
    assert run_command_line(["scale", "latency", "A", "--out", str(out)]) == 3
    said = capsys.readouterr()
    assert said.out == ""
    assert "torch finds no CUDA device here" in said.err
    assert "--device cpu" in said.err
    assert len(said.err.strip().splitlines()) == 1
