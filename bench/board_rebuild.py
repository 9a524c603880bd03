"""Seconds to rebuild a board from 200 signed runs of 500 steps (generated journals); the bar is 5 s.

python bench/board_rebuild.py
"""

import os
import secrets
import sys
import tempfile
import time
from pathlib import Path

sys.path.insert(0, str(Path(__file__).resolve().parents[1] / "tests"))

from aira_bench.boards.board import build_tables
from aira_bench.boards.formats import to_json
from aira_bench.keys import KeyRing, MachineKey
from aira_bench.record.folder import list_runs
from generated_runs import manifest, write_run

RUNS, STEPS, REPEATS = 200, 500, 3


def main() -> None:
    """Generate the runs, then read them several times."""
    os.fsync = lambda descriptor: None  # of what is generated here nothing has to last
    with tempfile.TemporaryDirectory() as temporary:
        folder = Path(temporary)
        key = MachineKey(secrets.token_bytes(32))
        ring = KeyRing(key.public)
        for index in range(RUNS):
            record = manifest(f"run-{index}", seeds=(index,), steps=STEPS, agent=f"agent-{index % 10}")
            write_run(folder, record, key=key, artifacts=False)
        size_mib = sum(path.stat().st_size for path in folder.rglob("*") if path.is_file()) / 2**20
        times_s, cpu_s = [], []
        for _ in range(REPEATS):
            start_s, start_cpu_s = time.perf_counter(), time.process_time()
            to_json(build_tables(list_runs(folder), ring))
            times_s.append(time.perf_counter() - start_s)
            cpu_s.append(time.process_time() - start_cpu_s)
        print(
            f"{RUNS} runs x {STEPS} steps, {size_mib:.0f} MiB: "
            f"best {min(times_s):.2f} s of {REPEATS}, {min(cpu_s):.2f} s of CPU"
        )


if __name__ == "__main__":
    main()
