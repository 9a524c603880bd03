"""Stage 2: one candidate of mad-2p and one of mad-3p of the paper profile, beside a loop as it is usually written."""

import time
from collections.abc import Callable, Mapping
from dataclasses import replace

import torch

from aira_contract.architectures import parse_architecture
from aira_evaluator.compose.mad.fitting import Candidate, fit_concurrently
from aira_evaluator.compose.mad.profiles import CPU, PAPER, MadProfile
from aira_evaluator.compose.mad.split_scores import train_and_score
from aira_evaluator.compose.mad.splits import draw_corpus
from aira_evaluator.compose.training.compiled_blocks import CompiledBlocks
from aira_evaluator.compose.training.cuda_graphs import GraphedSteps
from aira_evaluator.compose.training.devices import make_deterministic
from aira_evaluator.compose.training.examples import Corpus
from aira_evaluator.compose.training.schedule import run_epochs
from eager_loop import EagerLoop
from gpu_stages.record import Record, device, synchronize

CANDIDATES = {"mad-2p, 8 mA + 8 M": "AMAMAMAMAMAMAMAM", "mad-3p, 4 Mb + 4 mA + 8 M": "SMAMSMAMSMAMSMAM"}
BAR_S = 8.0
BAR_RATIO = 15.0
REPLAYED_EPOCHS = 10
PLAIN_EPOCHS = 2
"""Epochs of the plain loop that are timed, after one that is not."""


def profile_of(record: Record) -> MadProfile:
    """The paper profile, or a few steps of the cpu profile."""
    return replace(CPU, train_examples=40, validation_examples=8, test_examples=8, epochs=2) if record.toy else PAPER


def run(record: Record) -> None:
    """Seconds and accuracy of the evaluator and a plain loop; then where the time goes; then compiled blocks."""
    make_deterministic()
    profile = profile_of(record)
    train, test = draw_corpus(profile, "train", 1), draw_corpus(profile, "test", 2)
    two, three = CANDIDATES
    # By worth, since a stage may be killed: the first candidate of a process is what a fresh container takes.
    first_s = _candidate(record, two, "first of a process", profile, train, test)
    plain_s = _plain(record, two, profile, train, test)
    _ratio(record, two, plain_s, first_s)
    _candidate(record, three, "first of a process", profile, train, test)
    if device().type == "cuda":
        _replays(record, two, profile, train)
    _ratio(record, two, plain_s, _candidate(record, two, "one more", profile, train, test))
    plain_s = _plain(record, three, profile, train, test)
    _ratio(record, three, plain_s, _candidate(record, three, "one more", profile, train, test))
    for name in CANDIDATES if device().type == "cuda" else ():
        record.attempt(f"{name}, profile", lambda name=name: _profile(record, name, profile, train))
        record.attempt(f"{name}, compiled", lambda name=name: _compiled(record, name, profile, train, test))


def _ratio(record: Record, name: str, plain_s: float, ours_s: float) -> None:
    ratio = plain_s / ours_s
    record.row(f"{name}: plain loop over this", ratio, "x", bar=f"{BAR_RATIO:g} x", met=ratio >= BAR_RATIO)


def _candidate(record: Record, name: str, which: str, profile: MadProfile, train: Corpus, test: Corpus) -> float:
    """Seconds of one candidate, trained and scored as a judge does it."""
    layers = parse_architecture(CANDIDATES[name])
    started_s = time.perf_counter()
    score = train_and_score(layers, profile, train, {"test": test}, seed=0, device=device())["test"]
    seconds = time.perf_counter() - started_s
    record.row(f"{name}: {which}", seconds, "s", bar=f"{BAR_S:g} s", met=seconds <= BAR_S)
    record.row(f"{name}: accuracy on the test split", score.accuracy)
    record.detail(f"{name}: scores", score.details())
    if device().type == "cuda":
        record.row(f"{name}: memory, most", torch.cuda.max_memory_allocated() / 2**30, "GiB")
        torch.cuda.reset_peak_memory_stats()
    return seconds


def _plain(record: Record, name: str, profile: MadProfile, train: Corpus, test: Corpus) -> float:
    """Seconds of the customary loop, projected from a few epochs to all."""
    layers = parse_architecture(CANDIDATES[name])

    def epochs(count: int) -> float:
        loop = EagerLoop(replace(profile, epochs=count), device(), workers=0 if record.toy else 2)
        started_s = time.perf_counter()
        loop.run(layers, train, test, 0)
        synchronize()
        return time.perf_counter() - started_s

    first_s = epochs(1)
    whole_s = first_s + (epochs(1 + PLAIN_EPOCHS) - first_s) / PLAIN_EPOCHS * (profile.epochs - 1)
    record.row(f"{name}: plain loop, projected from {PLAIN_EPOCHS} epochs of {profile.epochs}", whole_s, "s")
    return whole_s


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
