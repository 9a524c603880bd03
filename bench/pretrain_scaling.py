"""Does the time of a training step grow as its FLOPs by the paper's formula say?

    OMP_NUM_THREADS=1 python bench/pretrain_scaling.py [--rounds 5]

Steps of models of one kind of layer each, at several widths and depths, on this CPU: milliseconds of the processor and
GFLOP/s by the formula, head included. Where time is FLOPs, GFLOP/s is one number. Small products and what is no product
(norms, softmax, scans) make it less. Not covered: GPUs (`pretrain_speed.py`), communication.
"""

import argparse
import statistics
import sys
import time
from pathlib import Path

ROOT = Path(__file__).resolve().parents[1]
sys.path[:0] = [str(ROOT / name) for name in ("harness", "evaluator", "kernels")]

import torch  # noqa: E402

from aira_contract.model_sizes import ModelSize  # noqa: E402
from aira_contract.patterns import read_pattern  # noqa: E402
from aira_contract.recipes import find_recipe  # noqa: E402
from aira_contract.training_arithmetic import count_layers, flops_per_token, head_flops_per_token  # noqa: E402
from aira_evaluator.pretrain.model import Layout, TrainedModel  # noqa: E402
from aira_evaluator.pretrain.step import TrainingStep, optimizer_of  # noqa: E402
from aira_kernels.large import LargeLanguageModel  # noqa: E402

PATTERNS = ("8A", "8M", "8Mb", "16M", "4(A-M)", "8(A-M)")
WIDTHS = (128, 256, 512)
LENGTH, SEQUENCES, VOCABULARY = 512, 2, 1024


def main() -> int:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--rounds", type=int, default=5)
    options = parser.parse_args()
    torch.set_num_threads(1)
    print(f"{'pattern':8} {'width':>5} {'GFLOP':>8} {'CPU ms':>9} {'GFLOP/s':>8}")
    for pattern in PATTERNS:
        for width in WIDTHS:
            gflop, seconds = measured(pattern, width, options.rounds)
            print(f"{pattern:8} {width:5} {gflop:8.2f} {seconds * 1e3:9.1f} {gflop / seconds:8.1f}", flush=True)
    return 0


def measured(pattern: str, width: int, rounds: int) -> tuple[float, float]:
    """GFLOP of a step by the formula, and the median of its processor seconds."""
    layers = read_pattern(pattern)
    size = ModelSize("bench", "3-primitive", 0, width, width // 64, 64, width // 64, 4 * width, 64)
    large = LargeLanguageModel(layers, size, generator=torch.Generator().manual_seed(0), vocabulary=VOCABULARY)
    model = TrainedModel(large, Layout(), length=LENGTH)
    tokens = SEQUENCES * LENGTH
    step = TrainingStep(
        model, optimizer_of(model, find_recipe("toy").optimizer), clip_norm=1.0, step_tokens=tokens, group=None
    )
    ids = torch.randint(0, VOCABULARY, (SEQUENCES, LENGTH + 1), generator=torch.Generator().manual_seed(1))
    times = []
    for _ in range(1 + rounds):
        started_s = time.process_time()
        step([(ids[:, :-1], ids[:, 1:])], 1e-4)
        times.append(time.process_time() - started_s)
    counts = count_layers(layers)
    flops = flops_per_token(counts, size, LENGTH) + head_flops_per_token(size, VOCABULARY)
    return flops * tokens / 1e9, statistics.median(times[1:])


if __name__ == "__main__":
    sys.exit(main())
