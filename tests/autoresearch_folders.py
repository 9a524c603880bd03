"""The Autoresearch task folders, and how their scripts are run outside a container."""

import os
import shutil
import subprocess
import sys
from pathlib import Path

_TASKS = Path(__file__).resolve().parents[1] / "tasks"
PLAIN = _TASKS / "AutoregressiveLanguageModellingAutoresearchBPB"
LITERATURE = _TASKS / "AutoregressiveLanguageModellingWithLiteratureAutoresearchBPB"


def untrained_copy(folder: Path, to: Path) -> Path:
    """A copy of a task folder whose hidden data has references that need no training: its scores are less precise."""
    shutil.copytree(folder, to)
    script = to / "evaluate_prepare.py"
    call = "evaluate_prepare(Path(__file__).parent, HIDDEN_SEEDS)"
    assert call in script.read_text()
    script.write_text(script.read_text().replace(call, call[:-1] + ", reference_budgets_s=())"))
    return to


def run_script(script: Path, root: Path, profile: str = "cpu") -> subprocess.CompletedProcess[str]:
    """Run a preparing script with the folders `raw`, `data` and `logs` below `root`; say what it imported on stderr."""
    for name in ("raw", "data", "logs"):
        (root / name).mkdir(parents=True, exist_ok=True)
    (root / "logs" / "train.py").touch()
    places = ["--global-shared-data-dir", "raw", "--agent-data-mount-dir", "data", "--agent-log-dir", "logs"]
    return subprocess.run(
        [sys.executable, "-X", "importtime", script, *places], cwd=root,
        env={**os.environ, "AIRA_PROFILE": profile}, capture_output=True, text=True, check=False,
    )  # fmt: skip
