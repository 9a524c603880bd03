"""Runs a script as the evaluation will, on the public data, and keeps the bits per byte it claims for itself.

    python -m aira_evaluator.autoresearch.validate --script train.py --data ./data

Prints the script's output and then `BPB 1.2345`, and writes `./validation.json`. The claim is what the model's own loss
sums up to on the public val split: good for comparing scripts of one's own, worthless as evidence. The model that was
handed over is loaded once, in a process of its own, so that one which cannot be served is found here (`rehearsal`).

Not covered: the trusted score. It needs hidden text and a judge.
"""

import argparse
import contextlib
import json
import os
import shutil
import signal
import subprocess
import sys
import tempfile
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

from aira_contract.containers import DATA
from aira_contract.files import CLAIM_FILE, COMPANION_FILES, HANDOVER_FILE, SCRIPT_FILE
from aira_contract.invocation import HANDOVER_OPTION

METRIC = "BPB"
_REHEARSAL_S = 300


class ValidationError(Exception):
    """The script gave no claim, or its model cannot be served. The message is one line."""


def validate(script: Path, data: Path) -> float:
    """Return the claim of `script`, trained on `data` under the profile's outside clock.

    Raises:
        ValidationError: it ended without a completed `evaluate_bpb`, or was killed before one, or left a model that
            cannot be served.
        OSError: a file is missing.
    """
    manifest = json.loads((data / "manifest.json").read_text(encoding="ascii"))
    deadline_s = manifest["time_budget_s"] + manifest["start_up_s"]
    with tempfile.TemporaryDirectory(dir=Path.cwd(), prefix="validate-") as name:
        folder = Path(name)
        shutil.copyfile(script, folder / SCRIPT_FILE)
        for companion in COMPANION_FILES:
            shutil.copyfile(data / companion, folder / companion)
        ended = _run(folder, data, deadline_s)
        try:
            claim = json.loads((folder / CLAIM_FILE).read_bytes())
        except FileNotFoundError:
            raise ValidationError(f"{script.name} {ended} without a completed evaluate_bpb") from None
        _rehearse(script, folder, manifest)
    Path(CLAIM_FILE).write_text(json.dumps(claim) + "\n", encoding="ascii")
    return float(claim["value"])


def _rehearse(script: Path, folder: Path, manifest: Mapping[str, Any]) -> None:
    (folder / "elsewhere").mkdir()  # a working folder without the script
    command = [
        sys.executable, "-m", "aira_evaluator.autoresearch.agent.rehearsal",
        HANDOVER_OPTION, str(folder / HANDOVER_FILE),
        "--tokens", str(manifest["sequence_length"]), "--vocabulary", str(manifest["vocabulary"]),
    ]  # fmt: skip
    try:
        finished = subprocess.run(
            command, cwd=folder / "elsewhere", stdout=subprocess.PIPE, text=True, check=False, timeout=_REHEARSAL_S
        )
    except subprocess.TimeoutExpired:
        raise ValidationError(f"{script.name} was trained, but its model was not served in {_REHEARSAL_S} s") from None
    if finished.returncode != 0:
        lines = finished.stdout.splitlines() or [f"it ended the process that loaded it ({finished.returncode})"]
        raise ValidationError(f"{script.name} was trained, but cannot be scored: {lines[-1]}")


def _run(folder: Path, data: Path, deadline_s: float) -> str:
    """Run the script to its end or its deadline; say how it ended."""
    environment = {**os.environ, "AIRA_DATA": str(data.resolve())}
    sys.stdout.flush()
    command = [sys.executable, SCRIPT_FILE]
    with subprocess.Popen(command, cwd=folder, env=environment, start_new_session=True) as process:
        try:
            return f"ended with exit status {process.wait(deadline_s)}"
        except subprocess.TimeoutExpired:
            return f"was killed after {deadline_s} s"
        finally:
            with contextlib.suppress(ProcessLookupError):
                os.killpg(process.pid, signal.SIGKILL)


def main(arguments: Sequence[str] | None = None) -> int:
    """Run the command line; return the exit status: 0 a claim was made, 2 none."""
    parser = argparse.ArgumentParser(prog="validate", description="Run a script as the evaluation will.")
    parser.add_argument("--script", type=Path, default=Path(SCRIPT_FILE))
    parser.add_argument("--data", type=Path, default=Path(DATA), help="the public data")
    options = parser.parse_args(arguments)
    try:
        claimed = validate(options.script, options.data)
    except (ValidationError, OSError) as error:
        print(f"validate: {error}", file=sys.stderr)
        return 2
    print(f"{METRIC} {claimed:.4f}")
    return 0


if __name__ == "__main__":
    sys.exit(main())
