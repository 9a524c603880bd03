"""The check for GPUs at toy sizes on a CPU: it runs, it leaves figures behind when cut off, and says what it lacks."""

import json
import os
import re
import shutil
import signal
import subprocess
import sys
import time
from pathlib import Path

import pytest
import torch

ROOT = Path(__file__).resolve().parents[2]
BENCH = ROOT / "bench"
SCRIPT = BENCH / "gpu_check.py"
sys.path.insert(0, str(BENCH))

from gpu_check import STAGES  # noqa: E402
from gpu_stages import containers, machine  # noqa: E402
from gpu_stages.files import read_json, table  # noqa: E402
from gpu_stages.record import Record  # noqa: E402

ENDLESS = """
import itertools, subprocess

def run(record):
    record.detail("its own", subprocess.Popen(["sleep", "600"]).pid)
    for number in itertools.count():
        record.row(f"figure {number % 40}", float(number), "s", bar="8 s", met=False)
"""
"""A stage that has always just told something, and has a process of its own."""


def check(script: Path, out: Path, *options: str) -> subprocess.CompletedProcess[str]:
    """As on a machine where nothing of ours is installed: no paths to our packages."""
    environment = {name: value for name, value in os.environ.items() if name != "PYTHONPATH"}
    command = [sys.executable, str(script), "--out", str(out), *options]
    return subprocess.run(command, env=environment, capture_output=True, text=True, check=False)


@pytest.mark.timeout(1200)
def test_the_dry_form_has_figures_of_every_stage(tmp_path: Path) -> None:
    finished = check(SCRIPT, tmp_path, "--toy", "--limit", "1150")
    assert finished.returncode == 0, finished.stderr
    for stage in STAGES.keys() - {"containers"}:
        log = (tmp_path / f"{stage}.log").read_text()[-3000:]
        found, end = (json.loads((tmp_path / f"{stage}{kind}.json").read_text()) for kind in ("", ".end"))
        assert end["ended"] == "by itself", log
        assert found["errors"] == [], log
        assert found["toy"] is True
        assert found["rows"], log
        assert all(row["what"] for row in found["rows"])
    shown = (tmp_path / "table.md").read_text()
    assert shown in finished.stdout
    assert shown.startswith("no nvidia-smi" if shutil.which("nvidia-smi") is None else "")
    assert f"torch {torch.__version__}" in shown.splitlines()[0]
    assert shown.count("Toy sizes: the figures mean nothing. Ended by itself") == len(STAGES) - 1
    assert shown.rstrip().endswith("Not measured: containers.")


