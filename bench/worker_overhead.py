"""What a worker costs beside the work itself, on a played machine, and what looking at many shared seeds costs.

    python bench/worker_overhead.py            # both
    python bench/worker_overhead.py --seeds 1680 --only status

Overhead a seed: a worker takes and ends seeds of one played step each, one after the other, in a
process of its own; the same run in one process is beside it. Status and boards: that many ended seeds in runs of ten,
with four steps each and leases that are over, on this machine's disk.

Not covered: real containers, and file systems of other machines.
"""

import argparse
import os
import subprocess
import sys
import tempfile
import time
from dataclasses import replace
from pathlib import Path

sys.path.insert(0, str(Path(__file__).parents[1] / "tests"))

from aira_bench.keys import KeyFolder
from aira_bench.leasing.entries import lease_store
from aira_bench.leasing.lease import Lessee, Won
from aira_bench.leasing.terms import Terms, open_leases
from aira_bench.paths import HostPaths
from aira_bench.runs.launch import open_for_workers, start
from aira_bench.runs.resolve import resolve
from aira_bench.world import SystemWorld
from generated_runs import manifest, write_run
from played_host import played_host, played_sandbox, request

PLAYED = Path(__file__).parents[1] / "tests" / "played_run.py"
RUN_SEEDS = 10


def environment(root: Path) -> dict[str, str]:
    """Variables of a command that works below `root`."""
    kept = {name: value for name, value in os.environ.items() if not name.startswith("AIRA_")}
    return kept | {
        "AIRA_HOME": str(root / "home"), "AIRA_RUNS": str(root / "runs"), "AIRA_LEASES": str(root / "cores")
    }  # fmt: skip


def overhead(root: Path, seeds: int) -> None:
    """Print what a seed costs a worker, beside one process that has the whole run."""
    os.environ.update({"AIRA_LEASES": str(root / "cores"), "AIRA_HOME": str(root / "home")})
    host = replace(played_host(root, played_sandbox()), paths=HostPaths(root / "home", root / "runs"))
    wishes: dict[str, object] = {"agent": "random", "steps": 1, "concurrency": 1}
    for count in (1, seeds):
        shared = open_for_workers(
            host, resolve(request(f"shared-{count}", **wishes, seeds=tuple(range(count))), host.paths, host.world),
            Terms(), lambda text: None,
        )  # fmt: skip
        began_s = time.monotonic()
        command = [sys.executable, str(PLAYED), "worker", str(shared.path), "--slots", "1"]
        done = subprocess.run(command, env=environment(root), capture_output=True, text=True, check=False)
        assert done.returncode == 0, done.stderr
        took_s = time.monotonic() - began_s
        print(f"worker, {count} seeds: {took_s:.2f} s, {took_s / count:.3f} s a seed with its start")
    alone = resolve(request("alone", **wishes, seeds=tuple(range(seeds))), host.paths, host.world)
    began_s = time.monotonic()
    start(host, alone, lambda text: None, lambda progress: None)
    took_s = time.monotonic() - began_s
    print(f"one process, {seeds} seeds: {took_s:.2f} s, {took_s / seeds:.3f} s a seed without its start")


def checks(root: Path, count: int = 2000) -> None:
    """Print what a lease costs a line of a journal."""
    open_leases(lease_store(root / "run"), Terms())
    won = Lessee(SystemWorld()).take(root / "run", 0, Terms())
    assert isinstance(won, Won)
    began_s = time.monotonic()
    for _ in range(count):
        won.lease.check()
    print(f"asking about a lease: {(time.monotonic() - began_s) / count * 1e6:.0f} us, twice a line")


def looking(root: Path, seeds: int) -> None:
    """Print how long `status` and `leaderboard` take over so many shared seeds."""
    keys, world = KeyFolder(root / "home" / "keys"), SystemWorld()
    for number in range(seeds // RUN_SEEDS):
        record = manifest(f"run-{number:04d}", seeds=tuple(range(RUN_SEEDS)), steps=4)
        folder = write_run(root / "runs", record, key=keys.machine_key(), seen=keys.seen)
        open_leases(lease_store(folder.path), Terms())
        lessee = Lessee(world)
        for seed in range(RUN_SEEDS):
            won = lessee.take(folder.path, seed, Terms())
            assert isinstance(won, Won)
            won.lease.end("over", fork=1, alone=True)
    for command in (["status"], ["leaderboard"]):
        for _ in range(2):
            began_s, before = time.monotonic(), os.times()
            subprocess.run(
                [sys.executable, "-m", "aira_bench", *command], env=environment(root), capture_output=True, check=True,
                cwd=root,
            )  # fmt: skip
            after = os.times()
            cpu_s = after.children_user + after.children_system - before.children_user - before.children_system
            print(f"{command[0]} over {seeds} seeds: {time.monotonic() - began_s:.2f} s, {cpu_s:.2f} s of processor")


def main() -> None:
    """Measure what was asked for."""
    parser = argparse.ArgumentParser(description="Overhead of workers.")
    parser.add_argument("--seeds", type=int, default=1680)
    parser.add_argument("--only", choices=("overhead", "status"))
    args = parser.parse_args()
    print(f"load {os.getloadavg()[0]:.1f}, {os.cpu_count()} cores")
    with tempfile.TemporaryDirectory() as name:
        root = Path(name)
        if args.only != "status":
            overhead(root, 20)
            checks(root)
        if args.only != "overhead":
            looking(root / "many", args.seeds)


if __name__ == "__main__":
    main()
