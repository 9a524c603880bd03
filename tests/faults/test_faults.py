"""A sample of the faults that `make faults` tries: every family, and one of each kind at least."""

import os
import subprocess
import sys
from pathlib import Path

import pytest

SCRIPT = Path(__file__).with_name("all_faults.py")
EACH = 1
"""Of each family, where one of each kind is not more: some 50 faults, twenty seconds on two idle cores."""


OF_THE_END = ("EIO: fsync runs/run/record.jsonl", "signal: unlink runs/run/seeds/0/news.json", "signal: unlink leases/")


@pytest.mark.timeout(600)
def test_what_befalls_the_end_of_a_run_leaves_nothing_behind() -> None:
    """It is over then, and nobody comes back for what the end was to remove."""
    command = [sys.executable, str(SCRIPT), "--only", *(f"search: {fault}" for fault in OF_THE_END), "--workers", "1"]
    done = subprocess.run(command, capture_output=True, text=True, timeout=600, check=False)
    assert done.returncode == 0, f"{done.stdout}\n{done.stderr}"
    assert all(fault in done.stdout for fault in ("EIO", "signal")), "each was there to be tried"


@pytest.mark.timeout(900)
def test_a_sample_of_all_faults_ends_in_the_undisturbed_tree() -> None:
    command = [sys.executable, str(SCRIPT), "--sample", str(EACH), "--draw", os.environ.get("AIRA_DRAW", "1")]
    done = subprocess.run([*command, "--workers", "2"], capture_output=True, text=True, timeout=900, check=False)
    assert done.returncode == 0, f"{done.stdout}\n{done.stderr}"
    assert "| all |" in done.stdout
    assert ", 0 failed, " in done.stdout
