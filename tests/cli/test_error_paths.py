"""What every command says of what it cannot do: one line on stderr, nothing on stdout, a documented exit status.

In this process, on recorded runs, without a container engine. What is wrong with a run's content is in
tests/record, with a task folder in tests/authoring and tests/tasks.
"""

import argparse
import errno
import io
import json
import os
import re
import shutil
import signal
import subprocess
import sys
import threading
import time
from collections.abc import Callable
from pathlib import Path

import pytest

from aira_bench import errors
from aira_bench.cli import main
from aira_bench.cli.main import build_parser, run_command_line
from aira_bench.errors import AiraError, UsageError
from generated_runs import manifest, write_run

RECORDED = Path(__file__).parents[1] / "recorded"
USAGE, LACKING, BROKEN_TASK, BAD_RUN = 2, 3, 4, 6
KEY = "ed25519:" + "0" * 64


@pytest.fixture
def place(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """A folder with two recorded runs, an unsigned one and a damaged one; no engine, no keys, a home of its own."""
    for name in ("greedy-mad-2p", "scripts"):
        shutil.copytree(RECORDED / name, tmp_path / "runs" / name)
    write_run(tmp_path / "runs", manifest("unsigned", seeds=(0,), steps=2))
    shutil.copytree(RECORDED / "scripts", tmp_path / "runs" / "damaged")
    (tmp_path / "runs" / "damaged" / "manifest.json").write_text("{")
    (tmp_path / "empty").mkdir()
    (tmp_path / "file").write_text("text")
    monkeypatch.chdir(tmp_path)
    for name in [name for name in os.environ if name.endswith("_API_KEY") or name.startswith("AIRA_")]:
        monkeypatch.delenv(name)
    monkeypatch.setenv("AIRA_HOME", str(tmp_path / "home"))
    monkeypatch.setenv("AIRA_RUNS", str(tmp_path / "runs"))
    monkeypatch.setenv("XDG_CONFIG_HOME", str(tmp_path / "config"))
    monkeypatch.setenv("DOCKER_HOST", "unix:///nonexistent/docker.sock")
    return tmp_path


def called(arguments: list[str]) -> int:
    """The exit status; that of the parser too, which ends the process."""
    try:
        return run_command_line(arguments)
    except SystemExit as ended:
        return ended.code if isinstance(ended.code, int) else -1


RUN = ["run", "--agent", "evolution", "--task", "mad-2p", "--profile", "cpu"]
REFUSED: list[tuple[list[str], int, list[str]]] = [
    # No such thing.
    (["status", "absent"], USAGE, ["No run 'absent'", "aira-bench status"]),
    (["status", "empty"], USAGE, ["No run 'empty'"]),
    (["show", "absent"], USAGE, ["No run 'absent'", "aira-bench status"]),
    (["show", "scripts", "9"], USAGE, ["has no seed 9; it has 0, 1, 2, 3, 4"]),
    (["show", "scripts", "0:6"], USAGE, ["Step 6 is none of seed 0: it has 5 finished steps"]),
    (["show", "scripts", "0:5", "--open", "prompt"], USAGE, ["Step 5 of seed 0 asked no model"]),
    (["show", "scripts", "first"], USAGE, ["'first' is neither a seed such as 0 nor a step such as 0:7"]),
    (["show", "scripts", "0:5", "--open", "weights"], USAGE, ["invalid choice: 'weights'"]),
    (["resume", "absent"], USAGE, ["No run 'absent'"]),
    (["worker", "absent"], USAGE, ["absent is no folder"]),
    (["view", "absent"], USAGE, ["No run and no folder of runs 'absent'"]),
    (["view", "--port", "65536"], USAGE, ["'65536' is not a port from 0 to 65535"]),
    (["report", "absent", "--out", "pages"], USAGE, ["No run and no folder of runs 'absent'"]),
    (["report", "scripts", "--out", "file"], USAGE, ["file cannot be a folder"]),
    (["confirm", "absent"], USAGE, ["No run 'absent'"]),
    (["analyze", "absent"], USAGE, ["No run 'absent'"]),
    (["leaderboard", "absent"], USAGE, ["No run 'absent'"]),
    (["aggregate", "absent"], USAGE, ["No run 'absent'"]),
    (["grow", "absent", "--scale", "toy", "--recipe", "toy"], USAGE, ["No run 'absent'"]),
    (["grow", "greedy-mad-2p", "--scale", "7B", "--recipe", "toy"], USAGE, ["Recipe toy is for toy, not for '7B'"]),
    (["grow", "greedy-mad-2p", "--scale", "toy", "--recipe", "absent"], USAGE, ["No recipe 'absent'"]),
    (
        ["grow", "greedy-mad-2p", "--scale", "toy", "--recipe", "toy", "--patterns", "nonsense"],
        USAGE,
        ["'nonsense' is neither a suite nor an architecture"],
    ),
    (["figures", "absent", "--out", "drawn"], USAGE, ["No run 'absent'"]),
    (["figures", "--runs", "empty", "--out", "drawn"], USAGE, ["No runs in", "aira-bench run --help"]),
    (["figures", "scripts"], USAGE, ["--out"]),
    (["figures", "scripts", "--out", "file"], USAGE, ["file", "--out DIR"]),
    (["noise", "mad2p"], USAGE, ["Unknown task 'mad2p'"]),
    (["export", "absent", "--format", "csv", "--out", "x.csv"], USAGE, ["No run 'absent'"]),
    (["export", "scripts", "--format", "xlsx", "--out", "x"], USAGE, ["invalid choice: 'xlsx'"]),
    (["export", "scripts", "--format", "csv", "--out", "empty"], USAGE, ["empty is a folder", "--out"]),
    (["export", "scripts", "--format", "atif", "--out", "file"], USAGE, ["file is a file", "--out FOLDER"]),
    (["export", "damaged", "--format", "csv", "--out", "x.csv"], BAD_RUN, ["damaged"]),
    (["submit", "absent", "--out", "pack"], USAGE, ["No run 'absent'"]),
    (["submit", "greedy-mad-2p", "--out", "empty"], USAGE, ["empty is a folder"]),
    (["submit", "unsigned", "--out", "pack"], BAD_RUN, ["unsigned"]),
    (["submit", "damaged", "--out", "pack"], BAD_RUN, ["damaged"]),
    (["submit", "scripts"], USAGE, ["--out"]),
    (["merge", "absent"], BAD_RUN, ["There is no pack at", "aira-bench submit RUN --out PACK"]),
    (["merge", "file"], BAD_RUN, ["file is no pack of runs"]),
    (["merge", "file", "--signed-by", "x"], USAGE, ["no public key"]),
    (["suite", "absent"], USAGE, ["Cannot read the suite absent", "autoresearch, compose, lra"]),
    (["suite", "file"], USAGE, ["The suite file is no TOML file"]),
    (["suite", "lra", "--agents", "gpt6"], USAGE, ["no agent 'gpt6'", "gpt5"]),
    (["suite", "lra", "--agents", "a,,b"], USAGE, ["'a,,b' is no list of names"]),
    (["suite", "lra", "--max-dollars", "0"], USAGE, ["'0' is not a number above 0"]),
    (["suite", "lra", "--agents", "gpt5"], LACKING, ["1 of the suite's 1 agents cannot be used here"]),
    (["scale", "plan", "nonsense", "--recipe", "toy"], USAGE, ["'nonsense' is neither a suite nor an architecture"]),
    (["scale", "plan", "llama-3.2"], USAGE, ["needs a recipe", "isotoken-1b"]),
    (["scale", "plan", "llama-3.2", "--recipe", "isotoken-7b"], USAGE, ["No recipe 'isotoken-7b'", "--recipe"]),
    (
        ["scale", "plan", "llama-3.2", "--recipe", "toy", "--scale", "1B"],
        USAGE,
        ["no recipe is for 1B", "toy is for toy"],
    ),
    (["scale", "plan", "absent.toml"], USAGE, ["Cannot read the suite absent.toml", "aira-bench scale plan paper"]),
    (["scale", "plan", "paper", "--scale", "7B"], USAGE, ["Nothing of the suite is left to plan"]),
    (["scale", "plan", "paper", "--gpus", "48"], USAGE, ["48 GPUs cannot share the 64 sequences"]),
    (["scale", "plan", "paper", "--gpu", "tpu"], USAGE, ["Unknown GPU type 'tpu'"]),
    (["scale", "plan", "paper", "--mfu", "1.5"], USAGE, ["'1.5' is not a share"]),
    (["scale", "plan", "paper", "--throughput", "file"], USAGE, ["file has other columns"]),
    (["scale", "fit", "absent.csv"], USAGE, ["absent.csv cannot be read", "aira-bench scale fit"]),
    (["scale", "fit", "file"], USAGE, ["file lacks the column 'architecture'", "docs/scaling.md"]),
    (["scale", "fit", "file", "--reference-law", "1,2"], USAGE, ["'1,2' is no law such as 2.9@1e20,-0.05"]),
    (["scale", "fit", "file", "--resamples", "10"], USAGE, ["from 100 to 100000"]),
    (
        ["scale", "run", "llama-3.2", "--recipe", "toy", "--gpus", "1", "--data", "absent", "--out", "x", "--yes"],
        USAGE,
        ["no folder of tokens at absent", "aira-bench scale data --help"],
    ),
    (
        ["scale", "run", "llama-3.2", "--recipe", "toy", "--gpus", "1", "--data", "empty", "--out", "x"],
        USAGE,
        ["no folder of tokens at empty"],
    ),
    (["scale", "run", "llama-3.2", "--recipe", "toy"], USAGE, ["--out"]),
    (["scale", "status", "llama-3.2", "--out", "x"], USAGE, ["needs a recipe"]),
    (["scale", "fit"], USAGE, ["no table of runs", "aira-bench scale fit runs.csv"]),
    (["scale", "fit", "file", "--out", "file"], USAGE, ["file", "--out DIR"]),
    (["scale", "latency", "--from", "absent.jsonl"], USAGE, ["absent.jsonl cannot be read"]),
    (["scale", "latency", "--from", "file"], USAGE, ["file, line 1: 'text' is no line of measured latencies"]),
    (["scale", "latency", "--from", "file", "--out", "x"], USAGE, ["With --from nothing is measured"]),
    (["scale", "latency", "--scale", "7B"], USAGE, ["Unknown scale '7B'", "350M, 1B, 3B, toy"]),
    (["scale", "latency", "--scale", "1B", "A-x"], USAGE, ["character 3", "'x' is no symbol"]),
    (["scale", "latency", "--scale", "toy", "--out", "file", "--device", "cpu"], USAGE, ["file exists", "--from file"]),
    (["scale", "latency", "--length", "0"], USAGE, ["'0' is not a whole number above 0"]),
    (["scale", "latency", "--python", "/absent/python"], LACKING, ["/absent/python cannot be started"]),
    (["judge"], USAGE, ["required: action", "aira-bench judge --help"]),
    (
        ["cluster", "check"],
        USAGE,
        ["check takes --engine or --judge-on, and node --place", "aira-bench cluster --help"],
    ),
    (["scale"], USAGE, ["required: COMMAND", "aira-bench scale --help"]),
    (["verify", "absent"], USAGE, ["No board at absent", "aira-bench leaderboard --out DIR"]),
    (["verify", "empty"], USAGE, ["No board at empty"]),
    (["verify", "file"], BAD_RUN, ["file is no board"]),
    (["verify", "file", "--signed-by", "ed25519:short"], USAGE, ["no public key", "aira-bench key"]),
    (["leaderboard", "--runs", "empty"], USAGE, ["No runs in", "aira-bench run --help"]),
    (["prepare", "mad2p"], USAGE, ["Unknown task 'mad2p'", "'mad-2p'", "aira-bench tasks"]),
    (["prepare", "./absent"], USAGE, ["No task folder at ./absent"]),
    (["check", "mad2p"], USAGE, ["Unknown task 'mad2p'", "'mad-2p'"]),
    (["check", "./absent"], USAGE, ["No task folder at ./absent"]),
    (["check", "absent.toml"], 1, ["Cannot read the agent card absent.toml"]),
    (["check", "empty"], BROKEN_TASK, ["metadata.yaml is missing"]),
    (["prepare", "empty"], BROKEN_TASK, ["metadata.yaml is missing"]),
    (["run", "--agent", "evolution", "--task", "empty"], BROKEN_TASK, ["metadata.yaml is missing"]),
    (["run", "--agent", "replay:absent"], USAGE, ["No run 'absent'"]),
    (["run", "--agent", "absent.toml", "--task", "mad-2p"], USAGE, ["absent.toml"]),
    (["run", "--agent", "script:absent.py", "--task", "mad-2p"], USAGE, ["absent.py cannot be read"]),
    (["run", "--agent", "script:empty", "--task", "mad-2p"], USAGE, ["empty cannot be read", "a folder"]),
    (["reproduce", "99"], USAGE, ["99"]),
    (["extrapolate", "5(2A-M)-A", "--scale", "1B", "--gpu", "tpu"], USAGE, ["tpu", "h200"]),
    (["aggregate", "--scores", "absent.json"], USAGE, ["absent.json"]),
    # A combination that cannot be.
    ([*RUN, "--scaffold", "x"], USAGE, ["scaffold 'x'", "greedy"]),
    (["run", "--agent", "evolution"], USAGE, ["--task is missing", "aira-bench tasks"]),
    ([*RUN, "--source", "synthetic"], USAGE, ["makes its own data"]),
    (["prepare", "mad-2p", "--source", "synthetic"], USAGE, ["makes its own data"]),
    (["check", "mad-2p", "--source", "empty"], USAGE, ["makes its own data"]),
    (["prepare", "lra-text", "--source", "absent"], USAGE, ["neither a folder nor 'synthetic'"]),
    (["check", "mad-2p", "--solution", "absent.py"], USAGE, ["absent.py cannot be read"]),
    (["aggregate"], USAGE, ["Nothing to aggregate", "aira-bench status"]),
    (["architectures", "airaformer"], USAGE, ["'airaformer'", "aira-bench architectures"]),
    (["aggregate", "greedy-mad-2p", "--decay", "1e9"], USAGE, ["'1e9' is no decay", "--decay 0.8"]),
    (["aggregate", "greedy-mad-2p", "--decay", "1/0"], USAGE, ["'1/0' is no decay"]),
    (["aggregate", "greedy-mad-2p", "--decay", "2"], USAGE, ["decay"]),
    (["aggregate", "greedy-mad-2p", "--top", "0"], USAGE, ["top"]),
    (["aggregate", "scripts"], USAGE, ["architecture"]),
    (["extrapolate", "5(2A-M", "--scale", "1B"], USAGE, ["character 2", "never closed"]),
    (["extrapolate", "A", "--scale", "1B"], USAGE, ["has 1 layers, expected 16 or 6", "--base-layers 1"]),
    (["extrapolate", "5(2A-M)-A", "--scale", "much"], USAGE, ["much"]),
    (["extrapolate", "5(2A-M)-A", "--scale", "1B", "--flops", "many"], USAGE, ["'many' is no number of FLOPs"]),
    (["extrapolate", "5(2A-M)-A", "--scale", "1B", "--flops", "inf"], USAGE, ["'inf' is no number"]),
    (["extrapolate", "5(2A-M)-A", "--scale", "1B", "--flops", "0.5"], USAGE, ["'0.5' is no number"]),
    (["extrapolate", "5(2A-M)-A", "--scale", "1B", "--gpus", "0"], USAGE, ["0"]),
    (["key", "trust"], USAGE, ["take one public key", "aira-bench key --help"]),
    (["key", "export", KEY], USAGE, ["show and export none"]),
    (["key", "trust", "ed25519:short"], USAGE, ["key"]),
    (["key", "forget", "rsa:" + "0" * 64], USAGE, ["key"]),
    # What a run's record does not allow.
    (["resume", "unsigned"], BAD_RUN, ["--trust-agent"]),
    (["status", "damaged"], BAD_RUN, ["damaged", "manifest.json"]),
    (["resume", "damaged"], BAD_RUN, ["damaged"]),
    (["confirm", "damaged"], BAD_RUN, ["damaged"]),
    (["analyze", "damaged"], BAD_RUN, ["damaged"]),
    (["aggregate", "damaged"], BAD_RUN, ["damaged"]),
    (["run", "--agent", "replay:damaged"], BAD_RUN, ["damaged"]),
    # What the machine lacks.
    (RUN, LACKING, ["docker", "Try:"]),
    (["prepare", "mad-2p", "--profile", "cpu"], LACKING, ["docker", "Try:"]),
    (["check", "mad-2p"], LACKING, ["docker", "Try:"]),
    (["images", "build"], LACKING, ["docker", "Try:"]),
    (["images", "list"], LACKING, ["docker", "Try:"]),
    (["images", "prune"], LACKING, ["docker", "Try:"]),
    (["doctor", "--channels"], LACKING, ["docker", "Try:"]),
    (["run", "--agent", "gemini3pro", "--task", "mad-2p"], LACKING, ["GEMINI_API_KEY", "--agent evolution"]),
    # What the parser itself refuses.
    (["agents", "extra"], USAGE, ["unrecognized arguments: extra", "aira-bench --help"]),
    (["tasks", "extra"], USAGE, ["unrecognized arguments: extra"]),
    (["extensions", "extra"], USAGE, ["unrecognized arguments: extra"]),
    (["confirm"], USAGE, ["RUN", "aira-bench confirm --help"]),
    (["check"], USAGE, ["PATH", "aira-bench check --help"]),
    (["init"], USAGE, ["kind", "aira-bench init --help"]),
    (["init", "provider", "x"], USAGE, ["invalid choice: 'provider'"]),
    (["init", "task"], USAGE, ["NAME"]),
    (["check", "mad-2p", "--timeout", "0"], USAGE, ["'0' is not a number above 0"]),
    (["check", "mad-2p", "--profile", "gpu"], USAGE, ["invalid choice: 'gpu'"]),
    (["images", "push"], USAGE, ["needs REGISTRY or FILE"]),
    (["images", "build", "--flavour", "tpu"], USAGE, ["invalid choice: 'tpu'"]),
    (["key", "delete"], USAGE, ["invalid choice: 'delete'"]),
    (["analyze", "scripts", "--against", "worst"], USAGE, ["invalid choice: 'worst'"]),
    (["aggregate", "x", "--condition", "3"], USAGE, ["invalid choice: 3"]),
    (["extrapolate", "A"], USAGE, ["--scale"]),
    ([*RUN, "--seeds", "1,1"], USAGE, ["list of distinct seeds"]),
    ([*RUN, "--seeds", "-1"], USAGE, ["--help"]),
    ([*RUN, "--seeds", "1001"], USAGE, ["at most 1000"]),
    ([*RUN, "--seeds", "٣"], USAGE, ["number of seeds"]),
    ([*RUN, "--steps", "0"], USAGE, ["'0' is not a number of steps"]),
    ([*RUN, "--steps", "1e3"], USAGE, ["'1e3' is not a number of steps"]),
    ([*RUN, "--hours", "nan"], USAGE, ["'nan' is not a number above 0"]),
    ([*RUN, "--hours", "1_0"], USAGE, ["'1_0' is not a number"]),
    ([*RUN, "--hours", "90000"], USAGE, ["at most 87600"]),
    ([*RUN, "--step-timeout", "-5"], USAGE, ["--step-timeout"]),
    ([*RUN, "--max-cost-usd", "inf"], USAGE, ["'inf' is not a number above 0"]),
    ([*RUN, "--max-tokens", "1.5"], USAGE, ["'1.5' is not a whole number"]),
    ([*RUN, "--concurrency", "9" * 50], USAGE, ["is not a whole number", "999...'"]),
    ([*RUN, "--fitness", "test"], USAGE, ["invalid choice: 'test'"]),
]


@pytest.mark.parametrize(
    ("arguments", "status", "parts"), REFUSED, ids=[" ".join(arguments)[:70] for arguments, _, _ in REFUSED]
)
def test_what_cannot_be_done_is_one_line_with_its_exit_status(
    place: Path, capsys: pytest.CaptureFixture[str], arguments: list[str], status: int, parts: list[str]
) -> None:
    before = {path for path in place.rglob("*") if "home" not in path.parts}
    assert called(arguments) == status
    shown = capsys.readouterr()
    *notes, last = shown.err.splitlines()
    assert shown.out == "" or arguments[:1] in (["check"], ["status"]), shown.out
    assert not [note for note in notes if "error" in note.lower()], shown.err
    assert last.startswith("aira-bench: error: ")
    assert all(part in last for part in parts), last
    assert "Traceback" not in shown.err
    assert {path for path in place.rglob("*") if "home" not in path.parts} == before, "nothing was written"


def test_every_command_has_a_refusal_in_the_table() -> None:
    (commands,) = [action for action in build_parser()._actions if isinstance(action, argparse._SubParsersAction)]
    assert set(commands.choices) == {arguments[0] for arguments, _, _ in REFUSED}


def test_runs_that_cannot_be_read_are_left_out_and_named(place: Path, capsys: pytest.CaptureFixture[str]) -> None:
    """`status` and `leaderboard` show the others, and say by their exit status that something was left out."""
    for command in (["status"], ["leaderboard", "--out", str(place / "out")]):
        assert called([*command, "--json"]) == BAD_RUN
        shown = capsys.readouterr()
        assert json.loads(shown.out)
        assert len(shown.err.splitlines()) == 1
        assert "damaged" in shown.err


def test_with_nothing_readable_there_is_no_board(place: Path, capsys: pytest.CaptureFixture[str]) -> None:
    assert called(["leaderboard", "damaged", "--out", str(place / "out")]) == BAD_RUN
    assert capsys.readouterr().out == ""
    assert not (place / "out").exists()


@pytest.mark.parametrize("command", ["status", "leaderboard"])
def test_a_folder_of_runs_that_is_a_file_is_said_to_be_empty_or_named(
    place: Path, capsys: pytest.CaptureFixture[str], command: str
) -> None:
    status = called([command, "--runs", str(place / "file")])
    shown = capsys.readouterr()
    assert status in (0, USAGE, LACKING)
    assert "file" in shown.out + shown.err
    assert "Traceback" not in shown.err


def test_the_machine_s_refusal_to_write_is_one_line(place: Path, capsys: pytest.CaptureFixture[str]) -> None:
    assert called(["leaderboard", "scripts", "--out", str(place / "file" / "out")]) == USAGE
    shown = capsys.readouterr()
    assert "is a file. Try: --out DIR" in shown.err
    assert len(shown.err.splitlines()) == 1


ERRORS = [kind for kind in vars(errors).values() if isinstance(kind, type) and issubclass(kind, AiraError)]


def raising(error: BaseException) -> Callable[[object], int]:
    def handle(args: object) -> int:
        raise error

    return handle


@pytest.fixture
def failing(monkeypatch: pytest.MonkeyPatch) -> Callable[[BaseException], int]:
    """Call a command whose work ends with an exception."""

    def call(error: BaseException) -> int:
        monkeypatch.setattr("aira_bench.cli.tasks.handle", raising(error))
        return called(["tasks"])

    return call


def test_the_documented_statuses_are_those_of_the_errors() -> None:
    described = " ".join(build_parser().format_help().split())
    listed = {
        int(number): words for number, words in re.findall(r"(\d+) ([a-z][^,]*)", described.split("exit status:")[1])
    }
    assert {kind.exit_code for kind in ERRORS} <= set(listed)
    assert set(listed) == {0, *(kind.exit_code for kind in ERRORS), main.STOPPED}


@pytest.mark.parametrize(
    "kind", [kind for kind in ERRORS if kind.__name__ != "AskedInVain"], ids=lambda kind: kind.__name__
)
def test_an_error_of_ours_is_its_message_its_hint_and_its_status(
    failing: Callable[[BaseException], int], capsys: pytest.CaptureFixture[str], kind: type[AiraError]
) -> None:
    assert failing(kind("It failed\nin two lines.", hint="aira-bench doctor")) == kind.exit_code
    assert capsys.readouterr().err == "aira-bench: error: It failed in two lines. Try: aira-bench doctor\n"
    assert failing(kind("It failed.")) == kind.exit_code
    assert capsys.readouterr().err == "aira-bench: error: It failed.\n"


@pytest.mark.parametrize(
    ("number", "said"),
    [
        (errno.EACCES, "/x/y: Permission denied."),
        (errno.ENOENT, "/x/y: No such file or directory."),
        (errno.ENAMETOOLONG, "/x/y: File name too long."),
        (errno.ELOOP, "/x/y: Too many levels of symbolic links."),
    ],
)
def test_a_state_of_a_named_file_is_no_defect(
    failing: Callable[[BaseException], int], capsys: pytest.CaptureFixture[str], number: int, said: str
) -> None:
    assert failing(OSError(number, os.strerror(number), "/x/y")) == LACKING
    assert said in capsys.readouterr().err


@pytest.mark.parametrize(
    ("error", "said"),
    [
        (OSError(errno.ENOSPC, "", "/x/y"), "/x/y: the disk is full. What is recorded is safe. Try: df -h /x/y"),
        (OSError(errno.EDQUOT, "", "/x/y"), "/x/y: the disk quota is used up."),
        (OSError(errno.EROFS, "", "/x/y"), "/x/y: the file system is read-only."),
        (OSError(errno.EIO, "", "/x/y"), "/x/y: the disk reports an input/output error."),
        (OSError(errno.EMFILE, ""), "the process has no file descriptors left. What is recorded is safe. Try: ulimit"),
        (OSError(errno.ENFILE, ""), "the system has no file descriptors left."),
        (OSError(errno.ENOMEM, ""), "the machine has no memory left."),
        (MemoryError(), "the machine has no memory left."),
        (RuntimeError("can't start new thread"), "the process may start no more threads or processes."),
        (OSError(errno.EAGAIN, ""), "the process may start no more threads or processes."),
    ],
)
def test_a_failure_of_the_machine_is_one_line_and_its_status(
    failing: Callable[[BaseException], int], capsys: pytest.CaptureFixture[str], error: Exception, said: str
) -> None:
    assert failing(error) == errors.MachineError.exit_code
    shown = capsys.readouterr().err
    assert shown.startswith("aira-bench: error: The machine failed: ")
    assert shown.count("\n") == 1
    assert said in shown


@pytest.mark.parametrize("stream", ["stdout", "stderr"])
def test_a_stream_on_a_full_disk_ends_a_command_without_a_traceback(stream: str) -> None:
    command = [sys.executable, "-m", "aira_bench", *(["tasks"] if stream == "stdout" else ["status", "absent"])]
    with Path("/dev/full").open("w") as full:
        other = {"stdout": "stderr", "stderr": "stdout"}[stream]
        done = subprocess.run(command, **{stream: full, other: subprocess.PIPE}, timeout=60, check=False)
    said = done.stderr if stream == "stdout" else done.stdout
    assert done.returncode == (errors.MachineError.exit_code if stream == "stdout" else USAGE)
    assert b"Traceback" not in said
    assert said.count(b"\n") == (1 if stream == "stdout" else 0)


@pytest.mark.parametrize("number", [errno.EBADF, errno.EFAULT, errno.EINVAL])
def test_a_defect_of_ours_is_not_dressed_up(failing: Callable[[BaseException], int], number: int) -> None:
    with pytest.raises(OSError, match=r"\[Errno"):
        failing(OSError(number, os.strerror(number), "/x/y"))
    with pytest.raises(ZeroDivisionError):
        failing(ZeroDivisionError())


def test_a_stop_is_one_line_and_its_status(
    failing: Callable[[BaseException], int], capsys: pytest.CaptureFixture[str]
) -> None:
    assert failing(KeyboardInterrupt()) == main.STOPPED
    assert capsys.readouterr().err == "aira-bench: stopped.\n"


def test_a_polite_kill_is_a_stop(monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]) -> None:
    def wait(args: object) -> int:
        threading.Timer(0.05, os.kill, (os.getpid(), signal.SIGTERM)).start()
        time.sleep(10)
        return 0

    before = signal.getsignal(signal.SIGTERM)
    monkeypatch.setattr("aira_bench.cli.tasks.handle", wait)
    try:
        assert called(["tasks"]) == main.STOPPED
    finally:
        signal.signal(signal.SIGTERM, before)
    assert "stopped" in capsys.readouterr().err


