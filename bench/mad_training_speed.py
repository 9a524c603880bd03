"""Training speed of one MAD candidate at the paper profile, on one core.

    python bench/mad_training_speed.py

Eight mA and eight M, alternating, at width 128, on in-context recall (127 positions). Each round times one
optimizer step at each batch size and a float32 matrix product of 1024 x 1024 x 1024 beside it, so that both see
the same machine; medians over rounds are of CPU time, which a busy neighbour disturbs less than wall time. The
share is the step's matrix-product FLOPs (three times the forward pass; attention counted in full, causality not
discounted) over the product's rate. Not covered: Mb, GPUs.
"""

import argparse
import statistics
import time
from collections.abc import Callable
from dataclasses import replace

import numpy as np
import torch

from aira_contract.architectures import parse_architecture
from aira_evaluator.compose.mad.models import begin_training
from aira_evaluator.compose.mad.profiles import PAPER
from aira_evaluator.compose.training.devices import make_deterministic

TASK = "in-context-recall"
ARCHITECTURE = parse_architecture("AMAMAMAMAMAMAMAM")
MATRIX = 1024
MOST_STEPS = 1000


def step_flop(batch: int, length: int, width: int, vocabulary: int) -> float:
    """Matrix-product FLOPs of one training step of 8 mA + 8 M."""
    attention = 2 * 4 * width**2 + 4 * length * width
    mlp = 2 * 8 * width**2
    per_token = 8 * attention + 8 * mlp + 2 * width * vocabulary
    return 3.0 * per_token * length * batch


def cpu_seconds(work: Callable[[], object]) -> float:
    started_s = time.process_time()
    work()
    return time.process_time() - started_s


def make_step(batch: int) -> Callable[[], object]:
    """A closure that takes one optimizer step at this batch size, always on the next examples of the order."""
    profile = replace(PAPER, batch_size=batch, train_examples=batch, epochs=MOST_STEPS)
    task = profile.tasks[TASK]
    drawn = task.generate(batch, np.random.default_rng(0), probing=False)
    training = begin_training(ARCHITECTURE, task, drawn, profile, seed=0, device=torch.device("cpu"))
    return lambda: training.step(batch)


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--rounds", type=int, default=7)
    parser.add_argument("--batches", type=int, nargs="+", default=[32, 128])
    options = parser.parse_args()
    make_deterministic()
    generator = torch.Generator().manual_seed(0)
    left, right = (torch.randn(MATRIX, MATRIX, generator=generator) for _ in range(2))
    steps = {batch: make_step(batch) for batch in options.batches}
    product_s: list[float] = []
    step_s: dict[int, list[float]] = {batch: [] for batch in steps}
    for work in (*steps.values(), lambda: left @ right):
        work()
    for _ in range(options.rounds):
        product_s.append(min(cpu_seconds(lambda: left @ right) for _ in range(5)))
        for batch, step in steps.items():
            step_s[batch].append(cpu_seconds(step))
    peak = 2 * MATRIX**3 / statistics.median(product_s)
    print(f"torch {torch.__version__}, {torch.get_num_threads()} thread, fp32 product {peak / 1e9:.0f} GFLOP/s")
    task = PAPER.tasks[TASK]
    for batch, times_s in step_s.items():
        median_s = statistics.median(times_s)
        rate = step_flop(batch, task.model_length, PAPER.sizes.width, task.vocabulary) / median_s
        print(
            f"batch {batch:4}: {median_s * 1e3:7.0f} ms a step, {batch / median_s:6.1f} samples/s, "
            f"{rate / 1e9:5.1f} GFLOP/s, {rate / peak:.2f} of the product's rate"
        )


if __name__ == "__main__":
    main()
