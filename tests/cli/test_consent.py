"""Whoever pays is asked first: the forecast, the question on a terminal, `--yes`, `--dry-run`; on a machine with eight
GPUs, by its driver.
"""

import json
import os
import pty
import subprocess
import sys
from pathlib import Path

import pytest

from fake_gpus import driver_says, gpu_line, uuid

ROOT = Path(__file__).resolve().parents[2]
COMMAND = ["run", "--agent", "noop", "--task", "mad-2p", "--steps", "1", "--name", "r"]
EIGHT = tuple(gpu_line(index) for index in range(8))


@pytest.fixture
def eight(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """The environment of a machine with eight GPUs, where nothing is built, downloaded or run so far."""
    driver_says(monkeypatch, tmp_path, *EIGHT)
    for name, folder in (
        ("AIRA_HOME", "home"),
        ("AIRA_RUNS", "runs"),
        ("AIRA_LEASES", "leases"),
        ("XDG_CACHE_HOME", "c"),
    ):
        monkeypatch.setenv(name, str(tmp_path / folder))
    monkeypatch.setenv("DOCKER_HOST", "unix:///nonexistent/docker.sock")
    monkeypatch.delenv("CUDA_VISIBLE_DEVICES", raising=False)
    return tmp_path


def told(*command: str) -> tuple[int, str, str]:
    """Status, stdout and stderr of a command that nobody watches."""
    done = subprocess.run(
        [sys.executable, str(ROOT / "tests" / "played_run.py"), *command], capture_output=True, text=True, timeout=120,
        check=False, stdin=subprocess.DEVNULL,
    )  # fmt: skip
    return done.returncode, done.stdout, done.stderr


def typed(answer: str, *command: str) -> tuple[int, str]:
    """Status, and what a terminal shows, of a command whose question is answered so."""
    ours, theirs = pty.openpty()
    running = subprocess.Popen(
        [sys.executable, str(ROOT / "tests" / "played_run.py"), *command], stdin=theirs, stdout=theirs, stderr=theirs
    )
    os.close(theirs)
    os.write(ours, answer.encode())
    shown = b""
    try:
        while part := os.read(ours, 65536):
            shown += part
    except OSError:  # the other end is closed
        pass
    os.close(ours)
    return running.wait(60), shown.decode()


def test_without_a_terminal_or_a_word_a_paper_run_stops_before_it_costs_anything(eight: Path) -> None:
    status, out, said = told(*COMMAND)
    assert (status, out) == (2, "")
    assert "devices     8 of 8 GPUs: NVIDIA H100 80GB HBM3" in said
    assert said.splitlines()[-1] == (
        "aira-bench: error: A run of profile paper takes GPU-hours as told above, and nobody is at a terminal to be asked. "
        "Try: the same command with --yes"
    )
    assert not (eight / "runs").exists()
    assert not (eight / "home").exists()


def test_yes_stands_for_the_answer_and_the_run_is_made_on_a_device(eight: Path) -> None:
    status, _, said = told(*COMMAND, "--yes", "--gpus", "3,5")
    assert "2 of 8 GPUs" in said
    manifest = json.loads((eight / "runs/r/manifest.json").read_text())
    assert [gpu["uuid"] for gpu in manifest["hardware"]["gpus"]] == [uuid(3), uuid(5)]
    assert status == 0


@pytest.mark.parametrize(
    ("answer", "begun"), [("y\n", True), ("YES\n", True), ("n\n", False), ("\n", False), ("\x04", False)]
)
def test_on_a_terminal_the_question_is_answered(answer: str, begun: bool, eight: Path) -> None:
    status, shown = typed(answer, *COMMAND)
    assert "Begin? [y/N]" in shown
    assert (eight / "runs/r").exists() == begun
    assert ("Not begun: nothing was built, downloaded or paid for." in shown) != begun
    assert status == (0 if begun else 2)


def test_a_cpu_run_begins_without_a_question(eight: Path) -> None:
    status, _, said = told(*COMMAND, "--profile", "cpu")
    assert "Begin?" not in said
    assert "GPU" not in said
    assert (eight / "runs/r/manifest.json").exists()
    assert status == 0


def test_a_dry_run_prints_the_plan_and_writes_nothing(eight: Path) -> None:
    status, out, said = told(*COMMAND, "--dry-run", "--seeds", "10")
    assert (status, said) == (0, "")
    lines = out.splitlines()
    assert lines[0].split()[:1] == ["run"]
    assert lines[-1].strip().startswith("give containers")
    assert [line[:10].strip() for line in lines if line[:10].strip()] == [
        "run", "protocol", "agent", "task", "devices", "slots", "memory", "images", "downloads", "disk", "pace",
        "at the end", "GPU-hours", "wall clock",
        "tokens", "dollars", "will not",
    ]  # fmt: skip
    assert not (eight / "runs").exists()
    assert not (eight / "home").exists()


def test_a_dry_run_as_json_has_the_plan_and_its_figures(eight: Path) -> None:
    status, out, _ = told(*COMMAND, "--dry-run", "--json", "--seeds", "10")
    found = json.loads(out)
    assert status == 0
    assert found["plan"]["seeds"] == list(range(10))
    assert found["estimate"]["gpu_hours"][1] == 120 + 10 * 3 * 8, (
        "one step, of 4 h and 8 h at most, and three evaluations"
    )
    assert (found["estimate"]["usd"], found["stops_with"]) == ([0, 0], None)


@pytest.mark.parametrize("more", [(), ("--yes",), ("--dry-run",)])
def test_without_a_gpu_the_last_line_says_so(
    more: tuple[str, ...], eight: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("CUDA_VISIBLE_DEVICES", "-1")
    status, out, said = told(*COMMAND, *more)
    assert status == 3
    assert said.splitlines()[-1] == (
        "aira-bench: error: Profile paper is made for GPUs, and none may be used: CUDA_VISIBLE_DEVICES=-1 hides all GPUs. "
        "Try: unset CUDA_VISIBLE_DEVICES; or --profile cpu; or --allow-cpu, with which a run takes weeks"
    )
    assert len(said.splitlines()) == 1
    assert bool(out) == ("--dry-run" in more)
    assert not (eight / "runs").exists()
