"""How fast do logits cross from a predict container's process to a judge's sum?

    OMP_NUM_THREADS=1 python bench/logit_serving.py --tokens 65536 --vocabulary 8192

A model that computes nothing serves vectors that the judge scores in full: what is timed is the ring, the copy out of
it, the log-softmax and the gather. The predictor's own copy into the ring runs beside it, on another core if there is
one. Given that, the share of a training that scoring takes is the model's own forward pass plus this.

Not covered: models on a GPU, whose logits come over the bus first.
"""

import argparse
import multiprocessing
import tempfile
import time
from pathlib import Path

import numpy as np
import torch
from torch import Tensor, nn

from aira_evaluator.autoresearch import serving
from aira_evaluator.autoresearch.conversation import Deadlines, accepted
from aira_evaluator.autoresearch.handover import HANDOVER_FILE, hand_over
from aira_evaluator.autoresearch.nats import negative_log_likelihoods
from aira_evaluator.autoresearch.passes import Batch, answers
from aira_evaluator.autoresearch.ring import RingShape, rows_that_fit
from aira_evaluator.autoresearch.rules import RULES

TOKENS_OF_A_ROW = 2048


class Constant(nn.Module):
    """Serves the same logits whatever it is asked."""

    def __init__(self, vocabulary: int) -> None:
        super().__init__()
        self.row = nn.Parameter(torch.randn(vocabulary))

    def forward(self, x: Tensor) -> Tensor:
        """Logits [B, T, V], a view."""
        return self.row.expand(*x.shape, -1)


def main() -> None:
    parser = argparse.ArgumentParser(description=(__doc__ or "").splitlines()[0])
    parser.add_argument("--tokens", type=int, default=65536)
    parser.add_argument("--vocabulary", type=int, default=8192)
    options = parser.parse_args()
    rules = RULES["paper"]
    rows = rows_that_fit(rules.ring_mib, rules.slots, TOKENS_OF_A_ROW, options.vocabulary)
    shape = RingShape(rules.slots, rows, TOKENS_OF_A_ROW, options.vocabulary)
    targets = torch.from_numpy(
        np.random.default_rng(0).integers(0, options.vocabulary, (options.tokens // TOKENS_OF_A_ROW, TOKENS_OF_A_ROW))
    )
    batches = [Batch(part.int(), part) for part in targets.split(rows)]
    with tempfile.TemporaryDirectory() as name:
        hand_over(Constant(options.vocabulary), Path(name))
        socket = Path(name) / "socket"
        predictor = multiprocessing.get_context("fork").Process(
            target=serving.main,
            args=(["--handover", str(Path(name) / HANDOVER_FILE), "--socket", str(socket), "--ticket", "bench"],),
        )
        predictor.start()
        with accepted(socket, "bench", shape, Deadlines(60, 60, 600, 600)) as connection:
            list(answers(connection, batches[:2]))  # touches every page of both slots
            wall_s, cpu_s = time.perf_counter(), time.process_time()
            list(answers(connection, batches))
            wall_s, cpu_s = time.perf_counter() - wall_s, time.process_time() - cpu_s
        predictor.join()
    alone = torch.randn(2048, options.vocabulary)
    some = torch.zeros(2048, dtype=torch.int64)
    alone_s = time.process_time()
    for _ in range(4):
        negative_log_likelihoods(alone, some)
    alone_s = (time.process_time() - alone_s) / (4 * 2048)
    count = targets.numel()
    gigabytes = count * options.vocabulary * 4 / 1e9
    print(f"{count} tokens of {options.vocabulary} logits, {gigabytes:.1f} GB, {torch.get_num_threads()} thread(s)")
    print(f"served and judged   {count / wall_s:10.0f} tokens/s  {gigabytes / wall_s:6.2f} GB/s  wall {wall_s:.1f} s")
    print(f"judge's CPU alone   {count / cpu_s:10.0f} tokens/s  {cpu_s:.1f} s of CPU")
    print(f"scoring without the ring {1 / alone_s:10.0f} tokens/s of CPU")


if __name__ == "__main__":
    main()
