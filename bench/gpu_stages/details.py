"""Stage 8: where the time of a candidate goes - kernels of a step, replays, a warm process, compiled blocks.

By worth within: what a figure of `mad` leaves open comes first, compiled blocks, which cost half a minute, last.
"""

import time
from collections.abc import Callable, Mapping
from dataclasses import replace

import torch

from aira_contract.architectures import parse_architecture
from aira_evaluator.compose.mad.fitting import Candidate, fit_concurrently
from aira_evaluator.compose.mad.profiles import MadProfile
from aira_evaluator.compose.mad.splits import draw_corpus
from aira_evaluator.compose.training.compiled_blocks import CompiledBlocks
from aira_evaluator.compose.training.cuda_graphs import GraphedSteps
from aira_evaluator.compose.training.devices import make_deterministic
from aira_evaluator.compose.training.examples import Corpus
from aira_evaluator.compose.training.schedule import run_epochs
from aira_kernels.layers import LAYERS
from aira_kernels.mamba2 import Mamba2
from aira_kernels.sizes import BlockSizes
from gpu_stages.mad import CANDIDATES, candidate_s, profile_of
from gpu_stages.record import Record, device, synchronize

REPLAYED_EPOCHS = 10
TRACED = BlockSizes(width=32, attention_head_dim=16, mamba_state=16)


def run(record: Record) -> None:
    """Measure what takes a GPU; a CPU has neither graphs nor a profile of kernels."""
    make_deterministic()
    profile = profile_of(record)
    train, test = draw_corpus(profile, "train", 1), draw_corpus(profile, "test", 2)
    if device().type == "cuda":
        for name in CANDIDATES:
            record.attempt(f"{name}, profile", lambda name=name: _profile(record, name, profile, train))
            record.attempt(f"{name}, replays", lambda name=name: _replays(record, name, profile, train))
    for name in CANDIDATES:
        candidate_s(record, name, "in a warm process", profile, train, test)
    for symbol in ("M", "mA", "Mb"):
        record.attempt(f"traced {symbol}", lambda symbol=symbol: _traced(record, symbol))
    for name in CANDIDATES if device().type == "cuda" else ():
        record.attempt(f"{name}, compiled", lambda name=name: _compiled(record, name, profile, train, test))


def _traced(record: Record, symbol: str) -> None:
    """How far gradients of a traced reference block, and of what is inside, are from eager ones: torch 2.11 erred."""
    generator = torch.Generator().manual_seed(0)
    layer = LAYERS[symbol].searched(TRACED, generator=generator, backend="reference").to(device())
    x = torch.randn(2, 40, TRACED.width, generator=generator).to(device())
    parts: list[tuple[str, torch.nn.Module, torch.Tensor]] = [(f"{symbol}, reference backend", layer, x)]
    if isinstance(layer, Mamba2):
        channels = torch.randn(2, 40, len(layer.convolution.bias_E), generator=generator).to(device())
        parts.append(("its convolution alone", layer.convolution, channels))
    for name, part, given in parts:
        torch._dynamo.reset()
        traced = torch.compile(part, fullgraph=True, dynamic=False, backend="aot_eager")
        both = []
        for function in (part, traced):
            out = function(given)
            direction = torch.linspace(-1, 1, out.numel(), device=out.device).view(out.shape)
            both.append(torch.autograd.grad(out, list(part.parameters()), direction))
        worst = max(float((a - b).abs().max() / a.abs().max()) for a, b in zip(*both, strict=True))
        record.row(f"traced gradients of {name}: largest error", worst, bar="0.001", met=worst <= 1e-3)


def _compiled(record: Record, name: str, profile: MadProfile, train: Corpus, test: Corpus) -> None:
    """The candidate with compiled blocks: compiling apart, and the rest."""
    blocks = CompiledBlocks()
    candidate = Candidate(parse_architecture(CANDIDATES[name]), profile, train, 0, device(), blocks)
    for what in ("first, with compiling", "a candidate"):
        started_s = time.perf_counter()
        list(fit_concurrently(candidate, {"test": test}, lambda _: None))
        record.row(f"{name}: compiled blocks, {what}", time.perf_counter() - started_s, "s")


def _profile(record: Record, name: str, profile: MadProfile, train: Corpus) -> None:
    """Microseconds of each kernel in one epoch of every task, taken step by step; and each task's share."""
    short = replace(profile, epochs=1)
    candidate = Candidate(parse_architecture(CANDIDATES[name]), short, train, 0, device())
    totals: dict[str, dict[str, float]] = {}
    for task in short.tasks:
        training = candidate.begin(task)
        training.step(128)
        synchronize()
        totals[task] = kernel_times(lambda training=training: training.step(128))
        record.detail(f"{name}: us a step of 128, {task}", dict(list(totals[task].items())[:25]))
        record.row(f"{name}: kernels of a step of 128, {task}", sum(totals[task].values()) / 1000, "ms")


def _replays(record: Record, name: str, profile: MadProfile, train: Corpus) -> None:
    """Milliseconds of an epoch of replays, of each task alone and of all beside each other."""
    candidate = Candidate(parse_architecture(CANDIDATES[name]), profile, train, 0, device())
    runs: dict[str, GraphedSteps] = {}
    for task in profile.tasks:
        stream = torch.cuda.Stream()  # type: ignore[no-untyped-call]
        with torch.cuda.stream(stream):
            runs[task] = GraphedSteps(candidate.begin(task), stream)
        runs[task].warm_up()
    synchronize()
    for steps in runs.values():
        steps.capture()
    alone: dict[str, float] = {}
    for task, steps in runs.items():
        started_s = time.perf_counter()
        run_epochs(steps, steps.training.epochs, REPLAYED_EPOCHS)
        synchronize()
        alone[task] = (time.perf_counter() - started_s) / REPLAYED_EPOCHS * 1e3
    started_s = time.perf_counter()
    for _ in range(REPLAYED_EPOCHS):
        for steps in runs.values():
            run_epochs(steps, steps.training.epochs, 1)
    synchronize()
    together_ms = (time.perf_counter() - started_s) / REPLAYED_EPOCHS * 1e3
    record.detail(f"{name}: ms an epoch of replays, alone", alone)
    record.row(f"{name}: an epoch of replays, tasks one after the other", sum(alone.values()), "ms")
    record.row(f"{name}: an epoch of replays, tasks beside each other", together_ms, "ms")


def kernel_times(work: Callable[[], object]) -> Mapping[str, float]:
    """Microseconds on the device by kernel, the longest first."""
    with torch.profiler.profile(activities=[torch.profiler.ProfilerActivity.CUDA]) as profiler:
        work()
        synchronize()
    found = {event.key[:120]: float(event.self_device_time_total) for event in profiler.key_averages()}
    return dict(sorted(found.items(), key=lambda item: -item[1]))
