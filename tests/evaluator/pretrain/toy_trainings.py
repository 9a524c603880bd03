"""Trainings of a second or two for tests: tokens, a recipe, and ranks as processes that talk through gloo.

As a program: one rank of several trainings, one after the other, `toy_trainings.py FOLDER PATTERN...`.
"""

import json
import os
import socket
import subprocess
import sys
from pathlib import Path
from typing import Any

import torch

from aira_evaluator.pretrain.toy_tokens import make_toy_tokens
from aira_evaluator.pretrain.train import main

STEPS, CHECKPOINT_EVERY, STEP_SEQUENCES, SEQUENCE = 48, 8, 16, 32
RECIPE = f"""
schema = 1
title = "for tests"
scales = ["toy"]
sequence_tokens = {SEQUENCE}
step_tokens = {SEQUENCE * STEP_SEQUENCES}
vocabulary = 520
steps = {STEPS}
checkpoint_every_steps = {CHECKPOINT_EVERY}
validate_every_steps = 24
precision = "float32"
[optimizer]
weight_decay = 0.1
beta1 = 0.9
beta2 = 0.95
epsilon = 1e-8
clip_norm = 1.0
z_loss = 0.0
warmup_share = 0.1
final_share = 0.1
[optimizer.learning_rates]
toy = 1e-2
"""
FAMILIES = ("A-M", "Mb-M-A", "Mb-M")
"""Attention and MLP, a hybrid, and Mamba-2 with MLP."""


def make_inputs(folder: Path, recipe: str = RECIPE) -> None:
    make_toy_tokens(folder / "tokens", documents=300, vocabulary=512)
    (folder / "recipe.toml").write_text(recipe)


def arguments(folder: Path, pattern: str, out: Path, *more: str) -> list[str]:
    return [
        "--pattern", pattern, "--scale", "toy", "--recipe", str(folder / "recipe.toml"), "--microbatch", "4",
        "--data", str(folder / "tokens"), "--out", str(out), "--device", "cpu", *more,
    ]  # fmt: skip


def start_ranks(folder: Path, size: int, *patterns: str) -> "list[subprocess.Popen[bytes]]":
    with socket.socket() as free:
        free.bind(("127.0.0.1", 0))
        port = free.getsockname()[1]
    shared = os.environ | {
        "WORLD_SIZE": str(size), "MASTER_ADDR": "127.0.0.1", "MASTER_PORT": str(port), "OMP_NUM_THREADS": "1",
        "PYTHONPATH": os.pathsep.join(path for path in sys.path if path),
    }  # fmt: skip
    command = [sys.executable, __file__, str(folder), *patterns]
    return [
        subprocess.Popen(command, env=shared | {"RANK": str(rank), "LOCAL_RANK": "0"}, stderr=log)
        for rank in range(size)
        for log in [(folder / f"rank{rank}.log").open("ab")]
    ]


def lines(path: Path) -> list[dict[str, Any]]:
    return [json.loads(line) for line in path.read_text().splitlines()]


def losses(out: Path) -> list[float]:
    found = lines(out / "metrics.jsonl")
    assert [line["step"] for line in found] == list(range(1, len(found) + 1)), "every step once"
    return [line["loss"] for line in found]


def _run(folder: Path, patterns: list[str]) -> int:
    torch.set_num_threads(1)
    for number, pattern in enumerate(patterns):
        if number:
            os.environ["MASTER_PORT"] = str(int(os.environ["MASTER_PORT"]) + 1)
        if status := main(arguments(folder, pattern, folder / pattern)):
            return status
    return 0


if __name__ == "__main__":
    status = _run(Path(sys.argv[1]), sys.argv[2:])
    sys.stderr.flush()
    os._exit(status)
