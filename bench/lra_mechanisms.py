"""Accuracy and cost of every shipped module on every data set, each traced, trained and scored by the judge's code.

    XLA_FLAGS="--xla_cpu_multi_thread_eigen=false" OMP_NUM_THREADS=1 \\
        python bench/lra_mechanisms.py --results mechanisms.jsonl [--tasks listops text] [--modules transformer] \
        [--controls]

Trained on the public train split and scored on the public validation split, one seed each; Text and Retrieval are the
synthetic stand-ins. Seconds are the process's own and hold the whole evaluation: tracing, compilation, training and
controls. `--controls` adds the two control trainings of `aira-bench confirm`. Every cell is a line of the results;
cells that are there already are not made again, so that a run that was interrupted goes on. Ends with a table in
Markdown.

Not covered: seeds other than `--seed`, and the paper's profile, which needs a GPU.
"""

import argparse
import json
import os
import sys
import time
from pathlib import Path
from tempfile import TemporaryDirectory
from typing import Any, get_args

from aira_evaluator.lra.agent.baselines.compose import compose
from aira_evaluator.lra.agent.baselines.genome import PRESETS
from aira_evaluator.lra.contract.bundle import Bundle
from aira_evaluator.lra.contract.profiles import PROFILES, LraProfile
from aira_evaluator.lra.contract.submission import CONTRACTS, TaskName
from aira_evaluator.lra.fit.tracing import TraceRequest, load_module_class, trace
from aira_evaluator.lra.prepare.build import PUBLIC_TRAIN_SEED, PUBLIC_VALIDATION_SEED, listops_public, synthetic_pool
from aira_evaluator.lra.training.limits import JudgeLimits
from aira_evaluator.lra.training.module_score import Splits, score_module

PROFILE = "cpu"
TASKS: tuple[TaskName, ...] = get_args(TaskName)
Cell = dict[str, Any]


def main() -> None:
    """Make the cells that are missing and print all."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--results", type=Path, required=True, help="a line of JSON for every cell; appended to")
    parser.add_argument("--tasks", nargs="+", choices=TASKS, default=list(TASKS))
    parser.add_argument("--modules", nargs="+", choices=tuple(PRESETS), default=list(PRESETS))
    parser.add_argument("--seed", type=int, default=0)
    parser.add_argument("--controls", action="store_true", help="train on the control tasks as well")
    options = parser.parse_args()
    options.results.touch()
    cells = [json.loads(line) for line in options.results.read_text().splitlines()]
    made = {(cell["task"], cell["module"], cell["seed"]) for cell in cells}
    for task in options.tasks:
        missing = [name for name in options.modules if (task, name, options.seed) not in made]
        splits = public_splits(PROFILES[PROFILE, task]) if missing else None
        for name in missing:
            assert splits is not None
            cells.append(
                {
                    "task": task,
                    "module": name,
                    "seed": options.seed,
                    **measured(task, name, splits, options.seed, controls=options.controls),
                }
            )
            with options.results.open("a") as file:
                file.write(json.dumps(cells[-1]) + "\n")
            print(json.dumps(cells[-1]), file=sys.stderr, flush=True)
    print(table([cell for cell in cells if cell["seed"] == options.seed]))


def public_splits(profile: LraProfile) -> Splits:
    """Train, and the validation split in place of both hidden ones."""
    if profile.task == "listops":
        made = listops_public(profile, workers=1, seen=set())
        train, validation = made["train"].split, made["validation"].split
    else:
        assert profile.sizes.train is not None
        with TemporaryDirectory() as scratch:
            sizes = ((profile.sizes.train, PUBLIC_TRAIN_SEED), (profile.sizes.validation, PUBLIC_VALIDATION_SEED))
            train, validation = (synthetic_pool(profile, count, seed, Path(scratch)) for count, seed in sizes)
    return Splits(train, validation, validation)


def measured(task: TaskName, name: str, splits: Splits, seed: int, *, controls: bool) -> Cell:
    """One evaluation of a shipped module."""
    started_s = time.process_time()
    profile, contract = PROFILES[PROFILE, task], CONTRACTS[task]
    with TemporaryDirectory() as folder:
        path = Path(folder) / "model.py"
        path.write_text(compose(PRESETS[name], contract, profile, configurable=False))
        module_class = load_module_class(path, contract.class_name)
    request = TraceRequest(contract, profile.defaults, profile.eval_batch_size, "cpu")
    bundle = Bundle("cpu", profile.defaults, dict(trace(module_class, request)))
    score = score_module(
        bundle, profile, splits, seed=seed, limits=JudgeLimits(), started_s=time.monotonic(), note=lambda _: None,
        synthetic=task != "listops", controls=controls,
    )  # fmt: skip
    return {
        "accuracy": score.validation,
        "cpu_s": round(time.process_time() - started_s, 1),
        "parameters": score.details["parameters"],
        "flags": score.flags,
        "gradient": score.details["gradient"],
        "controls": score.details.get("controls"),
        "seconds": score.details["seconds"],
        "load": round(os.getloadavg()[0], 1),
    }


def table(cells: list[Cell]) -> str:
    """Accuracy and CPU seconds, a row a module."""
    lines = ["| module | " + " | ".join(f"{task} | s" for task in TASKS) + " |", "|---" * (1 + 2 * len(TASKS)) + "|"]
    by_place = {(cell["task"], cell["module"]): cell for cell in cells}
    for name in PRESETS:
        found = [by_place.get((task, name)) for task in TASKS]
        figures = [f"{cell['accuracy']:.3f} | {cell['cpu_s']:.0f}" if cell else "not measured | " for cell in found]
        lines.append(f"| `{name}` | " + " | ".join(figures) + " |")
    return "\n".join(lines)


if __name__ == "__main__":
    main()
