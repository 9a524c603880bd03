"""The whole command line on a played machine with eight fake GPUs, as a process of its own that can be killed.

Each container that has a GPU writes into the file `AIRA_PLAYED_LOG` when it began and ended, on which GPU and cores.
`AIRA_PLAYED_TRAINING_S` is how long a training runs, in real seconds.
"""

import itertools
import json
import os
import sys
import time
from collections.abc import Callable, Sequence
from dataclasses import replace
from pathlib import Path

sys.path.insert(0, str(Path(__file__).parent))

from aira_bench import __main__, hardware
from aira_bench.gpus import Gpus
from aira_bench.hardware import Hardware
from aira_bench.paths import host_paths
from aira_bench.runs import connect, host
from aira_bench.runs.host import Host
from aira_bench.sandbox.sandbox import ContainerSpec
from aira_bench.tasks.transfer import Transfer
from aira_bench.testing import Call, Done
from aira_contract.files import COMPANION_FILES, HANDOVER_FILE, REPORT_FILE, TRAINING_BEGAN_FILE
from aira_contract.reports import RESULT_MARKER
from fake_gpus import h100
from played_host import ProbedSandbox, played_host, played_sandbox, probe
from played_host import prepare as prepare_plainly

CORES, GPUS = tuple(range(16)), tuple(h100(number) for number in range(8))
HARDWARE = Hardware("test", 16, 1024, GPUS, Gpus("seen", GPUS, every=tuple(gpu.uuid for gpu in GPUS)))
_numbers = itertools.count()


def note(spec: ContainerSpec, word: str) -> None:
    """Write down what a container with a GPU does."""
    if spec.limits.gpu_uuid is not None:
        cores = ["core-" + str(core) for core in spec.limits.cpus or ()]
        line = {"of": spec.run_id, "role": spec.role, "word": word, "at": time.monotonic(), "pid": os.getpid(),
                "has": [spec.limits.gpu_uuid, *cores]}  # fmt: skip
        with Path(os.environ["AIRA_PLAYED_LOG"]).open("a") as log:
            log.write(json.dumps(line) + "\n")


def noted(program: Callable[[Call], Done], seconds: float = 0.0) -> Callable[[Call], Done]:
    """A program that writes down when it runs."""

    def run(call: Call) -> Done:
        note(call.spec, "began")
        time.sleep(seconds)
        done = program(call)
        note(call.spec, "ended")
        return done

    return run


def prepare(call: Call) -> Done:
    """Both scripts write a file, and what lies beside a script."""
    output = next(mount.source for mount in call.spec.mounts if mount.writable)
    for name in COMPANION_FILES:
        (output / name).write_text("")
    return prepare_plainly(call)


def judge(call: Call) -> Done:
    """Whatever was trained scores alike."""
    report = {"schema": 1, "canonical": None, "validation": 1.0, "test": 1.0, "evaluator_version": "1",
              "seed_set": "search", "seconds": 1.0}  # fmt: skip
    printed = f"{RESULT_MARKER}\n{json.dumps({'BPB': 1.0})}\n"
    return Done({REPORT_FILE: json.dumps(report).encode()}, stdout=printed.encode())


def machine() -> ProbedSandbox:
    """An engine on which scripts are trained, served and judged."""
    training_s = float(os.environ.get("AIRA_PLAYED_TRAINING_S", "0.3"))
    return played_sandbox(
        prepare=noted(prepare),
        probe=noted(probe),
        agent=noted(lambda call: Done({"train.py": b"# %d" % next(_numbers)})),
        fit=noted(lambda call: Done({HANDOVER_FILE: b"model", TRAINING_BEGAN_FILE: b""}), training_s),
        predict=noted(lambda call: Done()),
        judge=judge,
    )


def connect_host(
    runs: Path | None = None,
    runtime: str | None = None,
    note: Callable[[str], None] = lambda text: None,
    transfer: Callable[[Transfer], None] = lambda transfer: None,
    found: Hardware | None = None,
    *,
    containers: str | None = None,
    accepted_walls: Sequence[str] = (),
    judge_on: str | None = None,
) -> Host:
    """A machine with eight GPUs and sixteen cores, whose containers are functions of this process."""
    played = played_host(Path(), machine())
    return replace(played, paths=host_paths(runs), transfer=transfer, hardware=HARDWARE)


if __name__ == "__main__":
    hardware.this_machine = lambda **_: HARDWARE
    host.usable_cores = hardware.usable_cores = lambda: CORES
    connect.connect_host = connect_host
    __main__.main()
