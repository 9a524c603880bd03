"""How long the whole board takes, from run folders on disk, and how much memory: 100, 400 and 1,680 generated runs.

    python bench/full_board.py [--runs 100 400 1680] [--steps 100]

It times the command that users type, `aira-bench leaderboard --statistics --json`, in a process of its own. The largest
size is the paper's section 6.2.1: 12 greedy agents with 10 seeds and 8 one-shot agents with 20, on six tasks; smaller
ones have fewer seeds. Each run has a folder of its own, a greedy one --steps steps, a one-shot one a single step.
The bar is 60 s and 4 GiB for 1,680.

Not covered: the estimators alone (`bench/statistics_speed.py`).
"""

import argparse
import json
import os
import random
import subprocess
import sys
import tempfile
import time
from pathlib import Path

sys.path.insert(0, str(Path(__file__).resolve().parents[1] / "tests"))

from aira_bench.keys import KeyFolder
from aira_bench.record.normalized import Anchors
from generated_runs import manifest, write_run

GREEDY = (
    "cwm", "devstral", "gemini3pro", "gemini31pro", "gpt-oss-120b", "gpt-oss-20b", "gpt4o", "gpt5", "o3", "o3-mini",
    "opus45", "opus46",
)  # fmt: skip
ONE_SHOT = ("cwm", "devstral", "gpt-oss-120b", "gpt-oss-20b", "gpt4o", "gpt5", "o3", "o3-mini")
SOTA = {"lra-listops": 0.6379, "lra-text": 0.9053, "lra-retrieval": 0.8176}
WHOLE = 1680
VALID_SHARE = 0.4
"""Of steps; of the paper's Autoresearch steps it is 0.34 (section 6.2.2)."""


def plans(wanted: int) -> list[tuple[int, str, str, str, int]]:
    """Place of the agent, its name, scaffold, task and seed of so many runs: first seeds of all come first."""
    every = [
        (seed / seeds, place, agent, scaffold, f"{task}{suffix}", seed)
        for scaffold, agents, seeds in (("greedy", GREEDY, 10), ("one-shot", ONE_SHOT, 20))
        for place, agent in enumerate(agents)
        for task in SOTA
        for suffix in ("", "-conf")
        for seed in range(seeds)
    ]
    return [each[1:] for each in sorted(every)[:wanted]]


def generate(runs: Path, home: Path, wanted: int, steps: int) -> int:
    """Write so many runs; return how many steps they have together."""
    key, count = KeyFolder(home / "keys").machine_key(), 0
    for place, agent, scaffold, task, seed in plans(wanted):
        name, length = f"{agent}-{scaffold}-{task}-{seed}", steps if scaffold == "greedy" else 1
        best, rng = SOTA[task.removesuffix("-conf")], random.Random(name)
        record = manifest(name, seeds=(seed,), steps=length, agent=agent, trainings=0)
        plan = record.plan.model_copy(update={"profile": "paper", "scaffold": scaffold, "task": task, "hours": 24.0})
        anchors = Anchors(worst=0.1, optimum=1.0, sota={"published": best})
        record = record.model_copy(update={"plan": plan, "task_name": task, "task_title": task, "anchors": anchors})
        top = best * (0.6 + place / 60)
        scores = [
            (top * rng.random(), top * rng.random()) if rng.random() < VALID_SHARE else None for _ in range(length)
        ]
        write_run(runs, record, key=key, artifacts=False, scores={seed: scores})
        count += length
    return count


# A small process between: what a child held at most counts what its parent held when it forked.
_MEASURE = """
import json, resource, subprocess, sys
status = subprocess.call(sys.argv[1:], stdout=subprocess.DEVNULL)
used = resource.getrusage(resource.RUSAGE_CHILDREN)
print(json.dumps([status, used.ru_utime + used.ru_stime, used.ru_maxrss / 1024]))
"""


def timed(runs: Path, home: Path) -> tuple[float, float, float]:
    """Seconds of the clock and of the processor, and peak MiB, of the whole command."""
    command = [sys.executable, "-m", "aira_bench", "leaderboard", "--statistics", "--json", "--runs", str(runs)]
    begun = time.perf_counter()
    measured = subprocess.run(
        [sys.executable, "-c", _MEASURE, *command], stdout=subprocess.PIPE, check=True,
        env={**os.environ, "AIRA_HOME": str(home)},
    )  # fmt: skip
    status, cpu_s, peak_mib = json.loads(measured.stdout)
    if status:
        raise SystemExit(f"the command ended with status {status}")
    return time.perf_counter() - begun, cpu_s, peak_mib


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--runs", type=int, nargs="+", default=[100, 400, WHOLE])
    parser.add_argument("--steps", type=int, default=100)
    args = parser.parse_args()
    os.fsync = lambda fd: None  # of what is generated here nothing has to last
    print("| runs | steps | seconds | CPU seconds | peak MiB | milliseconds a run |\n|---|---|---|---|---|---|")
    for wanted in args.runs:
        with tempfile.TemporaryDirectory() as temporary:
            runs, home = Path(temporary) / "runs", Path(temporary) / "home"
            steps = generate(runs, home, wanted, args.steps)
            wall_s, cpu_s, peak_mib = timed(runs, home)
            shown = f"{wall_s:.1f} | {cpu_s:.1f} | {peak_mib:.0f} | {1000 * wall_s / wanted:.1f}"
            print(f"| {wanted} | {steps} | {shown} |", flush=True)


if __name__ == "__main__":
    main()
