"""Does one training of the cpu profile of MAD rank random stacks as another training does?

    python bench/cpu_profile.py --output bench/tables/mad_cpu_profile.csv    # half an hour of one core
    python bench/cpu_profile.py --output bench/tables/mad_cpu_profile.csv --summarize

For both sets of primitives, random stacks of 16 layers with 6 to 16 mixers, at random places, are each trained several
times. Trainings of one stack share the public train data and nothing else: hidden data, initial weights and order of
examples differ, as between a search and its confirmation. Seeds are this table's own: neither a task's nor those on
which the profile was chosen (DESIGN_SEEDS). Rows are added as they are made, first one training of every stack, then
the second, so that a table that was stopped is whole as far as it goes; a second call goes on from there.

Printed for each set, for all its stacks and for those that begin with a mixer: Spearman's correlation of one training
with another, how many trainings a mean would have to be of to reach WANTED, the standard deviations of stacks (signal)
and of trainings (noise), 95 % intervals by bootstrap over stacks, and CPU seconds of a training.

Not covered: whether the profile `paper` ranks alike; whole processes of the judge (`bench/mad_ranking.py`).
"""

import argparse
import csv
import itertools
import math
import time
from collections.abc import Iterable, Mapping, Sequence
from pathlib import Path
from typing import NamedTuple

import numpy as np
from numpy.typing import NDArray
from scipy.stats import rankdata  # type: ignore[import-untyped]

from aira_contract.architectures import LAYERS, compact, parse_architecture
from aira_evaluator.compose.mad.profiles import CPU
from aira_evaluator.compose.mad.splits import PUBLIC_TRAIN_SEED, draw_corpus

PRIMITIVE_SETS: Mapping[str, tuple[str, ...]] = {"2": ("mA",), "3": ("mA", "Mb")}
"""Mixers by the number of primitives."""
MIXERS = range(6, LAYERS + 1)
STACK_SEEDS = {"2": 88_201, "3": 88_301}
DESIGN_SEEDS = {"2": 77_001, "3": 77_002}
"""On which the profile was chosen; kept here so that nobody measures with them by accident."""
TRAINING_SEED = 88_000
RESAMPLES, BOOTSTRAP_SEED = 2_000, 4_300
WANTED = 0.80
"""The correlation that a ranking should have."""
MLP = "M"


class Training(NamedTuple):
    """One stack trained once."""

    primitives: str
    stack: str
    """In compact letters."""
    training: int
    score: float
    tasks: tuple[float, ...]
    """Accuracies in the order of the profile's tasks."""
    cpu_s: float


def stacks(primitives: str, count: int, seed: int) -> list[str]:
    """Random stacks in compact letters: the numbers of mixers evenly spread in random order, then layers shuffled.

    A stack drawn twice, as 16 mixers of one kind are, is listed once.
    """
    rng = np.random.default_rng(seed)
    numbers = rng.permutation(np.resize(np.arange(MIXERS.start, MIXERS.stop), count))
    drawn = []
    for mixers in numbers:
        layers = [str(rng.choice(PRIMITIVE_SETS[primitives])) for _ in range(mixers)] + [MLP] * (LAYERS - mixers)
        drawn.append(compact(tuple(str(symbol) for symbol in rng.permutation(layers))))
    return list(dict.fromkeys(drawn))


def train(primitives: str, stack: str, training: int) -> Training:
    """Train and score once, as the judge does; the seed follows from the stack and the number of the training."""
    import torch

    from aira_evaluator.compose.mad.split_scores import train_and_score

    seed = int(np.random.SeedSequence([TRAINING_SEED, training, *stack.encode()]).generate_state(1)[0])
    train_corpus = draw_corpus(CPU, "train", PUBLIC_TRAIN_SEED)
    held_out = {"test": draw_corpus(CPU, "test", TRAINING_SEED + training)}
    started_s = time.process_time()
    score = train_and_score(
        parse_architecture(stack), CPU, train_corpus, held_out, seed=seed, device=torch.device("cpu")
    )["test"]
    cpu_s = time.process_time() - started_s
    tasks = tuple(round(task.micro, 4) for task in score.tasks.values())
    return Training(primitives, stack, training, round(score.accuracy, 5), tasks, round(cpu_s, 2))


def read(path: Path) -> list[Training]:
    """The rows so far; one cut short by a kill is dropped."""
    if not path.exists():
        return []
    whole = [line for line in path.read_text(encoding="ascii").splitlines(keepends=True) if line.endswith("\n")]
    return [
        Training(row[0], row[1], int(row[2]), float(row[3]), tuple(map(float, row[4:-1])), float(row[-1]))
        for row in itertools.islice(csv.reader(whole), 1, None)
    ]


def write(path: Path, rows: Iterable[Training]) -> None:
    with path.open("w", encoding="ascii", newline="") as file:
        writer = csv.writer(file, lineterminator="\n")
        writer.writerow(["primitives", "stack", "training", "score", *CPU.tasks, "cpu_s"])
        writer.writerows([*row[:4], *row.tasks, row.cpu_s] for row in rows)


