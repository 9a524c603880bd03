"""Each operation of the primitives: the reference against our Triton kernels against the packages, where they run.

    python bench/kernels.py                  # on a GPU: every implementation; on a CPU: chunked against sequential
    python bench/kernels.py --tune           # on a GPU: our scan over a bounded list of tiles
    python bench/kernels.py --json FILE

Prints Markdown: medians of forward and of forward with backward, and their ratios to the reference timed in the same
run, implementations in turn within each round. On a GPU times are CUDA events around calls that follow a warm-up, with
the L2 cache overwritten before each. An implementation that cannot run or differs from the reference is named with the
reason and has no time. Triton's interpreter is never timed. Not covered: whole blocks and models.
"""

import argparse
import json
import os
import platform
import statistics
import sys
import time
from collections.abc import Callable, Iterator, Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING

import torch
from torch import Tensor

from aira_kernels import backend
from aira_kernels.attention import RotaryTable
from aira_kernels.backend import BACKENDS, Backend, BackendError
from aira_kernels.probes import Operation
from aira_kernels.ssd import ssd_chunked, ssd_sequential

if TYPE_CHECKING:
    from aira_kernels.fused.scan_launch import ScanTiles

Inputs = tuple[Tensor, ...]
_FLUSH_BYTES = 256 * 2**20
"""More than any GPU's L2 cache."""


@dataclass(frozen=True)
class Problem:
    """One operation at one size."""

    operation: Operation
    size: str
    dtype: torch.dtype
    inputs: Inputs

    @property
    def name(self) -> str:
        """As tables title it."""
        return f"{self.operation}, {self.size}, {str(self.dtype).removeprefix('torch.')}"


@dataclass(frozen=True)
class Timing:
    """Medians over rounds, in milliseconds."""

    implementation: str
    forward_ms: float
    both_ms: float


def random_leaf(*shape: int, device: torch.device, dtype: torch.dtype) -> Tensor:
    generator = torch.Generator(device).manual_seed(0)
    return torch.randn(shape, generator=generator, device=device, dtype=dtype).requires_grad_()


def scan_inputs(batch: int, length: int, heads: int, state: int, device: torch.device, dtype: torch.dtype) -> Inputs:
    x = random_leaf(batch, length, heads, 64, device=device, dtype=dtype)
    maps = [random_leaf(batch, length, 1, state, device=device, dtype=dtype) for _ in range(2)]
    dt = torch.full((batch, length, heads), 0.02, device=device).requires_grad_()
    rates = -torch.linspace(1.0, 16.0, heads, device=device)
    return x, dt, rates.requires_grad_(), *maps, torch.ones(heads, device=device).requires_grad_()


def gpu_problems(device: torch.device) -> Iterator[Problem]:
    """Mamba-2's and attention's operations at the MAD evaluator's sizes, and at 1B and 3B with 8,192 positions."""
    full, half = torch.float32, torch.bfloat16

    def leaf(*shape: int, dtype: torch.dtype) -> Tensor:
        return random_leaf(*shape, device=device, dtype=dtype)

    yield Problem("rotary_attention", "MAD", full, (leaf(128, 127, 3, 16, 8, dtype=full),))
    yield Problem("layer_norm", "MAD", full, (leaf(128, 127, 128, dtype=full), *(leaf(128, dtype=full) for _ in "wb")))
    sizes = {"MAD": (128, 127, 4, 64), "1B": (1, 8192, 64, 128), "3B": (1, 8192, 96, 256)}
    for size, (batch, length, heads, state) in sizes.items():
        for dtype in (full, half) if size == "MAD" else (half,):
            yield Problem("scan", size, dtype, scan_inputs(batch, length, heads, state, device, dtype))
            inner, channels = heads * 64, heads * 64 + 2 * state
            convolved = leaf(batch, length, channels, dtype=dtype)
            taps, biases = leaf(4, channels, dtype=full), leaf(channels, dtype=full)
            yield Problem("convolution", size, dtype, (convolved, taps, biases))
            gated = [leaf(batch, length, inner, dtype=dtype) for _ in range(2)]
            yield Problem("norm", size, dtype, (gated[0], leaf(inner, dtype=full), gated[1]))
    grouped = [leaf(1, heads, 8192, 64, dtype=half) for heads in (32, 8, 8)]
    yield Problem("attention", "1B", half, tuple(grouped))


