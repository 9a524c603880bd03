"""Stage 1: the tests marked `gpu` - kernels against float64, graphs against eager steps, no waiting in a step."""

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
SPARED_S = 4
"""Kept for counting what a suite that takes too long has found."""
MOST_PROCESSES = 14
"""Most of the time is Triton's compiler, on the host; each process also takes half a GiB of the device."""


def run(record: Record) -> None:
    """Run the suite and count outcomes; names and last lines of what failed go with them."""
    lines = record.path.with_name("suite.lines.json")
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
    try:
        suite.wait(max(record.limit_s - SPARED_S, 1))
    except subprocess.TimeoutExpired:
        record.errors.append("the suite did not end within the stage's limit")
    _count(record, [json.loads(line) for line in lines.read_text().splitlines()] if lines.exists() else [])


def _count(record: Record, found: list[dict[str, object]]) -> None:
    outcomes = [str(line["outcome"]) for line in found]
    record.detail("failed", {str(line["test"]): line["said"] for line in found if line["outcome"] == "failed"})
    record.detail("seconds", {str(line["test"]): line["seconds"] for line in found if float(str(line["seconds"])) > 5})
    failed = outcomes.count("failed")
    record.row("tests marked gpu: failed", failed, bar="0", met=failed == 0 and bool(found))
    record.row("tests marked gpu: passed", outcomes.count("passed"))
    record.row("tests marked gpu: skipped", outcomes.count("skipped"))
