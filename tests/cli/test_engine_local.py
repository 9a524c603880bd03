"""`--engine local`: the commands of one process, carried out by workers, with the same tree and the same ending."""

import signal
import time
from pathlib import Path

import pytest
from test_stopping import Stage

from aira_bench.cli.engine import _until_over
from aira_bench.record.folder import RunFolder
from shared_runs import Site, tree

pytestmark = pytest.mark.timeout(240)
RUN = ("run", "--agent", "evolution", "--task", "mad-2p", "--profile", "cpu", "--steps", "4", "--seeds", "2")


def test_workers_bring_a_run_to_the_end_that_one_process_brings_it_to(tmp_path: Path) -> None:
    """Stopped by SIGTERM in the middle, and resumed; no worker is left by either."""
    stage = Stage(tmp_path, {"AIRA_RUNS": str(tmp_path / "runs"), "AIRA_PLAYED_STEP_S": "0.3"})
    folder = RunFolder(tmp_path / "runs" / "shared")
    with stage.running(*RUN, "--name", "shared", "--engine", "local") as command:
        command.wait_for(lambda: folder.path.exists() and any(len(folder.seed(seed).nodes) >= 1 for seed in (0, 1)))
        command.stop(signal.SIGTERM)
        assert command.popen.returncode == 130
        assert command.said.rstrip().endswith("Go on with: aira-bench resume shared --engine local")
    assert not folder.is_live, "its workers have ended with it"
    assert {entry.state for entry in folder.lease_entries().values()} == {"released"}
    with stage.running("resume", "shared", "--engine", "local", "--workers", "1") as command:
        assert command.popen.wait() == 0, command.said
        assert "1 workers on this machine" in command.said
        assert "seed 1 step 4/4: " in command.said
        assert command.popen.stdout is not None
        assert "Winner of seed 1" in command.popen.stdout.read().decode()
    site = Site(tmp_path)
    record = site.record(folder)
    assert record.closed
    assert tree(record) == site.undisturbed(seeds=(0, 1), confirm=True)


def test_a_seed_that_halts_is_named_with_the_exit_status_of_what_it_halted_for(tmp_path: Path) -> None:
    stage = Stage(tmp_path, {"AIRA_RUNS": str(tmp_path / "runs"), "AIRA_PLAYED_FAILURE": "1"})
    with stage.running(*RUN, "--name", "broken", "--engine", "local", "--workers", "1") as command:
        assert command.popen.wait() == 5, command.said
        assert "halted: " in command.said
        assert "Go on with: aira-bench resume broken --engine local" in command.said


class Ending:
    """A fleet whose workers end after a second."""

    def __init__(self) -> None:
        self.ends_s = time.monotonic() + 1.0

    def alive(self) -> int:
        return int(time.monotonic() < self.ends_s)

    def stop(self, grace_s: float) -> None:
        pass

    def describe(self) -> str:
        return "one worker"


def test_whoever_waits_for_workers_hears_of_their_end_though_looking_takes_long(tmp_path: Path) -> None:
    """Found by bench/launcher_overhead.py: after a look of a second the command slept for ten."""
    folder = Site(tmp_path).shared()
    began_s = time.monotonic()
    _until_over(Ending(), [folder], lambda: time.sleep(0.7))
    assert time.monotonic() - began_s < 4.0, "7 s and more before"
