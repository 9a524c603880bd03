"""The bench of pretraining runs on a CPU at toy size, through the same code."""

import json
import subprocess
import sys
from pathlib import Path

BENCH = Path(__file__).resolve().parents[2] / "bench" / "pretrain_speed.py"


def test_rows_are_measured_and_one_that_takes_too_long_leaves_the_next_its_turn() -> None:
    command = [sys.executable, str(BENCH), "--toy", "--steps", "3", "--measure-s", "0.1"]
    done = subprocess.run([*command, "--rows", "2"], capture_output=True, text=True, check=True)
    entries = [json.loads(line) for line in done.stdout.splitlines()]
    assert [entry.get("row") for entry in entries] == [2, None]
    assert entries[0]["tokens_per_s"] > 0
    assert entries[0]["steps"] == 3
    late = subprocess.run(
        [*command, "--rows", "0", "1", "--row-limit-s", "0.01"], capture_output=True, text=True, check=True
    )
    entries = [json.loads(line) for line in late.stdout.splitlines()]
    assert [entry.get("error") for entry in entries] == ["over 0 s", "over 0 s", None]
    assert entries[-1] == {"left_out": []}
