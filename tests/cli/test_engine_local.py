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


def test_workers_confirm_a_run_that_one_process_searched(tmp_path: Path) -> None:
    """Stopped while they train and gone on with; the scores are those that one process has, and none comes twice."""
    stage = Stage(tmp_path, {"AIRA_RUNS": str(tmp_path / "runs"), "AIRA_PLAYED_TRAINING_S": "0.3"})
    folder = RunFolder(tmp_path / "runs" / "alone")
    with stage.running(*RUN, "--name", "alone", "--no-confirm") as command:
        assert command.popen.wait() == 0, command.said
    with stage.running("confirm", "alone", "--engine", "local", "--workers", "1") as command:
        command.wait_for(lambda: confirmed(folder) >= 1)
        command.stop(signal.SIGTERM)
        assert command.popen.returncode == 130
        assert command.said.rstrip().endswith("Go on with: aira-bench confirm alone --engine local --workers=1")
    assert not folder.is_live
    before = confirmed(folder)
    with stage.running("confirm", "alone", "--engine", "local") as command:
        assert command.popen.wait() == 0, command.said
    site = Site(tmp_path)
    record = site.record(folder)
    assert record.closed
    assert tree(record) == site.undisturbed(seeds=(0, 1), confirm=True)
    assert before < confirmed(folder) == sum(len(seed.confirmations.done) for seed in record.seeds)
    assert {entry.state for entry in folder.lease_entries().values()} == {"over"}
    with stage.running("confirm", "alone", "--engine", "local") as command:
        assert command.popen.wait() == 0, command.said
        assert "workers on this machine" not in command.said, "nothing is left to do"


def test_workers_confirm_under_another_key_what_workers_confirmed(tmp_path: Path) -> None:
    stage = Stage(tmp_path, {"AIRA_RUNS": str(tmp_path / "runs")})
    folder = RunFolder(tmp_path / "runs" / "shared")
    key = tmp_path / "keys" / "of another"
    key.parent.mkdir()
    for words in (
        (*RUN, "--name", "shared", "--engine", "local"),
        ("key", "hidden", str(key)),
        ("confirm", "shared", "--engine", "local", "--hidden-key", str(key)),
    ):
        with stage.running(*words) as command:
            assert command.popen.wait() == 0, command.said
    confirmations = [seed.confirmations for seed in Site(tmp_path).record(folder).seeds]
    assert all(each.hidden_key is not None for each in confirmations)
    assert {seen for each in confirmations for seen, _, _ in each.done} == {None, confirmations[0].hidden_key}


@pytest.mark.parametrize(
    "options", [("--slurm-args", "-t"), ("--slurm-args", "--time='1"), ("--slurm-args", "--array=0-3")]
)
def test_options_of_an_engine_are_read_before_a_run_is_made(tmp_path: Path, options: tuple[str, str]) -> None:
    """Its folder stayed, and the same command with the options set right was refused for its name."""
    stage = Stage(tmp_path, {"AIRA_RUNS": str(tmp_path / "runs")})
    with stage.running(*RUN, "--name", "typo", "--engine", "slurm", "=".join(options)) as command:
        assert command.popen.wait() == 2
        assert "--slurm-args" in command.said
    assert not (tmp_path / "runs" / "typo").exists()


def test_what_forbids_a_confirmation_is_said_before_workers_are_started(tmp_path: Path) -> None:
    stage = Stage(tmp_path, {"AIRA_RUNS": str(tmp_path / "runs"), "AIRA_PLAYED_FAILURE": "1"})
    with stage.running(*RUN, "--name", "broken") as command:
        assert command.popen.wait() == 5
    with stage.running("confirm", "broken", "--engine", "local") as command:
        assert command.popen.wait() != 0
        assert "No seed of broken has submitted anything" in command.said
    with stage.running("confirm", "broken", "--workers", "2") as command:
        assert command.popen.wait() == 2
        assert "--workers needs --engine" in command.said
    with stage.running("worker", str(tmp_path / "runs" / "broken"), "--hidden-key", "key") as command:
        assert command.popen.wait() == 2
        assert "--hidden-key needs --only-confirm" in command.said


def confirmed(folder: RunFolder) -> int:
    """How many trainings are recorded, by lines of files behind the first, which says whose they are."""
    files = folder.path.glob("seeds/*/hidden/confirmed.jsonl")
    return sum(len(path.read_bytes().splitlines()) - 1 for path in files)


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
