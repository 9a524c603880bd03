"""Share of the time one slot is busy while eight seeds wait for a scripted model; the bar is 0.95.

The model takes 20 to 60 s an answer, scaled down twenty times; a solution runs three seconds. Next to it, the same
seeds one after the other. Real containers, through the command line.

    python bench/slot_busy.py
"""

import os
import subprocess
import sys
import tempfile
from datetime import datetime
from pathlib import Path

from aira_bench.record.folder import RunFolder
from aira_bench.record.journal import StepEnded, StepStarted

SEEDS, STEPS, STEP_S = 8, 5, 3.0
# The solution leaves nothing to judge, so a slot's work is the solution alone.
MODEL = f"""
import random, time
def answer(request):
    draw = random.Random(request.digest())
    if request.schema:
        return '{{"is_bug": true, "summary": "", "metric": null}}'
    time.sleep(draw.uniform(1.0, 3.0))
    return "```python\\nimport time\\ntime.sleep({STEP_S})\\nraise SystemExit(%d)\\n```" % draw.randint(1, 99)
"""


def play(folder: Path, name: str, seeds: str) -> tuple[float, float]:
    """Run seeds on one slot; return seconds of work and of wall clock."""
    runs = folder / "runs"
    model = f"script:{folder / 'model.py'}"
    command = [sys.executable, "-m", "aira_bench", "run", "--agent", model, "--task", "mad-2p", "--profile", "cpu"]
    command += ["--scaffold", "greedy", "--seeds", seeds, "--steps", str(STEPS), "--concurrency", "1"]
    command += ["--name", name, "--json"]
    subprocess.run(command, check=True, capture_output=True, env={**os.environ, "AIRA_RUNS": str(runs)})
    run = RunFolder(runs / name)
    work_s, moments = 0.0, []
    for seed in run.manifest.plan.seeds:
        folder = run.seed(seed)
        times = [event.at for event in folder.events if isinstance(event, StepStarted | StepEnded)]
        moments += map(datetime.fromisoformat, times)
        work_s += STEP_S * len(folder.nodes)
    return work_s, (max(moments) - min(moments)).total_seconds()


def main() -> None:
    """All seeds at once, then one after the other."""
    with tempfile.TemporaryDirectory() as temporary:
        folder = Path(temporary)
        (folder / "model.py").write_text(MODEL)
        work_s, wall_s = play(folder, "together", str(SEEDS))
        alone_s = sum(play(folder, f"alone-{seed}", f"{seed},")[1] for seed in range(SEEDS))
        print(
            f"{SEEDS} seeds x {STEPS} steps of {STEP_S:.0f} s on one slot: {wall_s:.1f} s, busy {work_s / wall_s:.3f}"
        )
        print(f"seed after seed: {alone_s:.1f} s, busy {work_s / alone_s:.3f}")


if __name__ == "__main__":
    main()