def caller(function: Callable[..., Tensor], problem: Problem) -> Callable[..., Tensor]:
    """The function over the problem's tensors alone."""
    if problem.operation == "scan":
        return lambda *inputs: function(*inputs, 64)
    if problem.operation == "norm":
        return lambda x, weight, gate: function(x, weight, 1e-5, gate)
    if problem.operation == "layer_norm":
        return lambda x, weight, bias: function(x, weight, bias, 1e-5)
    if problem.operation == "rotary_attention":
        (packed,) = problem.inputs
        tables = RotaryTable(packed.shape[4]).tables(packed.shape[1], packed)
        return lambda packed: function(packed, *tables)
    return function


def implementations(problem: Problem, device: torch.device) -> tuple[dict[str, Callable[..., Tensor]], list[str]]:
    """What runs here, by name, the reference first; and a line for each that does not."""
    found: dict[str, Callable[..., Tensor]] = {}
    missing: list[str] = []
    order: tuple[Backend, ...] = ("reference", *(name for name in BACKENDS if name not in ("auto", "reference")))
    functions: Mapping[str, Callable[..., Tensor]] = {
        "scan": backend.scan, "convolution": backend.convolution, "norm": backend.norm,
        "layer_norm": backend.layer_norm, "attention": backend.attention, "rotary_attention": backend.rotary_attention,
    }  # fmt: skip
    for requested in order:
        try:
            choice = backend.choose(problem.operation, requested, device.type, problem.dtype)
        except BackendError as error:
            missing.append(f"{problem.name}: {error}")
            continue
        compute = functions[problem.operation]
        found.setdefault(choice.taken, caller(lambda *inputs, by=requested, do=compute: do(by, *inputs), problem))
    return found, missing


