"""From text to a trained model by commands alone: tokens, a plan, real ranks by torchrun, a kill, other ranks."""

import contextlib
import fcntl
import json
import os
import signal
import subprocess
import sys
import time
from collections.abc import Iterator
from pathlib import Path

import pytest

from aira_bench.cli.main import run_command_line
from aira_contract.pretraining import LOCK
from aira_evaluator.text.grammar import synthetic_documents
from evaluator.pretrain.toy_trainings import CHECKPOINT_EVERY, RECIPE, STEPS, lines, losses

PATIENCE_S = 400
TRAINING = "2_a-m_-toy-recipe-s0"


def trainings(folder: Path, out: str, ranks: int) -> list[str]:
    """What plan, run and status are told alike."""
    told = ["2(A-M)", "--recipe", str(folder / "recipe.toml"), "--gpus", str(ranks)]
    return told if not out else [*told, "--out", str(folder / out)]


def run(folder: Path, out: str, ranks: int) -> list[str]:
    more = ["--data", str(folder / "tokens"), "--device", "cpu", "--engine", "local", "--yes"]
    return ["scale", "run", *trainings(folder, out, ranks), *more]


def said(capsys: pytest.CaptureFixture[str], *told: str) -> dict[str, object]:
    capsys.readouterr()
    assert run_command_line([*told, "--json"]) == 0
    (found,) = json.loads(capsys.readouterr().out)
    assert isinstance(found, dict)
    return found


@pytest.fixture
def made(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """A recipe of 48 steps, and tokens made of synthetic text by the command."""
    monkeypatch.setenv("OMP_NUM_THREADS", "1")
    monkeypatch.setenv("PYTHONPATH", os.pathsep.join(path for path in sys.path if path))
    (tmp_path / "texts").mkdir()
    texts = synthetic_documents("stories", 300, 0)
    (tmp_path / "texts" / "a.jsonl").write_text("".join(json.dumps({"text": text}) + "\n" for text in texts))
    (tmp_path / "recipe.toml").write_text(RECIPE)
    told = ["--source", str(tmp_path / "texts"), "--synthetic", "--vocabulary", "500", "--held-out", "12"]
    assert run_command_line(["scale", "data", *told, "--out", str(tmp_path / "tokens")]) == 0
    return tmp_path


def ranks_of(folder: Path) -> list[int]:
    """Processes that train in a folder."""
    found = []
    for entry in Path("/proc").iterdir():
        with contextlib.suppress(OSError):
            words = (entry / "cmdline").read_bytes().split(b"\0")
            if entry.name.isdigit() and str(folder).encode() in words and b"torch.distributed.run" not in words:
                found.append(int(entry.name))
    return found


@contextlib.contextmanager
def begun(command: list[str], folder: Path, *, step: int) -> Iterator[list[int]]:
    """A command that has trained so far, killed with torchrun; its ranks, which outlive them, are held still."""
    process = subprocess.Popen([sys.executable, "-m", "aira_bench", *command], start_new_session=True)
    ranks: list[int] = []
    try:
        end_s = time.monotonic() + PATIENCE_S
        while not (folder / "metrics.jsonl").exists() or len(lines(folder / "metrics.jsonl")) < step:
            assert process.poll() is None
            assert time.monotonic() < end_s
            time.sleep(0.02)
        ranks = ranks_of(folder)
        for rank in ranks:
            os.kill(rank, signal.SIGSTOP)
        os.killpg(process.pid, signal.SIGKILL)
        process.wait()
        yield ranks
    finally:
        for rank in ranks or ranks_of(folder):
            with contextlib.suppress(ProcessLookupError):
                os.kill(rank, signal.SIGKILL)


def test_a_plan_is_carried_out_through_a_kill_and_on_other_ranks(
    made: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    assert run_command_line(["scale", "plan", *trainings(made, "", 2), "--json"]) == 0
    (planned,) = json.loads(capsys.readouterr().out)["trainings"]
    assert planned["steps"] == STEPS

    killed = made / "killed" / TRAINING
    with begun(run(made, "killed", 2), killed, step=2 * CHECKPOINT_EVERY + 2) as ranks:
        assert len(ranks) == 2
        assert run_command_line(run(made, "killed", 1)) == 1, "its ranks live"
        assert "Another process trains" in capsys.readouterr().err
    state = said(capsys, "scale", "status", *trainings(made, "killed", 1))
    assert (state["state"], state["marks"]) == ("begun", "synthetic text, a tokenizer of our own")

    wait_for_the_dead(killed)
    assert run_command_line(run(made, "killed", 1)) == 0
    assert run_command_line(run(made, "whole", 1)) == 0
    state = said(capsys, "scale", "status", *trainings(made, "killed", 1))
    assert (state["state"], state["steps_done"]) == ("done", STEPS)
    assert losses(killed) == pytest.approx(losses(made / "whole" / TRAINING), abs=1e-5)
    started = [event for event in lines(killed / "events.jsonl") if event["event"] == "started"]
    assert [event["ranks"] for event in started] == [2, 1]
    assert started[1]["step"] in (CHECKPOINT_EVERY, 2 * CHECKPOINT_EVERY)


def wait_for_the_dead(folder: Path) -> None:
    """Who dies has no command line any more while it still holds its files, so what counts is the lock."""
    end_s = time.monotonic() + PATIENCE_S
    with (folder / LOCK).open("r+b") as lock:
        while True:
            with contextlib.suppress(BlockingIOError):
                fcntl.flock(lock, fcntl.LOCK_EX | fcntl.LOCK_NB)
                return
            assert time.monotonic() < end_s
            time.sleep(0.02)
