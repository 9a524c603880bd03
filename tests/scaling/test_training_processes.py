"""Trainings as processes: each holds its folder itself, and whoever is stopped asks them for a checkpoint."""

import fcntl
import sys
import time
from pathlib import Path

import pytest

from aira_bench.errors import AiraError
from aira_bench.scaling.plan.carrying_out import Begin, carry_out
from aira_bench.scaling.plan.experiments import PlannedCell, named_recipe
from aira_bench.scaling.plan.planned import PlanSettings, plan_all
from aira_bench.scaling.plan.trainings import seed_trainings
from aira_contract.gpu_types import PROCESSOR_CORE

WAITS = """
import signal, sys, time
from pathlib import Path
def stop(number, frame):
    Path(sys.argv[1]).write_text("a checkpoint")
    sys.exit(75)
signal.signal(signal.SIGTERM, stop)
Path(sys.argv[1] + ".begun").write_text("")
time.sleep(60)
"""


def lines(folder: Path, program: str, seeds: int = 2) -> list[Begin]:
    cell = PlannedCell("e", "2(A-M)", "toy", named_recipe("toy"), seeds)
    plan = plan_all("two", [cell], PlanSettings(PROCESSOR_CORE, 1))
    return [(run, [sys.executable, "-c", program, str(folder / str(run.seed))]) for run in seed_trainings(plan, folder)]


def until_begun(folder: Path) -> None:
    ends_s = time.monotonic() + 60
    while not (folder / "0.begun").exists():
        assert time.monotonic() < ends_s
        time.sleep(0.05)


def test_a_training_is_asked_to_stop_with_who_began_it(tmp_path: Path) -> None:
    asked = lines(tmp_path, WAITS)

    def stopped_at_the_second(line: str) -> None:
        if line.startswith("2 of 2"):
            until_begun(tmp_path)
            raise KeyboardInterrupt

    with pytest.raises(KeyboardInterrupt):
        carry_out(asked, 2, stopped_at_the_second)
    assert (tmp_path / "0").read_text() == "a checkpoint"


def test_one_that_fails_stops_the_others_and_is_named(tmp_path: Path) -> None:
    (first, waits), (second, _) = lines(tmp_path, WAITS)

    def told(line: str) -> None:
        if line.startswith("2 of 2"):
            until_begun(tmp_path)

    with pytest.raises(AiraError, match=r"s1 diverged"):
        carry_out([(first, waits), (second, [sys.executable, "-c", "raise SystemExit(76)"])], 2, told)
    assert (tmp_path / "0").read_text() == "a checkpoint"


def test_a_folder_that_another_process_trains_is_left_alone(tmp_path: Path) -> None:
    asked = lines(tmp_path, "", seeds=1)
    asked[0][0].folder.mkdir(parents=True)
    with (asked[0][0].folder / ".lock").open("w") as lock:
        fcntl.flock(lock, fcntl.LOCK_EX)
        with pytest.raises(AiraError, match="Another process trains"):
            carry_out(asked, 1, lambda line: None)
    carry_out(asked, 1, lambda line: None)
