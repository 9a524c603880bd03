"""Runs `on_an_absent_device.py` in a process that has trained nothing yet, which that file needs."""

import subprocess
import sys
from pathlib import Path

import pytest

pytest.importorskip("triton")
CASES = Path(__file__).with_name("on_an_absent_device.py")
ROOT = Path(__file__).parents[3]


@pytest.mark.timeout(900)
def test_paper_sizes_on_a_device_that_is_not_there() -> None:
    command = [sys.executable, "-m", "pytest", "-p", "no:cacheprovider", "-p", "no:xdist", str(CASES)]
    done = subprocess.run(command, cwd=ROOT, capture_output=True, text=True, timeout=800, check=False)
    assert done.returncode == 0, done.stdout[-20_000:] + done.stderr[-2_000:]
    assert "13 passed" in done.stdout
