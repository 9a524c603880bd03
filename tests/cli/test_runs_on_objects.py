"""Whole runs on object storage, by real commands and workers on a played machine, against moto's S3 server."""

import json
import os
import re
import shutil
import signal
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest
from test_stopping import Stage

from aira_bench.record.folder import RunFolder
from object_server import BUCKET, KEYS, Storage, moto_server, small_server
from shared_runs import Site, tree

pytest.importorskip("s3fs")
pytest.importorskip("moto")
pytestmark = pytest.mark.timeout(240)
RUN = ("run", "--agent", "evolution", "--task", "mad-2p", "--profile", "cpu", "--steps", "4", "--seeds", "2")
RUNS = f"s3://{BUCKET}/runs"


@pytest.fixture
def stage(tmp_path: Path) -> Iterator[Stage]:
    with moto_server() as variables:
        yield Stage(tmp_path, variables | {"AIRA_PLAYED_STEP_S": "0.3", "AIRA_LEASE_S": "3"})


def said_in_json(stage: Stage, *arguments: str) -> Any:  # noqa: ANN401  # JSON
    """What a command prints; it does well."""
    with stage.running(*arguments, "--json") as command:
        assert command.popen.stdout is not None
        out = command.popen.stdout.read()
        assert command.popen.wait() == 0, command.said
    return json.loads(out)


def mirror_of(stage: Stage) -> Path:
    (found,) = (stage.root / "home" / "objects").glob("mirror-*")
    return found


def test_workers_bring_a_run_to_the_end_that_one_process_brings_it_to(stage: Stage) -> None:
    """Stopped in the middle, and resumed; then read by another machine that has never seen it."""
    stage.variables["AIRA_PLAYED_STEP_S"] = "2"
    with stage.running(*RUN, "--name", "shared", "--runs", RUNS) as command:
        command.wait_for(lambda: " step 1/4: " in command.said)
        command.stop(signal.SIGTERM)
        assert command.popen.returncode == 130, command.said
        assert f"Go on with: aira-bench resume shared --runs {RUNS} --engine local" in command.said
    stage.variables["AIRA_PLAYED_STEP_S"] = "0"
    with stage.running("resume", "shared", "--runs", RUNS, "--workers", "1") as command:
        assert command.popen.wait() == 0, command.said
        assert command.popen.stdout is not None
        assert "Winner of seed 1" in command.popen.stdout.read().decode()
    site = Site(stage.root)
    record = site.record(RunFolder(mirror_of(stage) / "shared"))
    assert record.closed
    assert tree(record) == site.undisturbed(seeds=(0, 1), confirm=True)
    (row,) = said_in_json(stage, "status", "--runs", RUNS)
    assert (row["run"], row["state"], row["seeds"]) == ("shared", "finished", "2/2")
    assert not any(key in each.read_bytes().decode("latin-1") for key in KEYS.values() if "test" in key
                   for each in stage.root.rglob("*") if each.is_file())  # fmt: skip
    assert not list((stage.root / "home" / "objects").glob(".work*")), "no working copy is left"


def test_what_a_killed_worker_committed_stays_and_what_a_late_one_writes_is_nobodys(stage: Stage) -> None:
    """One machine's worker is killed, another's sleeps through its lease; a third with a folder of its own ends it."""
    run, slow = f"{RUNS}/shared", stage.variables | {"AIRA_PLAYED_STEP_S": "0.5"}
    with stage.running(*RUN, "--name", "shared", "--runs", RUNS) as command:
        command.wait_for(lambda: "workers on this machine" in command.said)
        command.stop(signal.SIGTERM)
    home = stage.root / "home"
    for each in (home / "objects").glob("mirror-*"):
        shutil.rmtree(each)
    stage.variables = slow | {"AIRA_PLAYED_BOOT": "first"}
    with stage.running("worker", run, "--slots", "1") as killed:
        killed.wait_for(lambda: "step 1: valid" in killed.said)
        os.killpg(killed.popen.pid, signal.SIGKILL)
        killed.popen.wait()
    stage.variables = slow | {"AIRA_PLAYED_BOOT": "second"}
    with stage.running("worker", run, "--slots", "1") as sleeper:
        sleeper.wait_for(lambda: "step 2: valid" in sleeper.said or "step 1: valid" in sleeper.said)
        sleeper.popen.send_signal(signal.SIGSTOP)
        stage.variables = slow | {"AIRA_PLAYED_BOOT": "third"}
        with stage.running("worker", run, "--slots", "2") as third:
            assert third.popen.wait() == 0, third.said
            assert "this worker brought 2 seeds to their end" in third.said
        sleeper.popen.send_signal(signal.SIGCONT)
        assert sleeper.popen.wait() == 0, sleeper.said
        assert "another worker took it over while this one was silent" in sleeper.said
    stage.variables = slow
    assert len(said_in_json(stage, "status", "shared", "--runs", RUNS)) == 8
    site = Site(stage.root)
    record = site.record(RunFolder(mirror_of(stage) / "shared"))
    assert record.closed
    assert tree(record) == site.undisturbed(seeds=(0, 1), confirm=True)
    killed_had, sleeper_had, third_had = (steps_of(said) for said in (killed.said, sleeper.said, third.said))
    assert killed_had
    assert sleeper_had
    assert not (killed_had | sleeper_had) & third_had, "a step that was told to be safe is not taken again"


