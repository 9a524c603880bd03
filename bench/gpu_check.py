"""Ten minutes on a GPU: what is right there, how fast it is, and what is not, in stages by worth.

    make gpu-check PYTHON=python3                                   # all stages, ten minutes; results in gpu-check/
    python bench/gpu_check.py --out FOLDER --toy                    # at toy sizes on a CPU: does it run at all?
    python bench/gpu_check.py --out FOLDER --stages mad operations --limit 300
    python bench/gpu_check.py --out FOLDER --table                  # the table of a run that was cut off

Needs a Python with torch, triton, jax, flax, pytest and hypothesis as they are there: no installation of this project,
no Docker, no network. Every stage is a process of its own with its own time limit, writes FOLDER/STAGE.json after each
figure, and may be killed at any time, alone or with all the others: what it started ends with it. FOLDER/table.md is
written anew after every stage. The device's settings are left alone.

Exit statuses: 0 all stages had their turn, whatever they found; 2 no device; 128 and the signal's number when stopped.
"""

import argparse
import contextlib
import importlib
import os
import signal
import subprocess
import sys
import threading
import time
from pathlib import Path
from types import FrameType

BENCH = Path(__file__).resolve().parent
ROOT = BENCH.parent
SOURCES = (ROOT / "harness", ROOT / "evaluator", ROOT / "kernels", ROOT / "tests", BENCH)
sys.path.insert(0, str(BENCH))  # for whoever loads this file by its path

from gpu_stages.files import MACHINE, TABLE, table, write_json, write_whole  # noqa: E402
from gpu_stages.machine import gpu_state, machine  # noqa: E402

STAGES = {
    "suite": 120.0,
    "mad": 140.0,
    "together": 60.0,
    "autoresearch": 170.0,
    "listops": 110.0,
    "operations": 60.0,
    "full_size": 60.0,
    "details": 150.0,
    "containers": 240.0,
}
"""By worth, each with its limit in seconds. The limits of the first five are ten minutes together; stages seldom need
theirs, and what one leaves goes to the next ones."""
ENDINGS = (".json", ".end.json", ".outcomes.json", ".log")
"""Of the files that stages write."""
TOY_PATIENCE = 5
"""Toys may take this much longer: a machine that tests other things beside is slow, and nothing is measured."""
UNASKED_TOYS = ("containers",)
"""Left out of the dry form unless named: it takes Docker and images, and tests of those run one after the other."""
NO_DEVICE = "torch.cuda sees no device here ({python}); --toy runs all stages at toy sizes on a CPU"
STOPPING = (signal.SIGTERM, signal.SIGINT, signal.SIGHUP)
"""SIGHUP is what a lost connection sends."""


class Stopped(Exception):
    """The check was asked to stop; its argument is the signal."""


def main() -> int:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--out", type=Path, required=True, help="folder for what is found")
    parser.add_argument("--toy", action="store_true", help="toy sizes, for a machine without a GPU")
    parser.add_argument("--stages", nargs="+", choices=list(STAGES), help="which, and in which order (default: all)")
    parser.add_argument("--limit", type=float, default=600.0, help="seconds in all")
    parser.add_argument("--table", action="store_true", help="only write the table of what is in the folder")
    parser.add_argument("--stage", choices=list(STAGES), help=argparse.SUPPRESS)
    parser.add_argument("--lifeline", type=int, help=argparse.SUPPRESS)
    options = parser.parse_args()
    options.out.mkdir(parents=True, exist_ok=True)
    if options.stage is not None:
        return one_stage(options.stage, options.out, options.limit, options.lifeline, toy=options.toy)
    status = 0
    if not options.table:
        if not options.toy and not sees_a_device():
            print(NO_DEVICE.format(python=sys.executable), file=sys.stderr)
            return 2
        default = [stage for stage in STAGES if not (options.toy and stage in UNASKED_TOYS)]
        try:
            run_stages(options.stages or default, options.out, options.limit, toy=options.toy)
        except Stopped as stopped:
            status = 128 + int(stopped.args[0])
    text = table(options.out, STAGES)
    write_whole(options.out / TABLE, text)
    say(text)
    return status


def say(text: str) -> None:
    """Print, and go on where nobody listens any more: a connection that is lost must not cost the check."""
    try:
        print(text, flush=True)
    except OSError:
        os.dup2(os.open(os.devnull, os.O_WRONLY), sys.stdout.fileno())


