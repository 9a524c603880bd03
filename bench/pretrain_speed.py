"""Tokens a second, utilization and memory of pretraining on one GPU, through the trainer's own step.

    python3 bench/pretrain_speed.py --budget-s 300 --out pretrain_speed.jsonl     # rows by worth, until time is up
    python3 bench/pretrain_speed.py --rows 3 4 --steps 20
    python3 bench/pretrain_speed.py --toy                                         # the same code on a CPU

Needs a Python with torch, triton and numpy: no installation of this project, no network. Each row is a model, a scale
and a layout; it prints one JSON line as soon as it is measured. A row that fails says why, with half the microbatch
first where memory was short; one that takes longer than its limit is killed, and the next go on in a new process. A
step is 65,536 tokens, one rank's share of the paper's step on eight devices: gradients, clipping and AdamW included.

`mfu` is the paper's FLOP formula over the peak (attention in full, head left out), `mfu_with_head` counts the head: the
share that docs/performance.md gives. A compiled row also says by how much gradients of one block of each kind differ
from the block's own uncompiled ones. Not covered: several devices, reading of data, checkpoints.
"""

import argparse
import contextlib
import gc
import json
import os
import signal
import statistics
import subprocess
import sys
import threading
import time
from dataclasses import asdict, dataclass, replace
from pathlib import Path
from queue import Empty, Queue
from typing import TYPE_CHECKING, Any

ROOT = Path(__file__).resolve().parents[1]
sys.path[:0] = [str(ROOT / name) for name in ("harness", "evaluator", "kernels")]

from aira_contract.gpu_types import peak_flops  # noqa: E402
from aira_contract.model_sizes import SEQUENCE_TOKENS, VOCABULARY, ModelSize, model_size, space_of  # noqa: E402
from aira_contract.presets import read_architecture  # noqa: E402
from aira_contract.recipes import find_recipe  # noqa: E402
from aira_contract.training_arithmetic import (  # noqa: E402
    count_layers,
    flops_per_token,
    head_flops_per_token,
    parameters_with_embedding,
)

if TYPE_CHECKING:
    import torch

    from aira_evaluator.pretrain.model import Block, Recompute, TrainedModel
    from aira_evaluator.pretrain.step import TrainingStep
    from aira_kernels.backend import Backend

STEP_SEQUENCES = 8
TOY_SEQUENCE, TOY_VOCABULARY = 64, 512
WARM_STEPS = 2
LEAST_STEPS = 3


@dataclass(frozen=True)
class Row:
    """What is measured."""

    architecture: str
    scale: str
    microbatch: int
    compile: bool = False
    cudnn_attention: bool = False
    recompute: "Recompute" = "none"
    sharded: bool = False
    """Over a mesh of one rank: gathered in bfloat16, gradients reduced in float32, as on many."""
    backend: "Backend" = "auto"


LLAMA, FORMER, HYBRID = "llama-3.2", "airaformer-d-stretched", "airahybrid-d-stretched"
ROWS = (
    Row(LLAMA, "1B", 2),
    Row(LLAMA, "1B", 2, cudnn_attention=True),
    Row(HYBRID, "1B", 2, cudnn_attention=True),
    Row(FORMER, "1B", 2, cudnn_attention=True),
    Row(LLAMA, "1B", 2, compile=True, cudnn_attention=True),
    Row(FORMER, "1B", 2, compile=True, cudnn_attention=True),
    Row(HYBRID, "1B", 2, compile=True, cudnn_attention=True),
    Row(LLAMA, "1B", 2, compile=True, cudnn_attention=True, sharded=True),
    Row(LLAMA, "350M", 4, compile=True, cudnn_attention=True),
    Row(FORMER, "350M", 4, compile=True, cudnn_attention=True),
    Row(HYBRID, "350M", 4, compile=True, cudnn_attention=True),
    Row(LLAMA, "1B", 4, compile=True, cudnn_attention=True, recompute="full"),
    Row(LLAMA, "1B", 2, cudnn_attention=True, recompute="selective"),
    Row(HYBRID, "1B", 2, compile=True, cudnn_attention=True, recompute="selective"),
    Row(LLAMA, "350M", 4, cudnn_attention=True),
    Row(FORMER, "350M", 4, cudnn_attention=True),
    Row(HYBRID, "350M", 4, cudnn_attention=True),
)
"""By worth; the batch is what 80 GB hold."""


