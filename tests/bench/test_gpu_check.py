"""The check for GPUs at toy sizes on a CPU: it runs, it leaves figures behind when cut off, and says what it lacks."""

import json
import os
import signal
import subprocess
import sys
import time
from pathlib import Path

import pytest
import torch

ROOT = Path(__file__).resolve().parents[2]
SCRIPT = ROOT / "bench" / "gpu_check.py"
TOY = ["--toy", "--stages"]


def command(out: Path, *options: str) -> list[str]:
    return [sys.executable, str(SCRIPT), "--out", str(out), *options]


def check(out: Path, *options: str) -> subprocess.CompletedProcess[str]:
    """As on a machine where nothing of ours is installed: no paths to our packages."""
    environment = {name: value for name, value in os.environ.items() if name != "PYTHONPATH"}
    return subprocess.run(command(out, *options), env=environment, capture_output=True, text=True, check=False)


def test_a_stage_leaves_its_figures_and_a_table(tmp_path: Path) -> None:
    finished = check(tmp_path, *TOY, "full_size")
    assert finished.returncode == 0, finished.stderr
    found = json.loads((tmp_path / "full_size.json").read_text())
    assert found["toy"] is True
    assert found["errors"] == []
    assert [row["what"] for row in found["rows"]] == [
        f"{name} 350M: tokens a second" for name in ("Llama 3.2", "AIRAformer-D", "AIRAhybrid-D")
    ]
    assert all(row["figure"] > 0 for row in found["rows"])
    table = (tmp_path / "table.md").read_text()
    assert "### full_size\n\nToy sizes: the figures mean nothing. Ended by itself" in table
    assert table in finished.stdout


def test_a_stage_that_takes_too_long_is_killed_and_the_next_one_has_its_turn(tmp_path: Path) -> None:
    finished = check(tmp_path, *TOY, "mad", "operations", "--limit", "1.4")
    assert finished.returncode == 0, finished.stderr
    table = (tmp_path / "table.md").read_text()
    assert "Ended killed at its limit of 1 s" in table.partition("### mad\n")[2].partition("###")[0]
    assert "### operations\n\nEnded before it began: no time was left, 0 s." in table
    unmeasured = table.strip().splitlines()[-1]
    assert unmeasured.startswith("Not measured: suite, ")
    assert unmeasured.endswith("together, autoresearch, listops, operations, full_size."), "also what nobody asked for"


def test_toys_are_held_against_no_bar(tmp_path: Path) -> None:
    row = {"what": "a candidate", "figure": 0.5, "unit": "s", "bar": "8 s", "met": True}
    for toy, shown in ((True, "| a candidate | 0.5 s |  |"), (False, "| a candidate | 0.5 s | 8 s, met |")):
        (tmp_path / "mad.json").write_text(json.dumps({"toy": toy, "rows": [row], "errors": []}))
        assert shown in check(tmp_path, "--table").stdout


@pytest.mark.parametrize("how", [signal.SIGTERM, signal.SIGKILL])
def test_what_was_found_before_everything_is_killed_can_be_shown(tmp_path: Path, how: signal.Signals) -> None:
    with subprocess.Popen(command(tmp_path, *TOY, "operations", "mad"), stdout=subprocess.DEVNULL) as running:
        deadline_s = time.monotonic() + 120
        while not (tmp_path / "operations.json").exists():
            assert time.monotonic() < deadline_s
            assert running.poll() is None
            time.sleep(0.1)
        running.send_signal(how)
    shown = check(tmp_path, "--table")
    assert shown.returncode == 0
    assert "| scan, 128 positions x 32, float32: chunks of 128, forward and backward |" in shown.stdout


@pytest.mark.skipif(torch.cuda.is_available(), reason="there is a device here")
def test_without_a_device_it_says_so_in_one_line(tmp_path: Path) -> None:
    finished = check(tmp_path)
    assert finished.returncode == 2
    assert finished.stderr.startswith("torch.cuda sees no device here")
    assert finished.stderr.count("\n") == 1
    assert finished.stdout == ""


def test_a_part_that_fails_is_written_down_and_the_next_goes_on(tmp_path: Path) -> None:
    sys.path.insert(0, str(ROOT / "bench"))
    from gpu_stages.record import Record

    record = Record(tmp_path / "stage.json", toy=True)

    def broken() -> None:
        raise RuntimeError("no such instruction\nand a long trace")

    assert not record.attempt("a kernel", broken)
    assert record.attempt("another", lambda: record.row("figure", 2.0, "s", bar="3 s", met=True))
    found = json.loads((tmp_path / "stage.json").read_text())
    assert found["errors"] == ["a kernel: RuntimeError: no such instruction"]
    assert found["rows"] == [{"what": "figure", "figure": 2.0, "unit": "s", "bar": "3 s", "met": True}]