def sees_a_device() -> bool:
    """Whether this Python's torch finds a CUDA device."""
    program = "import torch, sys; sys.exit(not torch.cuda.is_available())"
    return subprocess.run([sys.executable, "-c", program], check=False).returncode == 0


def run_stages(stages: list[str], out: Path, limit_s: float, *, toy: bool) -> None:
    """Run each stage in what is left of the time, and write the table after each.

    Raises:
        Stopped: a signal came; the stage it met is ended and noted.
    """
    for kind in STOPPING:
        signal.signal(kind, _stop)
    for name in (MACHINE, TABLE, *(f"{stage}{ending}" for stage in STAGES for ending in ENDINGS)):
        for file in [out / name, *out.glob(f".{name}.*")]:  # whole ones, and what a killed check had begun
            file.unlink(missing_ok=True)
    write_json(out / MACHINE, machine())
    end_s = time.monotonic() + limit_s
    for stage in stages:
        left_s = end_s - time.monotonic()
        if left_s < 1:
            write_json(out / f"{stage}.end.json", {"ended": "before it began: no time was left", "seconds": 0})
        else:
            run_stage(stage, out, min(STAGES[stage] * (TOY_PATIENCE if toy else 1), left_s), toy=toy)
        write_whole(out / TABLE, table(out, STAGES))


def _stop(number: int, _frame: FrameType | None) -> None:
    for kind in STOPPING:
        signal.signal(kind, signal.SIG_IGN)  # what is left takes no second
    raise Stopped(number)


def run_stage(stage: str, out: Path, limit_s: float, *, toy: bool) -> None:
    """Run a stage in a process of its own and note how it ended."""
    reading, writing = os.pipe()
    command = [sys.executable, str(Path(__file__).resolve()), "--out", str(out), "--stage", stage]
    command += ["--limit", str(limit_s), "--lifeline", str(reading), *(["--toy"] if toy else [])]
    paths = os.pathsep.join([*map(str, SOURCES), os.environ.get("PYTHONPATH", "")])
    environment = os.environ | {"PYTHONPATH": paths, "PYTHONUNBUFFERED": "1"}
    if toy:
        environment["OMP_NUM_THREADS"] = "1"
        # Toys run a few steps: what the compiler makes better takes a third of their stage.
        environment["XLA_FLAGS"] = f"{environment.get('XLA_FLAGS', '')} --xla_backend_optimization_level=0"
    started_s, ended, child = time.monotonic(), "stopped", None
    try:
        with (out / f"{stage}.log").open("w") as log:
            child = subprocess.Popen(
                command, stdout=log, stderr=subprocess.STDOUT, env=environment, start_new_session=True,
                pass_fds=(reading,),
            )  # fmt: skip
        status = child.wait(limit_s)
        ended = "by itself" if status in (0, 1) else f"with status {status}"
    except subprocess.TimeoutExpired:
        ended = f"killed at its limit of {limit_s:.0f} s"
    finally:
        if child is not None:
            kill_session(child)
        os.close(reading)
        os.close(writing)
        seconds = round(time.monotonic() - started_s, 1)
        write_json(out / f"{stage}.end.json", {"ended": ended, "seconds": seconds, "gpu": gpu_state()})
        say(f"{stage}: {ended} after {seconds} s")


def kill_session(child: "subprocess.Popen[bytes]") -> None:
    """End a stage and whatever it started."""
    with contextlib.suppress(ProcessLookupError):
        os.killpg(child.pid, signal.SIGKILL)
    child.wait()


def one_stage(stage: str, out: Path, limit_s: float, lifeline: int | None, *, toy: bool) -> int:
    """Run a stage in this process."""
    if lifeline is not None:
        threading.Thread(target=_die_with_the_check, args=(lifeline,), daemon=True).start()
    sys.path[:0] = [str(place) for place in SOURCES]
    from gpu_stages.record import Record

    record = Record(out / f"{stage}.json", toy, limit_s)
    record.attempt(stage, lambda: importlib.import_module(f"gpu_stages.{stage}").run(record))
    return 1 if record.errors else 0


def _die_with_the_check(lifeline: int) -> None:
    """Wait for the other end of the pipe to close, which a killed check cannot avoid, and end this session.

    A device that goes on working for nobody would be busy for whoever comes next.
    """
    os.read(lifeline, 1)
    os.killpg(os.getpgrp(), signal.SIGKILL)


if __name__ == "__main__":
    sys.exit(main())
