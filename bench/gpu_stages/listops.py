"""Stage 5: the reference Transformer of lra-listops at paper size, trained as a judge trains it, and projected."""

import time

import jax

from gpu_stages.record import Record
from lra_speed import Bench

STEPS = 300
TOY_STEPS = 4


def run(record: Record) -> None:
    """Trace, compile, and train in compiled stretches from the traced graphs, as scores are made."""
    steps = TOY_STEPS if record.toy else STEPS
    record.detail("device", str(jax.devices()[0].device_kind))
    started_s = time.perf_counter()
    bench = Bench("cpu" if record.toy else "paper", steps)
    record.row("lra-listops: data, trace, and reading of it", time.perf_counter() - started_s, "s")
    first_s = bench.looped(bench.graphs, False)
    record.row(f"lra-listops: compiling and {steps} steps", first_s, "s")
    second_s = bench.looped(bench.graphs, False)
    whole = bench.wanted.train_steps
    record.row("lra-listops: steps", steps / second_s, "1/s")
    record.row(f"lra-listops: {whole} steps, projected", whole * second_s / steps, "s")
    evaluated_s = bench.looped(bench.graphs, True)  # compiles the evaluation as well, as each judge has to
    record.row(f"lra-listops: {steps} steps with evaluations, compiling of these included", evaluated_s, "s")