def steps_of(said: str) -> set[str]:
    """Which steps a worker said that it finished."""
    return set(re.findall(r"shared (seed \d+ step \d+): (?:valid|buggy|invalid)", said))


def test_a_suite_is_a_folder_of_runs_there(stage: Stage) -> None:
    text = 'agents = ["random", "evolution"]\ntasks = ["mad-2p"]\nseeds = 1\nsteps = 2\n'
    (stage.root / "mine.toml").write_text(f'title = "Mine"\nprofile = "cpu"\n[[matrix]]\n{text}')
    found = said_in_json(stage, "suite", "mine.toml", "--runs", RUNS, "--workers", "2")
    assert [each["state"] for each in found["cells"]] == ["ended", "ended"]
    shutil.rmtree(mirror_of(stage))
    rows = said_in_json(stage, "leaderboard", "--runs", f"{RUNS}/mine")
    assert {row["agent"] for row in rows} == {"random", "evolution"}


def test_a_step_takes_few_requests(tmp_path: Path) -> None:
    """What docs/cluster.md says of them; leases are asked about by the clock and not by the step."""
    storage = Storage()
    with small_server("s3", storage) as variables:
        stage = Stage(tmp_path, variables | {"AIRA_LEASE_S": "600"})
        counts = []
        for steps in ("4", "12"):
            wishes = ("--seeds", "1", "--no-confirm", "--name", f"of-{steps}", "--steps", steps)
            with stage.running(*RUN, *wishes, "--runs", RUNS) as command:
                command.wait_for(lambda: "workers on this machine" in command.said)
                command.stop(signal.SIGTERM)
            before = sum(storage.asked.values())
            with stage.running("worker", f"{RUNS}/of-{steps}", "--no-confirm", "--slots", "1") as worker:
                assert worker.popen.wait() == 0, worker.said
            counts.append(sum(storage.asked.values()) - before)
    a_step = (counts[1] - counts[0]) / 8
    assert a_step <= 4, counts
    assert counts[0] - 4 * a_step < 80, counts


@pytest.mark.parametrize(
    ("arguments", "said"),
    [
        (("confirm", "x", "--runs", RUNS), "aira-bench confirm does not work on object storage"),
        (("merge", "x.aira", "--runs", RUNS), "aira-bench merge does not work on object storage"),
        (
            ("resume", "x", "--runs", RUNS, "--accept-changes"),
            "--accept-changes does not go with runs on object storage",
        ),
        (("status", "--runs", "az://container/runs"), "is no place for runs"),
        (("worker", "s3://bench/../x"), "is no place for runs"),
    ],
)
def test_what_does_not_go_is_refused_by_name(tmp_path: Path, arguments: tuple[str, ...], said: str) -> None:
    with Stage(tmp_path).running(*arguments) as command:
        assert command.popen.wait() == 2
        assert said in command.said
        assert "Try: " in command.said


@pytest.mark.parametrize(
    ("arguments", "said"),
    [
        (("status", f"{RUNS}/x"), f"Try: x --runs {RUNS}"),
        (("resume", f"{RUNS}/x"), f"Try: x --runs {RUNS}"),
        (("status", "x", "--runs", RUNS), f"No run 'x' in {RUNS}. Try: aira-bench status --runs {RUNS}"),
        (("report", "x", "--out", "pages", "--runs", RUNS), f"No run and no folder of runs 'x' in {RUNS}. Try: "),
        (("leaderboard", "--runs", RUNS), f"No runs in {RUNS}. Try: "),
    ],
)
def test_what_is_not_there_is_said_in_the_words_of_the_user(
    tmp_path: Path, arguments: tuple[str, ...], said: str
) -> None:
    """And not in those of a mirror; an address in the place of a name is what `worker` takes."""
    with small_server("s3", Storage()) as variables, Stage(tmp_path, variables).running(*arguments) as command:
        assert command.popen.wait() == 2, command.said
        assert said in command.said


def test_judge_nodes_are_checked_wherever_runs_lie(tmp_path: Path) -> None:
    """They need no folder of runs, and the command was refused for where that is."""
    stage = Stage(tmp_path, {"AIRA_RUNS": RUNS, "AIRA_SSH": "false"})
    with stage.running("cluster", "check", "--judge-on", "ssh:one") as command:
        assert command.popen.wait() == 1, command.said


def test_a_store_without_conditions_begins_nothing(tmp_path: Path) -> None:
    storage = Storage(keeps_conditions=False)
    with small_server("s3", storage) as variables:
        stage = Stage(tmp_path, variables)
        for command in ((*RUN, "--runs", RUNS), ("worker", f"{RUNS}/x")):
            with stage.running(*command) as refused:
                assert refused.popen.wait() == 3
                assert "does not keep conditional writes" in refused.said
    assert not storage.objects
