"""Stage 9, where Docker is: the doctor's report, and one step each of tasks that together take every role.

A search of mad-2p has containers that prepare, that run an agent's code, and that judge; lra-listops one that traces a
module besides, autoresearch one that predicts. Needs the images, since a lent machine has no registry, and the
environment of `make` or a Python with the dependencies. Runs and data go to a folder of their own, which is removed.
"""

import importlib.util
import os
import subprocess
import sys
import tempfile
import time
from collections.abc import Sequence
from pathlib import Path

from gpu_stages.record import Record, device

ROOT = Path(__file__).resolve().parents[2]
TASKS = ("mad-2p", "lra-listops", "autoresearch")
NEEDED = ("docker", "pydantic", "yaml")
"""What `aira_bench` imports at once, beside the standard library."""


def run(record: Record) -> None:
    """Run what is there to run, and say what is not."""
    if subprocess.run(["docker", "version"], capture_output=True, check=False).returncode:
        record.row("Docker", "does not answer here")
        return
    command = _aira_bench()
    if command is None:
        record.row("aira-bench", f"cannot run in {sys.executable}, and there is no .venv (make): not tried")
        return
    with tempfile.TemporaryDirectory() as name:
        profile = "paper" if device().type == "cuda" else "cpu"
        _tell(record, f"doctor, profile {profile}", [*command, "doctor", "--profile", profile], Path(name))
        for task in TASKS[:1] if record.toy else TASKS:
            asked = ["run", "--agent", "evolution", "--scaffold", "greedy", "--steps", "1", "--task", task]
            # A run of profile paper asks before it begins, and nobody is here to answer.
            asked += ["--profile", profile, "--yes"]
            _tell(record, f"one step of {task}, profile {profile}", [*command, *asked], Path(name))


def _aira_bench() -> list[str] | None:
    ours = ROOT / ".venv" / "bin" / "aira-bench"
    if ours.exists():
        return [str(ours)]
    if all(importlib.util.find_spec(package) for package in NEEDED):
        return [sys.executable, "-m", "aira_bench"]
    return None


def _tell(record: Record, what: str, command: Sequence[str], folder: Path) -> None:
    environment = os.environ | {"AIRA_HOME": str(folder / "home"), "AIRA_RUNS": str(folder / "runs")}
    started_s = time.monotonic()
    said = subprocess.run(command, env=environment, capture_output=True, text=True, check=False)
    print(said.stdout, said.stderr, flush=True)
    record.detail(what, (said.stdout + said.stderr)[-4000:])
    record.row(f"{what}: exit status", said.returncode, bar="0", met=said.returncode == 0)
    record.row(f"{what}: time", time.monotonic() - started_s, "s")
