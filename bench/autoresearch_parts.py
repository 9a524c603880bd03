"""What each part of the Autoresearch baseline is worth: the same training with a part undone, or all.

    OMP_NUM_THREADS=1 python bench/autoresearch_parts.py --public PUBLIC --seeds 5 --steps 0 --only nothing,all
    OMP_NUM_THREADS=1 python bench/autoresearch_parts.py --public PUBLIC --seeds 3 --steps 120

PUBLIC is the public half of a prepared cpu profile (`<AIRA_HOME>/tasks/<task>/cpu-<hash>/public`). With `--steps 0`
each training has the profile's budget, counted in seconds of the main thread, so that neighbours on its core make it
longer and no worse. With a number of steps it has those, whatever they take: then a part's cost in time counts for
nothing. BPB is that of the public validation rows, by plain cross-entropy.
"""

import argparse
import os
import re
import shutil
import statistics
import subprocess
import sys
import tempfile
from collections.abc import Mapping
from pathlib import Path

from aira_contract.files import COMPANION_FILES, SCRIPT_FILE
from aira_contract.settings import TRAINING_SEED_VARIABLE

Edits = tuple[tuple[str, str], ...]
_OPTIMIZER: Mapping[str, Edits] = {
    "Polar Express": (
        ("POLAR_EXPRESS[min(step, len(POLAR_EXPRESS) - 1)]", "(3.4445, -4.7750, 2.0315)"),
        ("1.02 * x.norm(dim=(-2, -1), keepdim=True) + 1e-6", "x.norm(dim=(-2, -1), keepdim=True) + 1e-7"),
    ),
    "second moment": (('            update = evened(update, group["second"], group["beta2"])\n', ""),),
    "cautious scaled decay": (
        (
            'lr * (update + group["weight_decay"] * weights * shrinks)',
            'lr * update + group["lr"] * group["weight_decay"] * weights',
        ),
    ),
    "warm-up of momentum": (("MUON_MOMENTUM_START = 0.85", "MUON_MOMENTUM_START = 0.95"),),
}
_MODEL: Mapping[str, Edits] = {
    "residual mixing": (
        ("SCALAR_LR = 0.5", "SCALAR_LR = 0.0"),
        ("torch.full((config.n_layer,), 0.1)", "torch.zeros(config.n_layer)"),
    ),
    "gate over 32 features": (("min(GATE_CHANNELS, config.n_embd)", "config.n_embd"),),
    "bfloat16 tables": (("table.bfloat16()", "table.float()"),),
}
PARTS: Mapping[str, Edits] = {
    "nothing": (),
    **_OPTIMIZER,
    "optimizer": tuple(edit for edits in _OPTIMIZER.values() for edit in edits),
    **_MODEL,
    "all": tuple(edit for edits in (*_OPTIMIZER.values(), *_MODEL.values()) for edit in edits),
}
"""What is undone by which edits of the script. With `all` it is the baseline of before, evaluator 3."""


def edited(script: str, edits: Edits) -> str:
    """Return the script with each text, which must stand in it once, replaced."""
    for old, new in edits:
        if script.count(old) != 1:
            raise ValueError(f"the script holds {old!r} {script.count(old)} times, expected once")
        script = script.replace(old, new)
    return script


def trained(public: Path, script: str, seed: int, steps: int) -> tuple[float, int]:
    """Train once; return the BPB of the public validation rows and the number of steps."""
    edits: list[tuple[str, str]] = []
    if steps:
        edits.append(("training_seconds += time.perf_counter() - began", f"training_seconds += TIME_BUDGET / {steps}"))
    script = "import time\n\ntime.perf_counter = time.thread_time\n" + edited(script, tuple(edits))
    with tempfile.TemporaryDirectory() as name:
        folder = Path(name)
        for companion in COMPANION_FILES:
            shutil.copyfile(public / companion, folder / companion)
        (folder / SCRIPT_FILE).write_text(script, encoding="utf-8")
        ended = subprocess.run(
            [sys.executable, SCRIPT_FILE], cwd=folder, capture_output=True, text=True, check=False,
            env={**os.environ, "AIRA_DATA": str(public.resolve()), TRAINING_SEED_VARIABLE: str(seed)},
        )  # fmt: skip
    if ended.returncode:
        raise RuntimeError(f"the training ended with {ended.returncode}: {ended.stderr.strip()[-500:]}")
    found = dict(re.findall(r"^(val_bpb|num_steps): +([\d.]+)$", ended.stdout, re.MULTILINE))
    return float(found["val_bpb"]), int(found["num_steps"])


def main() -> None:
    """Train and print one line a part: mean, deviation, difference on the same seeds."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--public", type=Path, required=True)
    parser.add_argument("--seeds", type=int, default=3)
    parser.add_argument("--first-seed", type=int, default=42)
    parser.add_argument("--steps", type=int, default=120, help="0: the profile's budget")
    parser.add_argument("--only", default=",".join(PARTS), help="parts, separated by commas")
    chosen = parser.parse_args()
    script = (chosen.public / SCRIPT_FILE).read_text(encoding="utf-8")
    whole: list[float] = []
    print(f"{'undone':<24} {'BPB':>7} {'sd':>7} {'worse by':>9} {'sd':>7} {'n':>3} {'steps':>6}", flush=True)
    for part in chosen.only.split(","):
        runs = [
            trained(chosen.public, edited(script, PARTS[part]), chosen.first_seed + number, chosen.steps)
            for number in range(chosen.seeds)
        ]
        scores = [bpb for bpb, _ in runs]
        whole = whole or scores
        worse = [one - other for one, other in zip(scores, whole, strict=True)]
        spread, spread_worse = (statistics.stdev(some) if len(runs) > 1 else 0.0 for some in (scores, worse))
        print(
            f"{part:<24} {statistics.fmean(scores):7.4f} {spread:7.4f} {statistics.fmean(worse):+9.4f} "
            f"{spread_worse:7.4f} {len(runs):3d} {statistics.fmean(steps for _, steps in runs):6.1f}",
            flush=True,
        )


if __name__ == "__main__":
    main()
