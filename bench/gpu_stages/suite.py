"""Stage 1: the tests marked `gpu` - kernels against float64, graphs against eager steps, no waiting in a step."""

import contextlib
import importlib.util
import json
import os
import subprocess
import sys
from pathlib import Path

from gpu_stages.outcomes import OUTCOMES_VARIABLE
from gpu_stages.record import Record

ROOT = Path(__file__).resolve().parents[2]
PLACES = ("tests/evaluator/compose/test_gpu_training.py", "tests/kernels")
"""Where tests marked `gpu` need torch, triton, pytest and hypothesis alone; the others need flash-attn and the host."""
COUNTED_S = 2.0
"""How often the outcomes so far are counted, so that a suite that is cut off has told them."""
MOST_PROCESSES = 14
"""Most of the time is Triton's compiler, on the host; each process also takes half a GiB of the device."""


def run(record: Record) -> None:
    """Run the suite and count outcomes; names and last lines of what failed go with them."""
    lines = record.path.with_name("suite.outcomes.json")
    command = [
        sys.executable, "-m", "pytest", "-m", "gpu", "--confcutdir", "tests/kernels", "-p", "no:cacheprovider",
        "-p", "gpu_stages.outcomes", "--timeout", "100", "--tb", "short", *PLACES,
    ]  # fmt: skip
    environment = os.environ | {"OMP_NUM_THREADS": "1", OUTCOMES_VARIABLE: str(lines)}
    if record.toy:
        command += ["-k", "refused"]
        environment["TRITON_INTERPRET"] = "1"
    elif importlib.util.find_spec("xdist") is not None:
        command += ["--numprocesses", str(min(os.cpu_count() or 1, MOST_PROCESSES))]
    suite = subprocess.Popen(command, cwd=ROOT, env=environment)
    while suite.poll() is None:
        with contextlib.suppress(subprocess.TimeoutExpired):
            suite.wait(COUNTED_S)
        _count(record, lines, ended=suite.poll() is not None)


def _count(record: Record, lines: Path, *, ended: bool) -> None:
    # The last line may be half written. No bar is met before the last test has told.
    whole = lines.read_text().rpartition("\n")[0].splitlines() if lines.exists() else []
    found: list[dict[str, object]] = [json.loads(line) for line in whole]
    outcomes = [str(line["outcome"]) for line in found]
    record.detail("failed", {str(line["test"]): line["said"] for line in found if line["outcome"] == "failed"})
    record.detail("seconds", {str(line["test"]): line["seconds"] for line in found if float(str(line["seconds"])) > 5})
    failed = outcomes.count("failed")
    record.row("tests marked gpu: failed", failed, bar="0", met=failed == 0 and bool(found) if ended else None)
    record.row("tests marked gpu: passed", outcomes.count("passed"))
    record.row("tests marked gpu: skipped", outcomes.count("skipped"))
