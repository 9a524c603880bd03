"""Does the cpu profile of the MAD evaluator rank architectures, and how long does a candidate take?

    python bench/mad_ranking.py --output ranking.csv

Thirty architectures whose token mixers spread evenly from 0 to 16, at random places, are scored under two seed
sets that share the public train data and nothing else: hidden data, initial weights and order of examples differ,
as between `search` and `final`. Printed: Spearman's correlation between the two, each recall score of the stack
without a mixer beside the best guess from the present token alone, and the time of whole `evaluate.py` processes.
Not covered: agreement of the cpu profile's ranking with the paper profile's.
"""

import argparse
import csv
import os
import resource
import subprocess
import sys
import tempfile
import time
from collections.abc import Sequence
from pathlib import Path
from typing import NamedTuple

import numpy as np
from numpy.typing import NDArray

from aira_contract.architectures import LAYERS, compact
from aira_contract.files import ARCHITECTURE_FILE, HIDDEN_SCRIPT
from aira_contract.invocation import LOGS_OPTION, MOUNT_OPTION, RAW_OPTION, SUBMISSION_OPTION
from aira_contract.settings import PROFILE_VARIABLE
from aira_evaluator.compose.mad.profiles import CPU
from aira_evaluator.compose.mad.split_scores import SplitScore, train_and_score
from aira_evaluator.compose.mad.splits import PUBLIC_TRAIN_SEED, draw_corpus
from aira_evaluator.compose.training.devices import make_deterministic
from aira_evaluator.compose.training.examples import IGNORED, Corpus, Examples

REPOSITORY = Path(__file__).resolve().parents[1]
TASK_FOLDER = REPOSITORY / "tasks" / "NeuralArchitectureSearchMAD3PrimitivesMbAccuracy"
RECALL = ("in-context-recall", "noisy-in-context-recall", "fuzzy-in-context-recall")
TIMED = ("M" * 16, "AM" * 8, "A" * 16, "SMAM" * 4, "S" * 16)


class Row(NamedTuple):
    """One architecture's scores, or losses, under both seed sets."""

    architecture: str
    mixers: int
    first: float
    second: float
    cpu_s: float
    """Mean CPU time of a training and the scoring of one split, imports not counted."""


def architectures(count: int, mixers: tuple[str, ...], rng: np.random.Generator) -> list[tuple[str, ...]]:
    """Architectures with 0 to 16 mixers, evenly spread, in random order within the stack."""
    drawn = []
    for mixed in np.linspace(0, LAYERS, count).round().astype(int):
        layers = [str(rng.choice(mixers)) for _ in range(mixed)] + ["M"] * (LAYERS - mixed)
        drawn.append(tuple(str(symbol) for symbol in rng.permutation(layers)))
    return drawn


def spearman(first: NDArray[np.float64], second: NDArray[np.float64]) -> float:
    """Rank correlation; ties share their mean rank."""

    def ranks(values: NDArray[np.float64]) -> NDArray[np.float64]:
        return np.array([(values < value).sum() + ((values == value).sum() - 1) / 2 for value in values])

    return float(np.corrcoef(ranks(first), ranks(second))[0, 1])


def report(rows: Sequence[Row], output: Path | None) -> None:
    """Print how alike both seed sets rank, and write all rows to `output` where there is one."""
    table = np.array([(row.first, row.second) for row in rows])
    mixed = table[[row.mixers > 0 for row in rows]]
    print(f"Spearman, all {len(table)}: {spearman(*table.T):.3f}")
    print(f"Spearman, with at least one mixer ({len(mixed)}): {spearman(*mixed.T):.3f}")
    if output is not None:
        with output.open("w", newline="") as file:
            writer = csv.writer(file)
            writer.writerow(Row._fields)
            writer.writerows(rows)


def present_token_ceiling(examples: Examples) -> float:
    """The best accuracy on these examples of a guess that depends on the present token alone."""
    mask = examples.scored != IGNORED
    table = np.zeros((int(examples.inputs.max()) + 1, int(examples.scored.max()) + 1))
    np.add.at(table, (examples.inputs[mask], examples.scored[mask]), 1)
    return float(table.max(axis=1).sum() / mask.sum())


def score(architecture: tuple[str, ...], train: Corpus, test: Corpus, seed: int) -> SplitScore:
    import torch

    return train_and_score(architecture, CPU, train, {"test": test}, seed=seed, device=torch.device("cpu"))["test"]


def time_evaluations() -> None:
    """Time the whole judge command, imports included, on one core."""
    environment = {**os.environ, PROFILE_VARIABLE: "cpu", "OMP_NUM_THREADS": "1"}
    print(f"{'candidate':18}{'wall s':>8}{'CPU s':>8}  (evaluate.py as a process, both hidden splits)")
    for letters in TIMED:
        with tempfile.TemporaryDirectory() as folder:
            for name in ("raw", "data", "logs"):
                (Path(folder) / name).mkdir()
            (Path(folder) / "logs" / ARCHITECTURE_FILE).write_text(f"architecture\n{letters}\n")
            places = (RAW_OPTION, "raw", MOUNT_OPTION, "data", LOGS_OPTION, "logs")
            _script(HIDDEN_SCRIPT, places, folder, environment)
            wall_s, cpu_s = time.perf_counter(), _children_cpu_s()
            _script("evaluate.py", (SUBMISSION_OPTION, "data/submission.csv"), folder, environment)
            wall_s, cpu_s = time.perf_counter() - wall_s, _children_cpu_s() - cpu_s
            print(f"{letters:18}{wall_s:8.1f}{cpu_s:8.1f}", flush=True)


def _children_cpu_s() -> float:
    usage = resource.getrusage(resource.RUSAGE_CHILDREN)
    return usage.ru_utime + usage.ru_stime


def _script(name: str, arguments: tuple[str, ...], folder: str, environment: dict[str, str]) -> None:
    command = [sys.executable, str(TASK_FOLDER / name), *arguments]
    subprocess.run(command, cwd=folder, env=environment, check=True, stdout=subprocess.DEVNULL)


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--architectures", type=int, default=30)
    parser.add_argument("--primitives", choices=("2", "3"), default="2", help="mixers are mA, or mA and Mb")
    parser.add_argument("--output", type=Path, default=None, help="also write the table as CSV")
    options = parser.parse_args()
    make_deterministic()
    mixers = ("mA",) if options.primitives == "2" else ("mA", "Mb")
    candidates = architectures(options.architectures, mixers, np.random.default_rng(20260515))
    train = draw_corpus(CPU, "train", PUBLIC_TRAIN_SEED)
    # Two seed sets of this benchmark's own; the tasks' hidden seeds stay where they are.
    tests = [draw_corpus(CPU, "test", seed) for seed in (101, 202)]
    rows: list[Row] = []
    for candidate in candidates:
        started_s = time.process_time()
        pair = [score(candidate, train, test, seed) for test, seed in zip(tests, (303, 404), strict=True)]
        cpu_s = (time.process_time() - started_s) / 2
        first, second = (result.accuracy for result in pair)
        rows.append(Row(compact(candidate), LAYERS - candidate.count("M"), first, second, cpu_s))
        print("{:18}{:3}{:8.4f}{:8.4f}{:7.1f} s".format(*rows[-1]), flush=True)
        if candidate.count("M") == LAYERS:
            for name in RECALL:
                ceiling = present_token_ceiling(tests[0][name])
                print(f"  {name}: {pair[0].tasks[name].micro:.3f}, best guess without mixing {ceiling:.3f}")
    report(rows, options.output)
    time_evaluations()


if __name__ == "__main__":
    main()