def main() -> int:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--budget-s", type=float, default=300.0, help="seconds in all")
    parser.add_argument("--row-limit-s", type=float, default=90.0, help="seconds after which a row is killed")
    parser.add_argument("--measure-s", type=float, default=8.0, help="seconds of measured steps in a row")
    parser.add_argument("--steps", type=int, default=20, help="most measured steps of a row")
    parser.add_argument("--rows", type=int, nargs="+", default=list(range(len(ROWS))), help="numbers of rows, in order")
    parser.add_argument("--out", type=Path, help="also write the lines to this file")
    parser.add_argument("--toy", action="store_true", help="toy sizes; runs on a CPU")
    parser.add_argument("--child", action="store_true", help=argparse.SUPPRESS)
    options = parser.parse_args()
    if options.child:
        for number in options.rows:
            say({"row": number, "begins": True}, None)
            say({"row": number, **asdict(ROWS[number]), **measured(ROWS[number], options)}, None)
        return 0
    if options.out:
        options.out.write_text("")
    end_s = time.monotonic() + options.budget_s
    left = list(options.rows)
    while left and end_s - time.monotonic() > 5:
        left = carried_on(left, end_s, options)
    say({"left_out": left}, options.out)
    return 0


def say(entry: dict[str, Any], out: Path | None) -> None:
    """Print a line, and keep it."""
    line = json.dumps(entry)
    print(line, flush=True)
    if out is not None:
        with out.open("a") as file:
            file.write(line + "\n")


def carried_on(rows: list[int], end_s: float, options: argparse.Namespace) -> list[int]:
    """Measure rows in a process of their own until one fails to end; return what is left."""
    passed = [f"--measure-s={options.measure_s}", f"--steps={options.steps}", *(["--toy"] if options.toy else [])]
    command = [sys.executable, str(Path(__file__).resolve()), "--child", *passed, "--rows", *map(str, rows)]
    child = subprocess.Popen(command, stdout=subprocess.PIPE, text=True, start_new_session=True)
    lines: Queue[str | None] = Queue()
    threading.Thread(target=_read, args=(child, lines), daemon=True).start()
    left, ended = list(rows), "the process ended"
    row_end_s = time.monotonic() + options.row_limit_s
    try:
        while left:
            try:
                line = lines.get(timeout=max(0.1, min(row_end_s, end_s) - time.monotonic()))
            except Empty:
                ended = "the budget was spent" if time.monotonic() >= end_s else f"over {options.row_limit_s:.0f} s"
                line = None
            if line is None:
                say({"row": left[0], **asdict(ROWS[left[0]]), "error": ended}, options.out)
                return left[1:]
            if not line.startswith("{"):
                continue
            entry = json.loads(line)
            if "begins" in entry:
                row_end_s = time.monotonic() + options.row_limit_s
                continue
            say(entry, options.out)
            left = left[1:]
    finally:
        _kill(child)
    return left


def _read(child: "subprocess.Popen[str]", lines: "Queue[str | None]") -> None:
    assert child.stdout is not None
    for line in child.stdout:
        lines.put(line)
    lines.put(None)


def _kill(child: "subprocess.Popen[str]") -> None:
    """End a process and the compilers it started."""
    with contextlib.suppress(ProcessLookupError):
        os.killpg(child.pid, signal.SIGKILL)
    child.wait()


