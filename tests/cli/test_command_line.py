"""The command line as a process: start-up, help, errors that end with the next command, exit status."""

import argparse
import json
import os
import shutil
import subprocess
import sys
import tempfile
import time
from pathlib import Path

import pytest

from aira_bench.cli.main import build_parser
from eventually import stretched
from generated_runs import manifest, write_run

SAVED = Path(tempfile.gettempdir()) / f"aira-bench-test-{os.getpid()}"
DEAD_ENGINE = {"DOCKER_HOST": "unix:///nonexistent/docker.sock"}


def aira_bench(*arguments: str, cwd: Path | None = None, **environment: str) -> subprocess.CompletedProcess[str]:
    return subprocess.run(
        [sys.executable, "-m", "aira_bench", *arguments],
        capture_output=True, text=True, timeout=60, cwd=cwd, env={**os.environ, **environment}, check=False,
    )  # fmt: skip


def command_names() -> list[str]:
    (commands,) = [action for action in build_parser()._actions if isinstance(action, argparse._SubParsersAction)]
    return list(commands.choices)


@pytest.mark.parametrize("name", command_names())
def test_every_command_has_help_with_an_example(name: str) -> None:
    done = aira_bench(name, "--help")
    assert done.returncode == 0
    assert "example" in done.stdout
    assert f"aira-bench {name}" in done.stdout


def test_start_up_imports_nothing_heavy() -> None:
    code = (
        "import sys; from aira_bench.cli.main import build_parser; build_parser();"
        "heavy = {'rich', 'docker', 'pydantic', 'yaml', 'torch', 'jax', 'anthropic', 'numpy'};"
        "print(heavy & set(sys.modules))"
    )
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, timeout=60, check=True)
    assert done.stdout.strip() == "set()"


@pytest.mark.parametrize(
    ("arguments", "status", "parts"),
    [
        (["run", "--agent", "evolution", "--task", "mad2p"], 2, ["mad-2p", "aira-bench tasks"]),
        (["run", "--agent", "evolutoin", "--task", "mad-2p"], 2, ["'evolution'", "aira-bench agents"]),
        (["run", "--agent", "evolution", "--task", "mad-2p", "--seeds", "0"], 2, ["above 0", "--help"]),
        (["run", "--agent", "evolution", "--task", "mad-2p", "--profile", "gpu"], 2, ["invalid choice", "--help"]),
        (["run", "--agent", "evolution", "--task", "mad-2p", "--scaffold", "x"], 2, ["Unknown scaffold", "greedy"]),
        (["run", "--agent", "evolution", "--task", "mad-2p", "--unknown"], 2, ["unrecognized", "--help"]),
        (["run", "--agent", "script:absent.py", "--task", "mad-2p"], 2, ["absent.py"]),
        (["run", "--agent", "evolution", "--task", "./absent"], 2, ["No task folder"]),
        (["resume", "absent"], 2, ["No run 'absent'", "aira-bench status"]),
        (["leaderboard"], 2, ["No runs", "aira-bench run --help"]),
        ([], 2, ["--help"]),
    ],
)
def test_wrong_use_is_one_line_with_the_next_command(
    tmp_path: Path, arguments: list[str], status: int, parts: list[str]
) -> None:
    done = aira_bench(*arguments, cwd=tmp_path)
    assert done.returncode == status
    assert len(done.stderr.strip().splitlines()) == 1, done.stderr
    assert all(part in done.stderr for part in parts), done.stderr


@pytest.mark.parametrize("command", ["run", "prepare", "images"])
def test_a_dead_engine_is_one_line_with_the_command_that_starts_it(tmp_path: Path, command: str) -> None:
    arguments = {
        "run": ["run", "--agent", "evolution", "--task", "mad-2p", "--profile", "cpu"],
        "prepare": ["prepare", "mad-2p", "--profile", "cpu"],
        "images": ["images", "build"],
    }[command]
    done = aira_bench(*arguments, cwd=tmp_path, **DEAD_ENGINE)
    assert done.returncode == 3
    assert "docker" in done.stderr.splitlines()[-1].lower()
    assert "Try:" in done.stderr.splitlines()[-1]
    assert "Traceback" not in done.stderr
    assert not list(tmp_path.iterdir()), "a run that never began leaves nothing"


def test_the_doctor_reports_a_dead_engine_and_fails(tmp_path: Path) -> None:
    done = aira_bench("doctor", "--json", **DEAD_ENGINE, AIRA_HOME=str(tmp_path))
    findings = {finding["check"]: finding for finding in json.loads(done.stdout)}
    assert done.returncode == 1
    assert findings["container engine"]["state"] == "failed"
    assert findings["container engine"]["mend"]


