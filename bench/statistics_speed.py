"""How long all statistics of a board take, and how much memory: 100, 400 and 1,680 generated runs.

    python bench/statistics_speed.py [--runs 100 400 1680]

The largest is the size of the paper's section 6.2.1: 12 greedy agents with 10 seeds and 8 one-shot agents with 20, on
six tasks; smaller ones have fewer seeds. Each size has a process of its own, so that its peak memory is its own.
Included: all of `suite_statistics`, and of each agent and task two levels with three trainings and the area under 200
steps.

Not covered: reading runs from disk (`bench/board_rebuild.py`).
"""

import argparse
import json
import resource
import subprocess
import sys
import time

AGENTS, TASKS = 20, 6
WHOLE = 1680


def measured(wanted: int) -> dict[str, float]:
    import numpy as np

    from aira_bench.statistics.curves import anytime_curve, curve_estimate
    from aira_bench.statistics.normalized import Scale
    from aira_bench.statistics.resampling import two_levels
    from aira_bench.statistics.runs import Run, Runs
    from aira_bench.statistics.suite import suite_statistics

    generator = np.random.default_rng(0)
    rows = [
        Run(f"agent {agent:02}", f"task {task}", seed, float(score) if score > 0.55 else None)
        for agent in range(AGENTS)
        for task in range(TASKS)
        for seed, score in enumerate(generator.normal(0.6 + agent / 200, 0.05, seeds_of(agent, wanted)))
    ]
    begun = time.perf_counter()
    runs = Runs.of(rows)
    scales = {name: Scale(0.5, 0.9, 1.0, lower_is_better=False) for name in runs.tasks}
    suite_statistics(runs, scales, generator)
    for cell in runs.cells.values():
        valid = np.nan_to_num(cell, nan=0.5)
        two_levels(list(valid[:, np.newaxis] + generator.normal(0, 0.03, (valid.size, 3))), generator)
        curves = [
            anytime_curve(generator.normal(score, 0.05, 200), np.ones(200), lower_is_better=False) for score in valid
        ]
        curve_estimate(curves, np.arange(20.0, 201, 20), 200, 0.5, generator)
    return {
        "runs": len(rows),
        "seconds": round(time.perf_counter() - begun, 2),
        "cpu_seconds": round(time.process_time(), 2),
        "peak_mib": round(resource.getrusage(resource.RUSAGE_SELF).ru_maxrss / 1024, 1),
    }


def seeds_of(agent: int, wanted: int) -> int:
    """Seeds of one agent on one task: in proportion to the paper's."""
    return max(1, round((10 if agent < 12 else 20) * wanted / WHOLE))


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--runs", type=int, nargs="+", default=[100, 400, WHOLE])
    parser.add_argument("--alone", type=int, help=argparse.SUPPRESS)
    args = parser.parse_args()
    if args.alone:
        print(json.dumps(measured(args.alone)))
        return
    for wanted in args.runs:
        command = [sys.executable, __file__, "--alone", str(wanted)]
        done = subprocess.run(command, check=True, stdout=subprocess.PIPE, text=True)
        print(done.stdout.strip(), flush=True)


if __name__ == "__main__":
    main()