def measured(row: Row, options: argparse.Namespace) -> dict[str, Any]:
    """Measure a row; where memory is short, with half the microbatch."""
    import torch

    while True:
        try:
            return {**_measured(row, options), "microbatch": row.microbatch}
        except torch.OutOfMemoryError as error:
            if row.microbatch == 1:
                return {"error": str(error).splitlines()[0]}
            row = replace(row, microbatch=row.microbatch // 2)
        except Exception as error:  # whatever a compiler or a driver raises: the other rows are still of worth
            return {"error": f"{type(error).__name__}: {(str(error).splitlines() or [''])[0]}"[:400]}
        finally:
            _emptied()


def _emptied() -> None:
    import torch

    torch.compiler.reset()  # what is compiled counts against a limit in a process, and holds tensors
    gc.collect()
    if torch.cuda.is_available():
        torch.cuda.empty_cache()
        torch.cuda.reset_peak_memory_stats()


def _measured(row: Row, options: argparse.Namespace) -> dict[str, Any]:
    import torch

    device = torch.device("cuda" if torch.cuda.is_available() and not options.toy else "cpu")
    layers = read_architecture(row.architecture, row.scale)
    size = model_size("toy" if options.toy else row.scale, space_of(layers))
    length, vocabulary = (TOY_SEQUENCE, TOY_VOCABULARY) if options.toy else (SEQUENCE_TOKENS, VOCABULARY)
    step, model = built(row, size, length, vocabulary, device)
    generator = torch.Generator(device).manual_seed(1)

    def one_step() -> float:
        ids = torch.randint(0, vocabulary, (STEP_SEQUENCES, length + 1), generator=generator, device=device)
        started_s = time.perf_counter()
        result = step([(part[:, :-1], part[:, 1:]) for part in torch.split(ids, row.microbatch)], 1e-4)
        if device.type == "cuda":
            torch.cuda.synchronize()
        if result.skipped:
            raise ArithmeticError(f"loss {result.loss}, gradient {result.grad_norm}")
        losses.append(result.loss)
        return time.perf_counter() - started_s

    losses: list[float] = []
    first = [one_step() for _ in range(WARM_STEPS)]
    times: list[float] = []
    while len(times) < options.steps and (len(times) < LEAST_STEPS or sum(times) < options.measure_s):
        times.append(one_step())
    step_s, tokens = statistics.median(times), STEP_SEQUENCES * length
    counts = count_layers(layers)
    flops = flops_per_token(counts, size, length)
    found: dict[str, Any] = {
        "tokens_per_s": round(tokens / step_s, 1),
        "step_s": [round(value, 4) for value in (min(times), step_s, max(times))],
        "steps": len(times),
        "first_step_s": round(first[0], 2),
        "loss": [round(losses[0], 4), round(losses[-1], 4)],
        "parameters": parameters_with_embedding(counts, size, vocabulary),
        "torch": torch.__version__,
    }
    if device.type == "cuda":
        name = torch.cuda.get_device_name()
        found |= {"device": name, "memory_gib": round(torch.cuda.max_memory_allocated() / 2**30, 2)}
        if peak := peak_flops(name):
            found["mfu"] = round(flops * tokens / step_s / peak, 4)
            found["mfu_with_head"] = round((flops + head_flops_per_token(size, vocabulary)) * tokens / step_s / peak, 4)
    if row.compile and not row.sharded:
        found["compiled_differs_by"] = differences(model, row, length, size.width, device)
    return found


def built(
    row: Row, size: ModelSize, length: int, vocabulary: int, device: "torch.device"
) -> "tuple[TrainingStep, TrainedModel]":
    """Make model, optimizer and step as the trainer does."""
    import torch
    import torch.distributed as dist
    from torch.distributed.device_mesh import init_device_mesh

    from aira_evaluator.pretrain.model import Layout, TrainedModel
    from aira_evaluator.pretrain.sharding import shard
    from aira_evaluator.pretrain.step import TrainingStep, optimizer_of
    from aira_kernels.large import LargeLanguageModel

    layers = read_architecture(row.architecture, row.scale)
    large = LargeLanguageModel(
        layers, size, generator=torch.Generator(device).manual_seed(0), vocabulary=vocabulary, device=device,
        backend=row.backend,
    )  # fmt: skip
    layout = Layout(
        compile=row.compile, recompute=row.recompute, dtype=torch.bfloat16,
        cudnn_attention=row.cudnn_attention and device.type == "cuda",
    )  # fmt: skip
    model, group = TrainedModel(large, layout, length=length), None
    if row.sharded:
        if not dist.is_initialized():
            store = dist.HashStore()  # type: ignore[attr-defined]
            dist.init_process_group("nccl" if device.type == "cuda" else "gloo", store=store, rank=0, world_size=1)
        mesh = init_device_mesh(device.type, (1,))
        shard(model, mesh)
        group = mesh.get_group()
    settings = find_recipe("isotoken-1b").optimizer
    step = TrainingStep(
        model, optimizer_of(model, settings), clip_norm=settings.clip_norm, step_tokens=STEP_SEQUENCES * length,
        group=group,
    )  # fmt: skip
    return step, model


def differences(model: "TrainedModel", row: Row, length: int, width: int, device: "torch.device") -> dict[str, float]:
    """Return how far gradients of a compiled block lie from its own uncompiled ones, one block of each kind.

    Relative to the largest number of each gradient; both round to bfloat16, so about 1e-2 is the same.
    """
    found = {}
    from aira_evaluator.pretrain.model import Block

    for symbol, block in zip(model.architecture, model.blocks, strict=True):
        if isinstance(block, Block) and block.compiled and symbol not in found:
            found[symbol] = round(_difference(block, row, length, width, device), 5)
    return found


def _difference(block: "Block", row: Row, length: int, width: int, device: "torch.device") -> float:
    import torch

    generator = torch.Generator(device).manual_seed(2)
    # As in training, so that nothing is compiled once more.
    x = torch.randn(row.microbatch, length, width, generator=generator, device=device).requires_grad_()
    weights = list(block.parameters())
    both = []
    for run in (block.run, block.residual):
        with torch.autocast(device.type, torch.bfloat16):
            y = run(x)
            both.append(torch.autograd.grad(((y - x) * x.roll(1, 1)).sum(), weights))
    pairs = zip(*both, strict=True)
    return max(float((ours - eager).abs().max() / eager.abs().max()) for ours, eager in pairs)


if __name__ == "__main__":
    sys.exit(main())