def test_the_plan_can_be_printed_without_running_it(tmp_path: Path) -> None:
    done = aira_bench("run", "--agent", "evolution", "--task", "mad-2p", "--profile", "cpu", "--seeds", "3,5",
                      "--name", "x", "--print-config", cwd=tmp_path, **DEAD_ENGINE)  # fmt: skip
    plan = json.loads(done.stdout)
    assert plan["seeds"] == [3, 5]
    assert plan["scaffold"] == "regularized-evolution"
    assert plan["steps"] == 8


def test_every_submission_is_listed_with_its_claim_and_its_flags(tmp_path: Path) -> None:
    record = manifest("scripts", seeds=(0,), steps=2, metric="BPB", lower_is_better=True)
    write_run(tmp_path / "runs", record, invalid_share=0.0, claims={0: -0.05}, flags={0: ("looks_ahead",)},
              public=0.01)  # fmt: skip
    write_run(tmp_path / "runs", manifest("plain", seeds=(0,), steps=2), invalid_share=0.0)
    steps = json.loads(aira_bench("status", "scripts", "--json", cwd=tmp_path).stdout)
    assert [step["overclaim"] for step in steps] == [pytest.approx(0.06)] * 2, "of a loss, the lower is better"
    assert [step["flags"] for step in steps] == [["looks_ahead"]] * 2
    header, *rows = aira_bench("status", "scripts", cwd=tmp_path).stdout.splitlines()
    assert "overclaim" in header
    assert all("0.06" in row and "looks_ahead" in row for row in rows)
    header, *_ = aira_bench("status", "plain", cwd=tmp_path).stdout.splitlines()
    assert not {"claimed", "flags", "reason"} & set(header.split())


def test_a_finished_run_is_listed_and_put_on_the_board(tmp_path: Path) -> None:
    write_run(tmp_path / "runs", manifest("done", seeds=(0, 1), steps=3))
    (row,) = json.loads(aira_bench("status", "--json", cwd=tmp_path).stdout)
    assert (row["state"], row["seeds"]) == ("finished", "2/2")
    steps = json.loads(aira_bench("status", "done", "--json", cwd=tmp_path).stdout)
    assert len(steps) == 6
    assert sum(step["submitted"] for step in steps) == 2
    board = json.loads(aira_bench("leaderboard", "--json", cwd=tmp_path).stdout)
    assert board[0]["seeds_ended"] == 2
    assert {path.name for path in (tmp_path / "runs").glob("leaderboard.*")} == {
        "leaderboard.csv", "leaderboard.json", "leaderboard.md",
    }  # fmt: skip
    shown = aira_bench("leaderboard", cwd=tmp_path).stdout
    assert "evolution" in shown


def test_a_full_disk_is_one_line_and_loses_nothing(tmp_path: Path) -> None:
    """On a real file system of 64 KiB, in a mount namespace of its own."""
    script = f"""
        mount -t tmpfs -o size=64k none {tmp_path} || exit 77
        cp -r {SAVED} {tmp_path}/runs && head -c 1m /dev/zero >{tmp_path}/rest 2>/dev/null
        cd {tmp_path} && {sys.executable} -m aira_bench leaderboard
        status=$?; diff -r {SAVED} {tmp_path}/runs >&2 && exit $status
    """
    private = ["unshare", "--mount"] if os.geteuid() == 0 else ["unshare", "--map-root-user", "--user", "--mount"]
    write_run(SAVED, manifest("done", seeds=(0,), steps=3))
    try:
        done = subprocess.run([*private, "sh", "-c", script], capture_output=True, text=True, timeout=60, check=False)
    finally:
        shutil.rmtree(SAVED)
    if done.returncode == 77:
        pytest.skip("this machine allows no mount namespaces; nothing else covers a really full disk")
    assert done.returncode == 9, done.stderr
    assert "disk is full" in done.stderr
    assert len(done.stderr.strip().splitlines()) == 1, done.stderr


def test_help_is_quick_enough_to_be_pleasant() -> None:
    times_s = []
    for _ in range(3):
        start_s = time.perf_counter()
        aira_bench("--help")
        times_s.append(time.perf_counter() - start_s)
    assert min(times_s) < stretched(2.0), (
        "a smoke check against accidental imports; the bar of 0.2 s is measured in bench/"
    )
