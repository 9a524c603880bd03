"""How many prefixes a second does a judge get answered, and what is its own share of that time?

    OMP_NUM_THREADS=1 python bench/logit_serving.py --handover handover.bin --data HIDDEN --profile cpu
    OMP_NUM_THREADS=1 python bench/logit_serving.py --vocabulary 8192 --tokens 2048

With `--handover` (what a `train.py` of ours left behind; it is loaded, so use only your own) the questions of a search
about the hidden store HIDDEN are asked and answered by a real model, in windows of several kinds. Without, a model that
computes nothing answers: what is timed then is the shared memory, the copy out of it, the log-softmax and the gather.

Not covered: models on a GPU, whose logits come over the bus first.
"""

import argparse
import multiprocessing
import resource
import tempfile
import time
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

import numpy as np
import numpy.typing as npt
import torch
from torch import Tensor, nn

from aira_evaluator.autoresearch.contract.hidden_rows import read_hidden
from aira_evaluator.autoresearch.contract.profiles import PROFILES
from aira_evaluator.autoresearch.handover.model_file import hand_over
from aira_evaluator.autoresearch.judge.asking import Indices, ask
from aira_evaluator.autoresearch.judge.questions import draw_questions
from aira_evaluator.autoresearch.judge.rules import RULES
from aira_evaluator.autoresearch.predict import serving
from aira_evaluator.autoresearch.wire.connection import Connection, Deadlines, accepted
from aira_evaluator.autoresearch.wire.shared_memory import MemoryShape


class Constant(nn.Module):
    """Serves the same logits whatever it is asked."""

    def __init__(self, vocabulary: int) -> None:
        super().__init__()
        self.row = nn.Parameter(torch.randn(vocabulary))

    def forward(self, x: Tensor) -> Tensor:
        """Logits [B, T, V], a view."""
        return self.row.expand(*x.shape, -1)


@contextmanager
def served(handover: Path, shape: MemoryShape) -> Iterator[Connection]:
    """A loaded predictor, forked from this process."""
    with tempfile.TemporaryDirectory() as name:
        arguments = ["--handover", str(handover), "--socket", f"{name}/socket"]
        predictor = multiprocessing.get_context("fork").Process(target=serving.main, args=(arguments,))
        predictor.start()
        with accepted(Path(name) / "socket", shape, Deadlines(60, 60, 600, 3600)) as connection:
            yield connection
        predictor.join()


def children_cpu_s() -> float:
    """CPU seconds of all ended predictors."""
    used = resource.getrusage(resource.RUSAGE_CHILDREN)
    return used.ru_utime + used.ru_stime


def timed(
    handover: Path, shape: MemoryShape, rounds: list[tuple[npt.NDArray[np.uint16], Indices]], step: int
) -> tuple[float, float, float]:
    """Seconds for all rounds: of wall clock and of the judge's CPU, and of the predictor's CPU with loading."""
    before_s = children_cpu_s()
    with served(handover, shape) as connection:
        ask(connection, rounds[0][0][:1], rounds[0][1][:1], step)
        wall_s, cpu_s = time.perf_counter(), time.process_time()
        for rows, positions in rounds:
            ask(connection, rows, positions, step)
        wall_s, cpu_s = time.perf_counter() - wall_s, time.process_time() - cpu_s
    return wall_s, cpu_s, children_cpu_s() - before_s


def main() -> None:
    parser = argparse.ArgumentParser(description=(__doc__ or "").splitlines()[0])
    parser.add_argument("--handover", type=Path)
    parser.add_argument("--data", type=Path)
    parser.add_argument("--profile", default="cpu")
    parser.add_argument("--questions", type=int, default=2000, help="of one split")
    parser.add_argument("--batches", type=int, nargs="*", default=[8, 16, 64])
    parser.add_argument("--vocabulary", type=int, default=8192)
    parser.add_argument("--tokens", type=int, default=2048, help="of a row")
    options = parser.parse_args()
    if options.handover is None:
        rng = np.random.default_rng(0)
        rows = rng.integers(0, options.vocabulary, (options.questions, options.tokens + 1)).astype(np.uint16)
        rounds = [(rows, rng.integers(1, options.tokens + 1, options.questions))]
        rules, batches = RULES["paper"], [RULES["paper"].batch_rows]
        folder = Path(tempfile.mkdtemp())
        handover = hand_over(Constant(options.vocabulary), folder)
        tokens, vocabulary = options.tokens, options.vocabulary
    else:
        hidden, handover = read_hidden(options.data, "search", options.profile), options.handover
        split = hidden.splits["validation"]
        asked = draw_questions(split, hidden.secret, "", options.questions)
        parts = [part for at in range(PROFILES[options.profile].predict_containers) for part in asked.rounds(at)]
        rounds = [(split.tokens[asked.row[part]], asked.position[part]) for part in parts]
        rules, batches, tokens = RULES[options.profile], options.batches, split.tokens.shape[1] - 1
        vocabulary = len(split.lengths)
    count = sum(len(rows) for rows, _ in rounds)
    print(f"{count} questions in {len(rounds)} rounds, {torch.get_num_threads()} thread(s)")
    print("| windows | batch | prefixes/s | prefixes per CPU s of the predictor | wall, s | judge's CPU, s |")
    print("|---|---|---|---|---|---|")
    for step in (tokens, 2 * rules.length_step, rules.length_step):
        for batch in batches:
            wall_s, cpu_s, model_s = timed(handover, MemoryShape(batch, tokens, vocabulary), rounds, step)
            kind = "full" if step == tokens else f"steps of {step}"
            print(
                f"| {kind} | {batch} | {count / wall_s:.0f} | {count / model_s:.0f} | {wall_s:.1f} | {cpu_s:.2f} |",
                flush=True,
            )


if __name__ == "__main__":
    main()