def spearman(first: NDArray[np.float64], second: NDArray[np.float64]) -> float:
    """Rank correlation; ties share their mean rank. 0 where one of the two has no spread."""
    ranks = np.stack((rankdata(first), rankdata(second)))
    if (ranks.std(axis=1) == 0).any():
        return 0.0
    return float(np.corrcoef(ranks)[0, 1])


def one_against_another(scores_SK: NDArray[np.float64]) -> float:
    """Mean over all ordered pairs of trainings; scores have shape (stacks, trainings)."""
    pairs = itertools.combinations(range(scores_SK.shape[1]), 2)
    return float(np.mean([spearman(scores_SK[:, one], scores_SK[:, other]) for one, other in pairs]))


def trainings_for(correlation: float, wanted: float = WANTED) -> int:
    """How many trainings a score must be the mean of to reach a correlation, from that of one (Spearman-Brown)."""
    return math.ceil(wanted * (1 - correlation) / (correlation * (1 - wanted)) - 1e-9)


def signal_and_noise(scores_SK: NDArray[np.float64]) -> tuple[float, float]:
    """Standard deviations of stacks and of one training: the components of a one-way analysis of variance."""
    noise = float(scores_SK.var(axis=1, ddof=1).mean())
    signal = float(scores_SK.mean(axis=1).var(ddof=1)) - noise / scores_SK.shape[1]
    return max(signal, 0.0) ** 0.5, noise**0.5


def figures(scores_SK: NDArray[np.float64]) -> NDArray[np.float64]:
    return np.array([one_against_another(scores_SK), *signal_and_noise(scores_SK)])


def intervals(scores_SK: NDArray[np.float64]) -> NDArray[np.float64]:
    """2.5 % and 97.5 % quantiles of `figures` over resampled stacks, shape (2, 3)."""
    rng = np.random.default_rng(BOOTSTRAP_SEED)
    drawn = [figures(scores_SK[rng.integers(0, len(scores_SK), len(scores_SK))]) for _ in range(RESAMPLES)]
    return np.quantile(drawn, (0.025, 0.975), axis=0)


def scores_of(rows: Sequence[Training], primitives: str, *, begin_with_a_mixer: bool) -> NDArray[np.float64]:
    """Scores (stacks, trainings) of a set of primitives: stacks with as many trainings as the most have."""
    scores: dict[str, list[float]] = {}
    for row in rows:
        if row.primitives == primitives and not (begin_with_a_mixer and row.stack[0] == MLP):
            scores.setdefault(row.stack, []).append(row.score)
    most = max(map(len, scores.values()), default=0)
    return np.array([each for each in scores.values() if len(each) == most])


def report(rows: Sequence[Training]) -> list[str]:
    """The figures as a Markdown table."""
    lines = [
        f"| primitives | stacks | trainings each | one training against another | trainings for {WANTED:.2f} "
        "| signal sd | noise sd | CPU s |",
        "|---" * 8 + "|",
    ]
    for primitives, begin in itertools.product(PRIMITIVE_SETS, (False, True)):
        table = scores_of(rows, primitives, begin_with_a_mixer=begin)
        if table.ndim < 2 or table.shape[1] < 2 or len(table) < 3:
            continue
        (low, high), found = intervals(table), figures(table)
        cells = [f"{value:.{digits}f} ({a:.{digits}f} to {b:.{digits}f})"
                 for value, a, b, digits in zip(found, low, high, (2, 3, 3), strict=True)]  # fmt: skip
        cells.insert(1, str(trainings_for(found[0])))
        chosen = [row for row in rows if row.primitives == primitives and not (begin and row.stack[0] == MLP)]
        cpu_s = np.mean([row.cpu_s for row in chosen])
        stacks = f"{len(table)}, begin with a mixer" if begin else f"{len(table)}"
        lines.append(f"| {primitives} | {stacks} | {table.shape[1]} | {' | '.join(cells)} | {cpu_s:.1f} |")
    return lines


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--output", type=Path, required=True, help="the table, a CSV file")
    parser.add_argument("--stacks", type=int, default=44, help="of each set of primitives")
    parser.add_argument("--trainings", type=int, default=2, help="of each stack")
    parser.add_argument(
        "--limit-s", type=float, default=float("inf"), help="begin no training after so many CPU seconds"
    )
    parser.add_argument("--summarize", action="store_true", help="train nothing; print the figures of the table")
    options = parser.parse_args()
    rows = read(options.output)
    if not options.summarize:
        from aira_evaluator.compose.training.devices import make_deterministic

        make_deterministic()
        drawn = {name: stacks(name, options.stacks, STACK_SEEDS[name]) for name in PRIMITIVE_SETS}
        done = {row[:3] for row in rows}
        for training in range(1, options.trainings + 1):
            for of_both in itertools.zip_longest(*drawn.values()):
                for primitives, stack in zip(drawn, of_both, strict=True):
                    if stack is None or (primitives, stack, training) in done or time.process_time() > options.limit_s:
                        continue
                    rows.append(train(primitives, stack, training))
                    write(options.output, rows)
                    print(f"{len(rows)}: {rows[-1]}", flush=True)
    print("\n".join(report(rows)))


if __name__ == "__main__":
    main()
