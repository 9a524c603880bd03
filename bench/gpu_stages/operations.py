"""Stage 6: the primitives' operations, ours and the packages' that are here, beside the reference and the roof."""

import torch

import kernels
from gpu_stages.record import Record, device

ROUNDS = 10


def run(record: Record) -> None:
    """Time every implementation of every problem that fits the device."""
    if device().type != "cuda":
        for name, inputs, variants in kernels.cpu_variants():
            few = dict(list(variants.items())[-2:])
            for timing in kernels.measure(few, inputs, 1, kernels.cpu_ms):
                record.row(f"{name}: {timing.implementation}, forward and backward", timing.both_ms, "ms")
            if record.toy:
                return
        return
    torch.set_float32_matmul_precision("high")  # as the evaluator has it
    copied_bytes_s = _copy_bandwidth(record)
    for problem in kernels.gpu_problems(device()):
        record.attempt(problem.name, lambda problem=problem: _time(record, problem, copied_bytes_s))


def _copy_bandwidth(record: Record) -> float:
    source = torch.randn(2**29, device="cuda")
    target = torch.empty_like(source)
    milliseconds = min(kernels.cuda_ms(lambda: target.copy_(source)) for _ in range(5))
    rate = 2 * source.numel() * 4 / milliseconds * 1e3
    record.row("copy on the device, bytes read and written", rate / 1e12, "TB/s")
    a, b = (torch.randn(8192, 8192, device="cuda", dtype=torch.bfloat16) for _ in range(2))
    milliseconds = min(kernels.cuda_ms(lambda: a @ b) for _ in range(5))
    record.row("product of 8192-cubed in bfloat16", 2 * 8192**3 / milliseconds / 1e9, "TFLOP/s")
    return rate


def _time(record: Record, problem: kernels.Problem, copied_bytes_s: float) -> None:
    functions, missing = kernels.implementations(problem, device())
    record.detail(f"{problem.name}: missing", missing)
    timings = kernels.measure(functions, problem.inputs, ROUNDS, kernels.cuda_ms)
    record.detail(problem.name, [vars(timing) for timing in timings])
    floor_ms = _least_bytes(problem) / copied_bytes_s * 1e3
    for timing in timings:
        record.row(f"{problem.name}: {timing.implementation}, forward", timing.forward_ms, "ms")
        record.row(f"{problem.name}: {timing.implementation}, forward and backward", timing.both_ms, "ms")
    best = min(timing.forward_ms for timing in timings)
    record.row(f"{problem.name}: best forward, share of the copy's bandwidth", floor_ms / best)


def _least_bytes(problem: kernels.Problem) -> int:
    """Every input read once, and an output as large as the first input written once."""
    inputs = problem.inputs
    return sum(part.numel() * part.element_size() for part in inputs) + inputs[0].numel() * inputs[0].element_size()