@pytest.fixture(scope="module")
def played(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """The check as it is, with stages that never end and limits of parts of a second."""
    folder = tmp_path_factory.mktemp("check") / "bench"
    (folder / "gpu_stages").mkdir(parents=True)
    for name in ("__init__", "files", "machine", "record"):
        shutil.copy(BENCH / "gpu_stages" / f"{name}.py", folder / "gpu_stages")
    for stage in STAGES:
        (folder / "gpu_stages" / f"{stage}.py").write_text(ENDLESS)
    script = folder / "gpu_check.py"
    text, replaced = re.subn(r'^    "(\w+)": \d+\.0,$', r'    "\1": LIMIT,', SCRIPT.read_text(), flags=re.MULTILINE)
    assert replaced == len(STAGES)
    script.write_text(text.replace("STAGES = {", "LIMIT = float(os.environ.get('PLAYED_LIMIT_S', 100))\nSTAGES = {"))
    return script


def gone(pid: int) -> bool:
    """Whether a process has ended; a zombie has, whoever has not noticed yet."""
    try:
        return Path(f"/proc/{pid}/stat").read_text().rpartition(")")[2].split()[0] == "Z"
    except (FileNotFoundError, ProcessLookupError):
        return True


def soon_gone(pid: int) -> bool:
    deadline_s = time.monotonic() + 60
    while not gone(pid) and time.monotonic() < deadline_s:
        time.sleep(0.05)
    return gone(pid)


@pytest.mark.parametrize(
    ("stage", "how"),
    [*((stage, how) for stage in STAGES for how in (signal.SIGKILL, signal.SIGTERM)), ("suite", signal.SIGHUP)],
)
def test_what_a_killed_check_has_found_is_whole(played: Path, tmp_path: Path, stage: str, how: signal.Signals) -> None:
    command = [sys.executable, str(played), "--out", str(tmp_path), "--toy", "--stages", stage]
    with subprocess.Popen(command, stdout=subprocess.PIPE, text=True) as running:
        deadline_s = time.monotonic() + 120
        while len(read_json(tmp_path / f"{stage}.json").get("rows", [])) < 3:
            assert time.monotonic() < deadline_s
            assert running.poll() is None
            time.sleep(0.01)
        running.send_signal(how)
    found = json.loads((tmp_path / f"{stage}.json").read_text())
    assert len(found["rows"]) >= 3
    assert soon_gone(found["details"]["its own"]), "a device would stay busy"
    shown = table(tmp_path, STAGES)
    assert f"### {stage}" in shown
    assert "| figure 2 |" in shown
    if how == signal.SIGKILL:
        assert running.returncode == -how
        assert "Ended unseen" in shown
    else:
        assert running.returncode == 128 + how
        assert "Ended stopped" in shown
        assert (tmp_path / "table.md").read_text() == shown


def test_every_stage_is_killed_at_its_limit_and_the_next_one_has_its_turn(
    played: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("PLAYED_LIMIT_S", "0.4")  # five times as long for toys
    last = list(STAGES)[-1]
    (tmp_path / "suite").mkdir()
    for name in (*(mine := ("mine.json", "mad.md", "suite.md", "suite/mad.log")), "mad.json", ".mad.json.123"):
        (tmp_path / name).write_text("{}")
    finished = check(played, tmp_path, "--toy", "--limit", "100", "--stages", *STAGES)
    assert finished.returncode == 0, finished.stderr
    assert finished.stdout.count("killed at its limit of 2 s") == 2 * len(STAGES), "said at once, and in the table"
    for stage in STAGES:
        assert soon_gone(json.loads((tmp_path / f"{stage}.json").read_text())["details"]["its own"])
    assert "Not measured" not in (tmp_path / "table.md").read_text()
    assert all((tmp_path / name).exists() for name in mine), "what the check has not written, it leaves alone"
    assert not (tmp_path / ".mad.json.123").exists()
    finished = check(played, tmp_path, "--toy", "--limit", "2.5", "--stages", last, "suite")
    shown = (tmp_path / "table.md").read_text()
    assert "### suite\n\nEnded before it began: no time was left, 0 s." in shown
    assert "Not measured: suite, mad, " in shown, "also what nobody asked for, and nothing of the folder's last run"


def test_toys_are_held_against_no_bar(tmp_path: Path) -> None:
    row = {"what": "a candidate", "figure": 0.5, "unit": "s", "bar": "8 s", "met": True}
    for toy, shown in ((True, "| a candidate | 0.5 s |  |"), (False, "| a candidate | 0.5 s | 8 s, met |")):
        (tmp_path / "mad.json").write_text(json.dumps({"toy": toy, "rows": [row], "errors": []}))
        assert shown in table(tmp_path, STAGES)


@pytest.mark.skipif(torch.cuda.is_available(), reason="there is a device here")
def test_without_a_device_it_says_so_in_one_line(tmp_path: Path) -> None:
    finished = check(SCRIPT, tmp_path)
    assert finished.returncode == 2
    assert finished.stderr.startswith("torch.cuda sees no device here")
    assert finished.stderr.count("\n") == 1
    assert finished.stdout == ""


def test_a_part_that_fails_is_written_down_and_the_next_goes_on(tmp_path: Path) -> None:
    record = Record(tmp_path / "stage.json", toy=True)

    def broken() -> None:
        raise RuntimeError("no such instruction\nand a long trace")

    assert not record.attempt("a kernel", broken)
    record.row("figure", 1.0, "s")
    assert record.attempt("another", lambda: record.row("figure", 2.0, "s", bar="3 s", met=True))
    found = json.loads((tmp_path / "stage.json").read_text())
    assert found["errors"] == ["a kernel: RuntimeError: no such instruction"]
    assert found["rows"] == [{"what": "figure", "figure": 2.0, "unit": "s", "bar": "3 s", "met": True}]


SAID = (
    "NVIDIA H200, 580.159.04, 1980 MHz, 1980 MHz, 3201 MHz, 128.20 W, 700.00 W, 41, 143771 MiB, 521 MiB, "
    "0x0000000000000004, Enabled, 0, Disabled, Default"
)
SAID_SHORT = ", ".join(SAID.split(", ")[: len(machine.OLD_FIELDS)])


@pytest.mark.parametrize("old", [False, True])
def test_a_device_is_told_in_words(tmp_path: Path, monkeypatch: pytest.MonkeyPatch, old: bool) -> None:
    """An old driver answers nothing if one field of a query is new to it."""
    refuses = f"case \"$1\" in *ecc*) echo 'Field \"ecc\" is not a valid field'; exit 2;; esac\necho '{SAID_SHORT}'"
    fake = tmp_path / "nvidia-smi"
    fake.write_text("#!/bin/sh\n" + (refuses if old else f"echo '{SAID}'") + "\n")
    fake.chmod(0o755)
    monkeypatch.setenv("PATH", str(tmp_path), prepend=os.pathsep)
    said = machine.in_words(machine.gpu_state())
    assert said.startswith("NVIDIA H200, 143771 MiB (521 MiB used), driver 580.159.04, SM clock 1980 MHz of 1980 MHz")
    assert ("throttling unknown" if old else "throttling 0x0000000000000004") in said
    assert ("ECC unknown" if old else "ECC Enabled (uncorrected errors: 0), MIG Disabled") in said


@pytest.mark.parametrize(("docker", "profile"), [(True, "cpu"), (True, "paper"), (False, "cpu")])
def test_doctor_and_a_step_of_every_role_are_for_machines_with_docker(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, docker: bool, profile: str
) -> None:
    """Both commands played; that a run takes these options, `--print-config` of the real one says."""
    ours = tmp_path / ".venv" / "bin" / "aira-bench"
    ours.parent.mkdir(parents=True)
    for place, program in ((tmp_path / "docker", f"exit {0 if docker else 1}"), (ours, 'echo "$@"; [ "$1" = doctor ]')):
        place.write_text(f"#!/bin/sh\n{program}\n")
        place.chmod(0o755)
    monkeypatch.setenv("PATH", str(tmp_path), prepend=os.pathsep)
    monkeypatch.setattr(containers, "ROOT", tmp_path)
    monkeypatch.setattr(containers, "device", lambda: torch.device("cuda" if profile == "paper" else "cpu"))
    record = Record(tmp_path / "containers.json", toy=False)
    containers.run(record)
    figures = {str(row["what"]): (row["figure"], row["met"]) for row in record.rows}
    if not docker:
        assert figures == {"Docker": ("does not answer here", None)}
        return
    assert figures[f"doctor, profile {profile}: exit status"] == (0, True)
    steps = {what: figure for what, figure in figures.items() if what.startswith("one step of ") and "status" in what}
    assert len(steps) == 3
    assert set(steps.values()) == {(1, False)}
    for what, said in record.details.items():
        assert f"--profile {profile}" in str(said)
        if not what.startswith("doctor"):
            assert "--yes" in str(said).split(), "nobody is there to be asked"
            real = Path(sys.executable).with_name("aira-bench")
            command = [real, *str(said).split(), "--allow-cpu", "--print-config"]
            plan = subprocess.run(command, capture_output=True, text=True, check=False)
            assert plan.returncode == 0, plan.stderr
            assert json.loads(plan.stdout)
