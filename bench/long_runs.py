"""What many seeds and many steps cost the harness itself: memory, descriptors, and whether the time of a step grows.

    python bench/long_runs.py            64 seeds in 64 slots; 2,000 steps of one seed, with and without submissions

The command line is the real one, in a process of its own; containers are functions (`aira_bench.testing`), so all time
is the harness's. Prints a line a run, and exits with status 1 where a bound is broken.

Not covered: the engine's side (`make faults` and docs/reliability.md have runs in real containers).
"""

import argparse
import json
import os
import resource
import statistics
import subprocess
import sys
import tempfile
import threading
import time
from dataclasses import dataclass
from itertools import pairwise
from pathlib import Path
from typing import TYPE_CHECKING

ROOT = Path(__file__).resolve().parents[1]
sys.path.insert(0, str(ROOT / "tests"))
if TYPE_CHECKING:
    from aira_bench.sandbox.sandbox import Role
    from aira_bench.testing.memory_sandbox import EngineCall
MOST_MIB, MOST_DESCRIPTORS, MOST_GROWTH = 100.0, 1024, 1.5
SEARCH = ("run", "--task", "mad-2p", "--profile", "cpu", "--json", "--no-score-cache")


@dataclass(frozen=True)
class Load:
    """A run and what it must keep within."""

    name: str
    arguments: tuple[str, ...]
    bounded: bool = False
    """Whether memory and descriptors have bounds."""
    grows: bool = False
    """Whether the time of a step is looked at."""


_MANY = ("--seeds", "64", "--steps", "4", "--concurrency", "64")
_LONG = ("--steps", "2000")
LOADS = (
    Load("64 seeds, agent that does nothing", ("--agent", "noop", "--scaffold", "greedy", *_MANY), bounded=True),
    Load("64 seeds, each step submits", ("--agent", "random", *_MANY), bounded=True),
    Load("2,000 steps, agent that does nothing", ("--agent", "noop", "--scaffold", "greedy", *_LONG), grows=True),
    Load("2,000 steps, each submits", ("--agent", "evolution", *_LONG), grows=True),
    Load("2,000 steps, tree search", ("--agent", "random", "--scaffold", "mcts", *_LONG), grows=True),
)


def run_here(arguments: list[str]) -> int:
    """Be the command line on a played machine; say on the last line of stderr what it took.

    Of time that of the processor is taken, from one step's program to the next one's: it does not depend on neighbours.
    """
    from aira_bench.cli.main import run_command_line
    from faults.command import play_machine
    from faults.engine_faults import faulty_sandbox
    from faults.injector import Injector

    sandbox = faulty_sandbox(None, Injector(Path.cwd()))
    seen, cpu_s = sandbox.before, list[float]()

    def before(call: "EngineCall", role: "Role | None") -> None:
        seen(call, role)
        if (call, role) == ("run", "agent"):
            cpu_s.append(time.process_time())

    sandbox.before = before
    play_machine(sandbox)
    most, done = 0, threading.Event()

    def look() -> None:
        nonlocal most
        while not done.wait(0.01):
            most = max(most, len(os.listdir("/proc/self/fd")))  # noqa: PTH208

    threading.Thread(target=look, daemon=True).start()
    status = run_command_line(arguments)
    done.set()
    rss_mib = resource.getrusage(resource.RUSAGE_SELF).ru_maxrss / 1024
    took = {"rss_mib": rss_mib, "descriptors": most, "cpu_s": [after - before for before, after in pairwise(cpu_s)]}
    print(json.dumps(took), file=sys.stderr, flush=True)
    return status


def measure(load: Load) -> bool:
    """Do a run, print what it took, and return whether it kept within its bounds."""
    with tempfile.TemporaryDirectory(prefix="aira-long-") as name:
        folder = Path(name)
        own = {"AIRA_HOME": "home", "AIRA_RUNS": "runs", "AIRA_LEASES": "leases"}  # other runs' leases are waited for
        environment = os.environ | {variable: str(folder / place) for variable, place in own.items()}
        command = [sys.executable, __file__, "--here", *SEARCH, "--name", "run", *load.arguments]
        started_s = time.perf_counter()
        done = subprocess.run(command, capture_output=True, text=True, env=environment, cwd=folder, check=False)
        took_s = time.perf_counter() - started_s
        if done.returncode != 0:
            print(f"{load.name}: exit status {done.returncode}: {done.stderr[-2000:]}")
            return False
        took = json.loads(done.stderr.splitlines()[-1])
        said = f"{load.name}: {took_s:.1f} s, {took['rss_mib']:.0f} MiB, {took['descriptors']} descriptors"
        kept = not load.bounded or (took["rss_mib"] < MOST_MIB and took["descriptors"] < MOST_DESCRIPTORS)
        if load.grows:
            quarter = len(took["cpu_s"]) // 4
            parts = [took["cpu_s"][at * quarter : (at + 1) * quarter] for at in range(4)]
            medians = [statistics.median(part) * 1e3 for part in parts]
            said += (
                f", processor time of a step by quarter: {', '.join(f'{each:.2f}' for each in medians)} ms (medians)"
            )
            kept = kept and medians[3] < MOST_GROWTH * medians[0]
    print(f"{said}: {'kept' if kept else 'BROKEN'}", flush=True)
    return kept


def main() -> int:
    """Measure every load; the exit status."""
    if sys.argv[1:2] == ["--here"]:
        return run_here(sys.argv[2:])
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--only", default="", help="loads whose name contains this text")
    only = parser.parse_args().only
    return 0 if all([measure(load) for load in LOADS if only in load.name]) else 1


if __name__ == "__main__":
    sys.exit(main())