def cpu_variants() -> Iterator[tuple[str, Inputs, dict[str, Callable[..., Tensor]]]]:
    """The scan at the MAD evaluator's width, 4,096 positions in all: the sequential definition and chunks."""
    for length in (128, 1024):
        x, dt, rates, b, c, _ = scan_inputs(4096 // length, length, 4, 64, torch.device("cpu"), torch.float32)
        inputs = (x, dt, rates, b.detach()[:, :, 0].requires_grad_(), c.detach()[:, :, 0].requires_grad_())
        variants: dict[str, Callable[..., Tensor]] = {"sequential": ssd_sequential}
        for chunk in (16, 32, 64, 128):
            variants[f"chunks of {chunk}"] = lambda *parts, size=chunk: ssd_chunked(*parts, size)
        yield f"scan, {length} positions x {4096 // length}, float32", inputs, variants


def cpu_ms(work: Callable[[], object]) -> float:
    """CPU time, which a busy neighbour disturbs less than wall time."""
    started_s = time.process_time()
    work()
    return (time.process_time() - started_s) * 1e3


def cuda_ms(work: Callable[[], object]) -> float:
    torch.empty(_FLUSH_BYTES, dtype=torch.int8, device="cuda").zero_()
    begin, end = (torch.cuda.Event(enable_timing=True) for _ in range(2))
    begin.record()
    work()
    end.record()
    end.synchronize()
    return begin.elapsed_time(end)


def measure(
    functions: Mapping[str, Callable[..., Tensor]],
    inputs: Inputs,
    rounds: int,
    clock: Callable[[Callable[[], object]], float],
) -> list[Timing]:
    """Medians of each function, all of them in turn in every round."""

    def both(function: Callable[..., Tensor]) -> object:
        out = function(*inputs)
        return torch.autograd.grad(out, inputs, torch.ones_like(out))

    def forward(function: Callable[..., Tensor]) -> object:
        with torch.no_grad():
            return function(*inputs)

    times: dict[str, tuple[list[float], list[float]]] = {name: ([], []) for name in functions}
    for function in functions.values():
        both(function)
        forward(function)
    for _ in range(rounds):
        for name, function in functions.items():
            times[name][0].append(clock(lambda function=function: forward(function)))
            times[name][1].append(clock(lambda function=function: both(function)))
    return [Timing(name, statistics.median(one), statistics.median(two)) for name, (one, two) in times.items()]


def table(title: str, timings: list[Timing]) -> str:
    """Markdown; ratios above 1 are faster than the first row."""
    first = timings[0]
    lines = [f"\n**{title}**\n", "| | forward ms | ratio | forward and backward ms | ratio |", "|---|---|---|---|---|"]
    lines += [
        f"| {row.implementation} | {row.forward_ms:.3f} | {first.forward_ms / row.forward_ms:.2f} "
        f"| {row.both_ms:.3f} | {first.both_ms / row.both_ms:.2f} |"
        for row in timings
    ]
    return "\n".join(lines)


def hardware() -> str:
    versions = f"torch {torch.__version__}, Python {platform.python_version()}"
    if torch.cuda.is_available():
        return f"{torch.cuda.get_device_name()}, {versions}, CUDA {torch.version.cuda}"
    load = os.getloadavg()[0]
    return (
        f"{platform.processor() or platform.machine()}, {os.cpu_count()} cores, load {load:.1f}, one thread, {versions}"
    )


def tune(rounds: int) -> dict[str, list[Timing]]:
    """Our scan over every allowed tiling of the full-size problems; what to change `scan_tiles` by."""
    from aira_kernels.fused.scan_launch import ScanTiles

    tilings = [ScanTiles(c, q, n) for c in (64, 128) for q in (32, 64, 128) for n in (32, 64) if q <= c]
    scans = [problem for problem in gpu_problems(torch.device("cuda")) if problem.operation == "scan"]
    return {
        problem.name: [timing for tiles in tilings if (timing := time_tiling(problem, tiles, rounds)) is not None]
        for problem in scans
    }


def time_tiling(problem: Problem, tiles: "ScanTiles", rounds: int) -> Timing | None:
    """The kernels with these tiles, without autograd around them; None where they do not fit the GPU."""
    from aira_kernels.fused import scan_launch

    inputs = tuple(part.detach() for part in problem.inputs)
    grad = torch.ones_like(inputs[0])

    def forward() -> object:
        return scan_launch.forward(*inputs, tiles)

    def both() -> object:
        return forward(), scan_launch.backward(grad, *inputs, tiles)

    name = f"chunk {tiles.chunk}, positions {tiles.block_q}, state {tiles.block_n}"
    try:
        both()
    except Exception as error:  # A tiling that does not fit fails in the compiler's own ways.
        print(f"not timed: {problem.name}: {name}: {type(error).__name__}")
        return None
    return Timing(name, *(statistics.median(cuda_ms(run) for _ in range(rounds)) for run in (forward, both)))


def main() -> int:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--rounds", type=int, default=20)
    parser.add_argument("--tune", action="store_true", help="time tiles of our scan; needs a GPU")
    parser.add_argument("--json", type=Path, help="also write the figures to this file")
    options = parser.parse_args()
    torch.set_num_threads(1)
    measured: dict[str, list[Timing]] = {}
    print(f"{hardware()}, medians of {options.rounds} rounds.")
    if options.tune:
        if not torch.cuda.is_available():
            print("--tune times GPU kernels: no CUDA device was found, expected one.", file=sys.stderr)
            return 2
        measured = tune(options.rounds)
    elif torch.cuda.is_available():
        device = torch.device("cuda")
        for problem in gpu_problems(device):
            functions, missing = implementations(problem, device)
            measured[problem.name] = measure(functions, problem.inputs, options.rounds, cuda_ms)
            print("\n".join(f"not timed: {line}" for line in missing))
    else:
        print("No CUDA device: kernels and packages are not timed, and Triton's interpreter never is.")
        for name, inputs, variants in cpu_variants():
            measured[name] = measure(variants, inputs, options.rounds, cpu_ms)
    for name, timings in measured.items():
        print(table(name, timings))
    if options.json is not None:
        rows = {name: [vars(timing) for timing in timings] for name, timings in measured.items()}
        options.json.write_text(
            json.dumps({"hardware": hardware(), "rounds": options.rounds, "timings": rows}, indent=1)
        )
    return 0


if __name__ == "__main__":
    sys.exit(main())