def test_a_reader_that_went_away_is_no_error(monkeypatch: pytest.MonkeyPatch) -> None:
    """`aira-bench tasks | head -1`: the pipe is closed while there is more to print."""
    reading, writing = os.pipe()
    os.close(reading)
    kept = os.dup(1)
    try:
        with os.fdopen(writing, "w") as stream:
            monkeypatch.setattr(sys, "stdout", stream)
            assert called(["tasks", "--json"]) == 0
    finally:
        os.dup2(kept, 1)
        os.close(kept)


def test_a_message_of_a_megabyte_is_cut(
    failing: Callable[[BaseException], int], capsys: pytest.CaptureFixture[str]
) -> None:
    assert failing(UsageError("x" * 1_000_000)) == USAGE
    shown = capsys.readouterr().err
    assert len(shown) < 12_000
    assert "of 1000000 characters" in shown


def test_a_terminal_without_our_characters_is_spelt_out(monkeypatch: pytest.MonkeyPatch) -> None:
    stream = io.TextIOWrapper(io.BytesIO(), encoding="ascii")
    monkeypatch.setattr(sys, "stderr", stream)
    monkeypatch.setattr("aira_bench.cli.tasks.handle", raising(UsageError("naïve Zürich")))
    assert called(["tasks"]) == USAGE
    stream.flush()
    assert isinstance(stream.buffer, io.BytesIO)
    assert stream.buffer.getvalue() == b"aira-bench: error: na\\xefve Z\\xfcrich\n"
