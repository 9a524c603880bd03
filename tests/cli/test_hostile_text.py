"""No field of a stranger's run, card, task or file reaches a terminal, a board or a picture as it was written."""

import contextlib
import csv
import hashlib
import os
import pty
import subprocess
import sys
from collections.abc import Iterator
from pathlib import Path

import pytest

from aira_bench.cli.main import run_command_line
from aira_bench.errors import ModelError
from aira_bench.files import write_json
from aira_bench.record.folder import RunFolder
from aira_bench.record.journal import JournalFile, StepEnded, StepStarted
from aira_bench.record.manifest import RunPlan
from aira_bench.record.node import Change, Node, Timings
from aira_bench.record.scores import TrustedScore
from generated_runs import manifest, write_run
from hostile_text import ESCAPE, HOSTILE, OVERRIDE, WHOLE, is_raw

WRITABLE = WHOLE.encode("utf-8", "ignore").decode()
"""Without halves of surrogate pairs, which no JSON of ours holds."""
LONG = WRITABLE + "x" * 1_000_000
SCRIPT = "WINDOW_PATTERN = {!r}\nDEPTH = {}\n"


def script(step: int) -> str:
    return SCRIPT.format(WRITABLE + str(step), step)


def hash_of(step: int) -> str:
    return hashlib.sha256(script(step).encode()).hexdigest()


def hostile_run(runs: Path, name: str = "hostile") -> RunFolder:
    """A run whose every text is hostile; its two valid steps are scripts with hostile constants."""
    record = manifest(
        "plain", seeds=(0,), steps=2, task_title=WRITABLE, metric=WRITABLE, hardware_class=WRITABLE,
        images={"agent": WRITABLE, "evaluator": WRITABLE},
    )  # fmt: skip
    plan = RunPlan.model_validate(record.plan.model_dump() | {"agent": LONG, "scaffold": WRITABLE, "steps": 1})
    folder = write_run(
        runs, record.model_copy(update={"plan": plan}), invalid_share=0.0, end=False, flags={0: (WRITABLE,)}
    )
    longer = record.model_copy(update={"plan": plan.model_copy(update={"steps": 3})})
    write_json(folder.path / "manifest.json", longer.model_dump(mode="json"))
    folder.seed(0).journal.unlink()
    folder.seed(0).scores.path.unlink()
    journal = JournalFile(folder.seed(0).journal)
    for step, parents in ((1, ()), (2, (1,)), (3, (2,))):
        changes = (Change(WHOLE, 1, 1), Change(ESCAPE, 1, 1)) if step == 3 else (Change(OVERRIDE, 1, 1),)
        node = Node(
            step, "improve", parents, "valid", LONG, float(step), None, "c" * 64, hash_of(step), plan=WHOLE, summary=WHOLE,
            canonical=WHOLE, timings=Timings(0.1, 0.2, 0.7, 1.0), changes=changes,
        )  # fmt: skip
        journal.append(StepStarted(step, "t"))
        journal.append(StepEnded(node, "t"))
        folder.seed(0).scores.append(TrustedScore(step, 0.5, float(step), "1", "e", 1.0, flags=(WRITABLE,)))
    journal.close()
    for step in (1, 2, 3):
        place = folder.seed(0).node(step)
        place.mkdir(parents=True, exist_ok=True)
        (place / "train.py").write_text(script(step), encoding="utf-8")
    folder.path.rename(runs / name)
    return RunFolder(runs / name)


def card(folder: Path) -> None:
    (folder / "aira-bench" / "agents").mkdir(parents=True)
    text = '"' + "".join(f"\\U{ord(character):08x}" for character in WRITABLE if character != "\x00") + '"'
    (folder / "aira-bench" / "agents" / "stranger.toml").write_text(
        f'name = "stranger"\ntitle = {text}\nprovider = "openai-compatible"\nmodel = {text}\nmax_output_tokens = 5\n'
    )


COMMANDS = [
    ["status"],
    ["status", "--json"],
    ["status", "hostile"],
    ["status", "hostile", "--json"],
    ["status", "hostile", "--changes"],
    ["status", "hostile", "--changes", "--json"],
    ["status", WRITABLE.replace("\x00", "")],
    ["show", "hostile"],
    ["show", "hostile", "--json"],
    ["show", "hostile", "0:3"],
    ["show", "hostile", "0:3", "--open", "diff"],
    ["show", "hostile", "0:2", "--open", "artifact"],
    ["show", "hostile", WRITABLE.replace("\x00", "")],
    ["leaderboard"],
    ["leaderboard", "--json"],
    ["analyze", "hostile"],
    ["analyze", "hostile", "--json"],
    ["agents"],
    ["agents", "--json"],
    ["confirm", ESCAPE],
    ["resume", OVERRIDE],
    ["aggregate", "hostile"],
    ["aggregate", "--scores", "scores.json", "--select", "rank", "--json", "--top", "1"],
    ["aggregate", "--scores", ESCAPE],
    ["aggregate", "--decay", ESCAPE, "--scores", "scores.json"],
    ["extrapolate", ESCAPE, "--scale", OVERRIDE],
    ["run", "--agent", ESCAPE, "--task", "mad-2p"],
    ["run", "--agent", "random", "--task", OVERRIDE],
    ["run", "--agent", "random", "--task", "mad-2p", "--seeds", ESCAPE],
    ["run", "--agent", "random", "--task", "mad-2p", "--name", ESCAPE],
    ["run", "--agent", "random", "--task", "mad-2p", "--scaffold", ESCAPE],
    ["run", "--agent", "random", "--task", "mad-2p", "--name", OVERRIDE, "--print-config"],
    ["run", "--agent", f"script:{ESCAPE}/{OVERRIDE}.py", "--task", "mad-2p"],
    ["run", "--agent", "stranger.toml", "--task", "mad-2p"],
    ["run", "--agent", "random", "--task", "./folder"],
    ["prepare", f"./{OVERRIDE}"],
    ["prepare", "babistories-2p", "--source", ESCAPE],
    ["doctor", ESCAPE],
]  # fmt: skip


