"""The Autoresearch task folders, and how their scripts are run outside a container."""

import os
import subprocess
import sys
from pathlib import Path

_TASKS = Path(__file__).resolve().parents[1] / "tasks"
PLAIN = _TASKS / "AutoregressiveLanguageModellingAutoresearchBPB"
LITERATURE = _TASKS / "AutoregressiveLanguageModellingWithLiteratureAutoresearchBPB"


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
