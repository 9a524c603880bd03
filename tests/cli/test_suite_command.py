"""`aira-bench suite` as it is typed, as a process of its own on a played machine: its end, Ctrl-C, and going on."""

import json
import os
import signal
import subprocess
import sys
import time
from pathlib import Path

import pytest

from aira_bench.cli.main import run_command_line
from aira_bench.errors import AskedInVain
from aira_bench.runs.leases import FOLDER_VARIABLE
from played_run import connect_host

PLAYED = Path(__file__).parents[1] / "played_run.py"
SUITE = """
title = "Two agents on MAD"
profile = "cpu"

[[matrix]]
agents = ["random", "baseline"]
tasks = ["mad-2p"]
seeds = 2
steps = 3
"""


class _Named:
    def __set_name__(self, owner: type, name: str) -> None:
        os.kill(os.getpid(), signal.SIGTERM)


def test_a_signal_while_a_library_is_imported_stops_it_like_any_other(
    place: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    """Python has an interrupted `__set_name__` as a RuntimeError, of which there was a traceback."""
    monkeypatch.setenv("AIRA_HOME", str(place / "home"))
    monkeypatch.setattr("aira_bench.suites.suite_file.read_suite", lambda named: type("Slots", (), {"each": _Named()}))
    assert run_command_line(["suite", str(place / "mine.toml")]) == 130
    assert capsys.readouterr().err.splitlines()[-1] == "aira-bench: stopped."


def test_a_cell_is_named_whatever_kind_of_error_it_failed_with(
    place: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    def fail(*_: object, **__: object) -> None:
        raise AskedInVain("the engine failed", hint="aira-bench doctor", attempts=3)

    for name, below in (("AIRA_HOME", "home"), ("AIRA_RUNS", "runs"), (FOLDER_VARIABLE, "leases")):
        monkeypatch.setenv(name, str(place / below))
    monkeypatch.setattr("aira_bench.runs.connect.connect_host", connect_host)
    monkeypatch.setattr("aira_bench.api.run", fail)
    assert run_command_line(["suite", str(place / "mine.toml")]) == AskedInVain.exit_code
    said = capsys.readouterr().err
    assert "error: random-mad-2p: the engine failed" in said
    assert "Try: aira-bench doctor" in said
    assert "0 of 2 cells have ended" in said


@pytest.fixture
def place(tmp_path: Path) -> Path:
    (tmp_path / "mine.toml").write_text(SUITE)
    return tmp_path


def begun(place: Path, *arguments: str, **variables: str) -> "subprocess.Popen[str]":
    environment = os.environ | {"AIRA_HOME": str(place / "home"), "AIRA_RUNS": str(place / "runs")} | variables
    return subprocess.Popen(
        [sys.executable, PLAYED, "suite", "mine.toml", *arguments], cwd=place, env=environment, text=True,
        stdout=subprocess.PIPE, stderr=subprocess.PIPE,
    )  # fmt: skip


def test_a_suite_that_is_stopped_says_how_it_goes_on_and_does(place: Path) -> None:
    first = begun(place, "--max-hours", "4", AIRA_PLAYED_STEP_S="20")
    ends_s = time.monotonic() + 60
    while not list((place / "runs").glob("mine/random-mad-2p/seeds/*/journal.jsonl")) and time.monotonic() < ends_s:
        time.sleep(0.1)
    first.send_signal(signal.SIGINT)
    out, said = first.communicate(timeout=60)
    assert first.returncode == 130, said
    assert said.splitlines()[-1] == "aira-bench: stopped. Go on with: aira-bench suite mine.toml --max-hours 4"
    assert out == ""
    second = begun(place, "--max-hours", "4", "--json")
    out, said = second.communicate(timeout=120)
    assert second.returncode == 0, said
    found = json.loads(out)
    assert found["cells"] == [
        {"run": "random-mad-2p", "state": "ended", "error": None},
        {"run": "baseline-mad-2p", "state": "ended", "error": None},
    ]
    assert {row["agent"] for row in found["board"]} == {"random", "baseline"}
    third = begun(place, "--max-hours", "2")
    out, said = third.communicate(timeout=120)
    assert third.returncode == 2
    assert "was begun with hours 0.75, and the suite has 0.25 now" in said, "before anything else begins"
