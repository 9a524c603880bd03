"""Scores a whole family of architectures once, so that searchers can be compared in seconds.

    python bench/architecture_table.py --output bench/tables/mad_2p_cpu

The family: 16 layers of M and mA in nine runs of lengths 2 2 2 2 2 2 2 1 1, every run of one kind, which makes 512
architectures closed under a change of one run. Each is trained three times on the cpu profile (six MAD tasks; initial
weights and order differ) and scored on two held-out splits. Data seeds are this table's own; hidden seeds of the tasks
stay where they are. A line is one training; lines are appended as they are made, all trainings of one architecture
after another in a seeded order, and a second call goes on where the first one stopped.

Not covered: comparing searchers on the table (`bench/searchers.py`).
"""

import argparse
import csv
import itertools
import json
import multiprocessing
import platform
import time
from pathlib import Path

import numpy as np
import torch

from aira_contract.compatibility import EVALUATORS
from aira_evaluator.compose.mad.profiles import CPU
from aira_evaluator.compose.mad.split_scores import train_and_score
from aira_evaluator.compose.mad.splits import PUBLIC_TRAIN_SEED, draw_corpus
from aira_evaluator.compose.training.devices import make_deterministic
from aira_evaluator.compose.training.examples import Corpus

RUN_LENGTHS = (2, 2, 2, 2, 2, 2, 2, 1, 1)
PRIMITIVES = ("M", "mA")
VALIDATION_SEED, TEST_SEED, TRAINING_SEEDS, ORDER_SEED = 1101, 1202, (1303, 1304, 1305), 1404
COLUMNS = ("architecture", "training", "validation", "test", "cpu_s")
_CORPORA: dict[str, Corpus] = {}
"""Of a process that trains: the same for each training, and drawn once."""


def family() -> list[tuple[str, ...]]:
    """Every architecture of the family, in counting order."""
    return [
        tuple(itertools.chain.from_iterable([symbol] * run for symbol, run in zip(chosen, RUN_LENGTHS, strict=True)))
        for chosen in itertools.product(PRIMITIVES, repeat=len(RUN_LENGTHS))
    ]


def manifest() -> dict[str, object]:
    """What a reader must know to make the table again."""
    return {
        "task": "mad-2p",
        "profile": CPU.name,
        "primitives": PRIMITIVES,
        "run_lengths": RUN_LENGTHS,
        "seeds": {
            "train": PUBLIC_TRAIN_SEED, "validation": VALIDATION_SEED, "test": TEST_SEED,
            "training": TRAINING_SEEDS, "order": ORDER_SEED,
        },
        "evaluator_version": str(EVALUATORS["architecture"]),
        "torch": torch.__version__,
        "python": platform.python_version(),
        "threads": 1,
        "columns": COLUMNS,
    }  # fmt: skip


def finished(table: Path) -> set[tuple[str, int]]:
    """Architectures and trainings that already have a line; one cut short by a kill is dropped from the file."""
    if not table.exists():
        return set()
    lines = table.read_text(encoding="ascii").splitlines(keepends=True)
    whole = [line for line in lines if line.endswith("\n")]
    if len(whole) != len(lines):
        table.write_text("".join(whole), encoding="ascii")
    return {(row["architecture"], int(row["training"])) for row in csv.DictReader(whole)}


def _start_worker() -> None:
    """A process trains on one thread, so that its scores are those of a judge with one core."""
    torch.set_num_threads(1)
    make_deterministic()
    _CORPORA["train"] = draw_corpus(CPU, "train", PUBLIC_TRAIN_SEED)
    _CORPORA["validation"] = draw_corpus(CPU, "validation", VALIDATION_SEED)
    _CORPORA["test"] = draw_corpus(CPU, "test", TEST_SEED)


def _train(asked: tuple[tuple[str, ...], int]) -> str:
    """One training, as a line of the table."""
    candidate, number = asked
    held_out = {split: _CORPORA[split] for split in ("validation", "test")}
    started_s = time.process_time()
    scores = train_and_score(
        candidate, CPU, _CORPORA["train"], held_out, seed=TRAINING_SEEDS[number - 1], device=torch.device("cpu")
    )
    cpu_s = time.process_time() - started_s
    tested = f"{scores['validation'].accuracy:.6f},{scores['test'].accuracy:.6f}"
    return f"{'-'.join(candidate)},{number},{tested},{cpu_s:.1f}"


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--output", type=Path, required=True, help="folder of manifest.json and scores.csv")
    parser.add_argument("--processes", type=int, default=1, help="trainings at once, a core each (default: 1)")
    options = parser.parse_args()
    options.output.mkdir(parents=True, exist_ok=True)
    table = options.output / "scores.csv"
    done = finished(table)
    (options.output / "manifest.json").write_text(json.dumps(manifest(), indent=2) + "\n", encoding="ascii")
    candidates = family()
    np.random.default_rng(ORDER_SEED).shuffle(candidates)
    trainings = itertools.product((tuple(map(str, row)) for row in candidates), range(1, len(TRAINING_SEEDS) + 1))
    missing = [(row, number) for row, number in trainings if ("-".join(row), number) not in done]
    if not done:
        table.write_text(",".join(COLUMNS) + "\n", encoding="ascii")
    with multiprocessing.get_context("spawn").Pool(options.processes, _start_worker) as pool:
        for count, line in enumerate(pool.imap(_train, missing), start=len(done) + 1):
            with table.open("a", encoding="ascii") as file:
                file.write(line + "\n")
            print(f"{count}/{len(done) + len(missing)} {line}", flush=True)


if __name__ == "__main__":
    main()
