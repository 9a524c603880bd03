"""Starts the process that mirrors a run to a tracker, and lets go of it.

The run is never disturbed: the mirror is another process (`aira_bench.export.mirror`) that reads the run's journals;
nothing is written to it and nothing waited for while the run goes on. At the end it has two seconds to say what it
sent; then it goes on by itself for at most a minute. Where it cannot even be started, one line says so.

Not covered: what is sent (`aira_bench.export.trackers`).
"""

import contextlib
import importlib.util
import json
import os
import re
import subprocess
import sys
from collections.abc import Callable, Iterator, Mapping
from pathlib import Path

from aira_bench.errors import PrerequisiteError
from aira_bench.escaping import one_line
from aira_bench.export.trackers import PACKAGES

PATIENCE_S = 2.0
"""How long the end of a command waits to hear what was sent."""
_SECRET = re.compile(r"KEY|TOKEN|SECRET|PASSW|CREDENTIAL", re.IGNORECASE)
_OF_TRACKERS = ("MLFLOW_", "WANDB_", "DATABRICKS_")
_QUIET = {
    "GIT_PYTHON_REFRESH": "quiet",
    "MLFLOW_ENABLE_SYSTEM_METRICS_LOGGING": "false",
    "WANDB_CONSOLE": "off",
    "WANDB_DISABLE_CODE": "true",
    "WANDB_DISABLE_GIT": "true",
    "WANDB_SILENT": "true",
}
"""What keeps clients from sending what they find beside the run."""


def require_tracker(name: str | None) -> None:
    """Check that a tracker's client is installed, without importing it.

    Raises:
        PrerequisiteError: it is not.
    """
    if name is not None and importlib.util.find_spec(PACKAGES[name]) is None:
        raise PrerequisiteError(
            f"--track {name} needs {PACKAGES[name]}, which is not installed.", hint=f"pip install 'aira-bench[{name}]'"
        )


@contextlib.contextmanager
def mirrored(name: str | None, folder: Path, tell: Callable[[str], None]) -> Iterator[None]:
    """Mirror the run in a folder to a tracker while the block runs.

    Args:
        name: of the tracker; None mirrors to none.
        folder: of the run, which need not be there yet.
        tell: told in a line what became of the mirror.
    """
    process = None if name is None else _started(name, folder, tell)
    if name is None or process is None:
        yield
        return
    patience_s = 0.0  # whoever stops a run is not kept waiting
    try:
        yield
        patience_s = PATIENCE_S
    finally:
        _let_go(name, process, patience_s, tell)


def environment_of_mirror(environ: Mapping[str, str]) -> dict[str, str]:
    """Return the variables that a mirror is started with: no secret but those of trackers."""
    kept = {name: value for name, value in environ.items() if name.startswith(_OF_TRACKERS) or not _SECRET.search(name)}
    return kept | _QUIET


def _started(name: str, folder: Path, tell: Callable[[str], None]) -> "subprocess.Popen[bytes] | None":
    command = [sys.executable, "-P", "-m", "aira_bench.export.mirror", name, str(folder.absolute())]
    try:
        return subprocess.Popen(
            command,
            stdin=subprocess.PIPE,
            stdout=subprocess.PIPE,
            stderr=subprocess.DEVNULL,
            env=environment_of_mirror(os.environ),
            start_new_session=True,  # Ctrl-C is the run's
        )
    except OSError as error:
        tell(f"--track {name}: the mirror could not be started ({error.strerror}); the run goes on without it")
        return None


def _let_go(name: str, process: "subprocess.Popen[bytes]", patience_s: float, tell: Callable[[str], None]) -> None:
    with contextlib.suppress(OSError):
        assert process.stdin is not None
        process.stdin.close()
    try:
        process.wait(patience_s)
    except subprocess.TimeoutExpired:
        tell(f"--track {name}: not all is sent yet; the mirror (process {process.pid}) goes on for at most a minute")
        return
    tell(_said(name, process))


def _said(name: str, process: "subprocess.Popen[bytes]") -> str:
    """What a mirror that has ended said of itself."""
    assert process.stdout is not None
    try:
        found = json.loads(os.read(process.stdout.fileno(), 4096) or b"{}")
        steps, problem = int(found["steps"]), one_line(str(found["problem"]), 300)
    except (OSError, ValueError, KeyError, TypeError):
        return f"--track {name}: the mirror ended early (status {process.returncode}); the run is not affected"
    if problem:
        return f"--track {name}: {steps} steps were sent, then it failed: {problem}"
    return f"--track {name}: {steps} steps were sent"
