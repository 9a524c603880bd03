"""Workers as processes of this machine."""

import os
import signal
import subprocess
import sys
import time
from collections import Counter
from pathlib import Path

import pytest

from aira_bench.errors import PrerequisiteError
from aira_bench.launchers.launcher import Fleet, WorkerOrder
from aira_bench.launchers.local import LocalLauncher
from aira_bench.launchers.worker_process import WorkerProcess
from eventually import eventually
from launchers.told_worker import notes

WORKER = Path(__file__).with_name("told_worker.py")


def order(folder: Path, seconds: float, workers: int = 1) -> WorkerOrder:
    command = (sys.executable, str(WORKER), str(folder), str(seconds))
    return WorkerOrder(command, workers, folder / "logs", environment={"AIRA_PLACE": "here"})


def said(folder: Path, what: str) -> int:
    return Counter(note["what"] for note in notes(folder))[what]


def started(folder: Path, seconds: float, workers: int) -> Fleet:
    fleet = LocalLauncher().start(order(folder, seconds, workers))
    eventually(lambda: said(folder, "begun") == workers)
    return fleet


def test_all_begin_and_end_and_what_they_say_is_kept(tmp_path: Path) -> None:
    fleet = started(tmp_path, 0.1, 3)
    eventually(lambda: fleet.alive() == 0)
    assert said(tmp_path, "ended") == 3
    assert [log.read_text() for log in sorted((tmp_path / "logs").iterdir())] == ["a worker says so\n"] * 3


def test_a_stop_tells_all_and_waits_for_their_end(tmp_path: Path) -> None:
    fleet = started(tmp_path, 60, 3)
    fleet.stop(30)
    assert (fleet.alive(), said(tmp_path, "told"), said(tmp_path, "ended")) == (0, 3, 3)


def test_who_does_not_end_in_its_grace_is_killed(tmp_path: Path) -> None:
    fleet = started(tmp_path, 60, 2)
    fleet.stop(0.1)
    eventually(lambda: fleet.alive() == 0, within_s=5)
    assert (said(tmp_path, "told"), said(tmp_path, "ended")) == (2, 0)


def test_a_terminals_interrupt_does_not_reach_workers(tmp_path: Path) -> None:
    """They are in sessions of their own, so each is told once, by its launcher."""
    fleet = started(tmp_path, 60, 2)
    assert {os.getsid(int(note["pid"] or 0)) for note in notes(tmp_path)}.isdisjoint({os.getsid(0)})
    fleet.stop(30)


def test_workers_end_with_whoever_started_them(tmp_path: Path) -> None:
    program = (
        "import sys, time\nfrom pathlib import Path\nfrom aira_bench.launchers.local import LocalLauncher\n"
        "from aira_bench.launchers.launcher import WorkerOrder\n"
        f"LocalLauncher().start(WorkerOrder({order(tmp_path, 60).arguments!r}, 2, Path({str(tmp_path)!r})))\n"
        "time.sleep(60)\n"
    )
    parent = subprocess.Popen([sys.executable, "-c", program])
    eventually(lambda: said(tmp_path, "begun") == 2)
    parent.kill()
    parent.wait()
    eventually(lambda: said(tmp_path, "ended") == 2, within_s=10)
    assert said(tmp_path, "told") == 2


def test_one_whose_parent_ended_before_it_was_tied_does_not_begin(tmp_path: Path) -> None:
    done = subprocess.run(
        [sys.executable, "-m", "aira_bench.launchers.worker_process", "1", sys.executable, "-c", "print('begun')"],
        capture_output=True, text=True, timeout=60, check=False,
    )  # fmt: skip
    assert (done.returncode, done.stdout) == (128 + signal.SIGTERM, "")


def test_a_program_that_is_not_there_is_named_in_its_log(tmp_path: Path) -> None:
    fleet = LocalLauncher().start(WorkerOrder(("no-such-program",), 1, tmp_path))
    eventually(lambda: fleet.alive() == 0)
    assert (tmp_path / "worker-0.log").read_text() == "no-such-program: No such file or directory\n"


def test_aira_bench_is_that_of_this_python(tmp_path: Path) -> None:
    worker = WorkerProcess(("aira-bench", "--version"), {"PATH": "/nowhere"}, tmp_path / "log")
    assert worker.wait(60) == 0
    assert (tmp_path / "log").read_text().startswith("aira-bench ")


def test_a_log_that_cannot_be_written_starts_nothing(tmp_path: Path) -> None:
    (tmp_path / "logs").mkdir()
    (tmp_path / "logs" / "worker-1.log").mkdir()
    with pytest.raises(PrerequisiteError, match="cannot be started"):
        LocalLauncher().start(order(tmp_path, 60, workers=2))
    time.sleep(0.3)
    assert said(tmp_path, "ended") == 0