@pytest.fixture
def place(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    monkeypatch.chdir(tmp_path)
    monkeypatch.setenv("AIRA_RUNS", str(tmp_path / "runs"))
    monkeypatch.setenv("AIRA_HOME", str(tmp_path / "home"))
    monkeypatch.setenv("XDG_CONFIG_HOME", str(tmp_path / "config"))
    monkeypatch.setenv("DOCKER_HOST", "unix:///nonexistent/docker.sock")
    hostile_run(tmp_path / "runs")
    card(tmp_path / "config")
    Path("stranger.toml").write_text(f'name = "stranger"\n"{OVERRIDE.encode("unicode_escape").decode()}" = 1\n')
    Path("folder").mkdir()
    Path("folder/metadata.yaml").write_text('"\\e[31m\\u202e": "\\e[31m"\n')
    Path("scores.json").write_text(
        '{"schema": 1, "architectures": [{"dataset": "\\u001b[31m\\u202e", "architecture": "2(A-M)", "score": 0.5, '
        '"lower_is_better": false}]}'
    )
    return tmp_path


@pytest.mark.parametrize("arguments", COMMANDS, ids=lambda arguments: ascii(" ".join(arguments))[:40])
def test_no_command_shows_anything_raw(place: Path, capsys: pytest.CaptureFixture[str], arguments: list[str]) -> None:
    with contextlib.suppress(SystemExit):
        assert run_command_line(arguments) in range(9)
    shown = capsys.readouterr()
    assert shown.out or shown.err
    assert not is_raw((shown.out + shown.err).replace("\n", ""))
    assert "Traceback" not in shown.err
    assert len(shown.out) < 200_000 or "--json" in arguments


def test_boards_in_files_hold_no_markup_and_no_formulas(place: Path) -> None:
    for name, agent in enumerate(HOSTILE):
        record = manifest(
            "plain", seeds=(0,), steps=1, run_id=f"{name:012x}", task_title=agent.encode("utf-8", "ignore").decode()
        )
        plan = RunPlan.model_validate(record.plan.model_dump() | {"agent": agent.encode("utf-8", "ignore").decode()})
        write_run(place / "runs", record.model_copy(update={"plan": plan}), invalid_share=0.0)
        (place / "runs" / "plain").rename(place / "runs" / f"run-{name}")
    assert run_command_line(["leaderboard"]) == 0
    texts = {suffix: (place / "runs" / f"leaderboard.{suffix}").read_text() for suffix in ("csv", "md", "json")}
    assert not any(is_raw(text.replace("\n", "")) for text in texts.values())
    for row in csv.reader(texts["csv"].splitlines()[1:]):
        assert not any(cell.startswith(("=", "+", "@", "\t")) for cell in row)
        assert all(cell.startswith("'") or _is_number(cell) for cell in row if cell.lstrip("' ").startswith(("-", "=")))
    assert not any(part in texts["md"] for part in ("<script", "](", "[red]", "://", "`code`"))
    widths = {line.count("|") for line in texts["md"].splitlines() if line.startswith("|")}
    assert max(widths) < 20, "a cell ended its cell"


def test_a_terminal_gets_no_sequence_but_our_styles(place: Path) -> None:
    for arguments in (["status", "hostile", "--changes"], ["leaderboard"], ["analyze", "hostile"]):
        shown = on_a_terminal(arguments)
        assert "step" in shown
        assert "\x1b]" not in shown
        assert "\x1b[2J" not in shown
        assert "\u202e" not in shown


def test_what_a_provider_says_is_escaped(capsys: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch) -> None:
    def fail(args: object) -> int:
        raise ModelError(WHOLE, hint=WHOLE)

    monkeypatch.setattr("aira_bench.cli.tasks.handle", fail)
    assert run_command_line(["tasks"]) == 7
    shown = capsys.readouterr().err
    assert len(shown.splitlines()) == 1
    assert not is_raw(shown.rstrip("\n"))


def on_a_terminal(arguments: list[str]) -> str:
    ours, theirs = pty.openpty()
    done = subprocess.Popen([sys.executable, "-m", "aira_bench", *arguments], stdout=theirs, stderr=theirs)
    os.close(theirs)
    shown = b"".join(pieces(ours))
    assert done.wait(60) == 0
    return shown.decode("utf-8", "replace")


def pieces(descriptor: int) -> Iterator[bytes]:
    with contextlib.suppress(OSError):  # how Linux tells that the other end is closed
        while piece := os.read(descriptor, 65536):
            yield piece
    os.close(descriptor)


def _is_number(cell: str) -> bool:
    with contextlib.suppress(ValueError):
        float(cell)
        return True
    return False
