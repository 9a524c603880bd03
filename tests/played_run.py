"""The whole command line on a played machine (tests/played_host.py), as a process of its own that takes real signals.

By hand, with AIRA_HOME and AIRA_RUNS set:

    python tests/played_run.py run --agent noop --task mad-2p --profile cpu

`AIRA_PLAYED_STEP_S` is how long a solution runs, in real seconds, whatever happens; `AIRA_PLAYED_TRAINING_S` how long the
judge takes for the second and later trainings of a submission; `AIRA_PLAYED_BOOT` makes it another machine, whose
processes are not those of this one; with `AIRA_PLAYED_FAILURE` no evaluation comes to anything.
"""

import json
import os
import sys
import time
from collections.abc import Callable, Sequence
from dataclasses import replace
from pathlib import Path

sys.path.insert(0, str(Path(__file__).parent))

from aira_bench import __main__
from aira_bench.hardware import Hardware
from aira_bench.paths import host_paths
from aira_bench.remote_judging.nodes import JudgeNodes
from aira_bench.runs import connect
from aira_bench.runs.host import Host
from aira_bench.sandbox import owner
from aira_bench.tasks.transfer import Transfer
from aira_bench.testing import Call, Done
from played_host import played_host, played_sandbox, score, solve


def solve_slowly(call: Call) -> Done:
    """A solution that takes its time."""
    if call.command[-1] == "pass":
        return Done()
    ends_s = time.monotonic() + float(os.environ.get("AIRA_PLAYED_STEP_S", "0"))
    while time.monotonic() < ends_s:
        time.sleep(0.05)
    lines = call.files["solution.py"].decode().splitlines()
    return solve(call) if any(line.startswith("ARCHITECTURE") for line in lines) else Done()


def score_slowly(request: bytes) -> bytes:
    """A judge that takes its time to confirm."""
    if os.environ.get("AIRA_PLAYED_FAILURE"):
        answer = {"id": json.loads(request)["id"], "status": 1, "stdout": "", "stderr": "no", "report": None}
        return json.dumps(answer).encode()
    if json.loads(request)["training"]:
        time.sleep(float(os.environ.get("AIRA_PLAYED_TRAINING_S", "0")))
    return score(request)


def connect_host(
    runs: Path | None = None,
    runtime: str | None = None,
    note: Callable[[str], None] = lambda text: None,
    transfer: Callable[[Transfer], None] = lambda transfer: None,
    hardware: Hardware | None = None,
    *,
    containers: str | None = None,
    accepted_walls: Sequence[str] = (),
    judge_on: str | None = None,
) -> Host:
    """A machine whose containers are functions of this process; its devices are those that the driver lists."""
    sandbox = played_sandbox(agent=solve_slowly)
    sandbox.responders = {"judge": score_slowly}
    host = played_host(Path(), sandbox)
    if hardware is not None and hardware.gpus:
        host = replace(host, hardware=hardware)
    judges = None if judge_on is None else JudgeNodes.of(judge_on)
    return replace(host, paths=host_paths(runs), transfer=transfer, judges=judges)


if __name__ == "__main__":
    if boot := os.environ.get("AIRA_PLAYED_BOOT"):
        owner._place = lambda: f"{boot}/pid:[1]"
    connect.connect_host = connect_host
    __main__.main()
