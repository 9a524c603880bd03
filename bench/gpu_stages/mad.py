"""Stage 2: one candidate of mad-2p and one of mad-3p of the paper profile, beside a loop as it is usually written."""

import time
from dataclasses import replace

import torch

from aira_contract.architectures import parse_architecture
from aira_evaluator.compose.mad.profiles import CPU, PAPER, MadProfile
from aira_evaluator.compose.mad.split_scores import train_and_score
from aira_evaluator.compose.mad.splits import draw_corpus
from aira_evaluator.compose.training.devices import make_deterministic
from aira_evaluator.compose.training.examples import Corpus
from eager_loop import EagerLoop
from gpu_stages.record import Record, device, synchronize

CANDIDATES = {"mad-2p, 8 mA + 8 M": "AMAMAMAMAMAMAMAM", "mad-3p, 4 Mb + 4 mA + 8 M": "SMAMSMAMSMAMSMAM"}
BAR_S = 8.0
BAR_RATIO = 15.0
PLAIN_EPOCHS = 2
"""Epochs of the plain loop that are timed, after one that is not."""


def profile_of(record: Record) -> MadProfile:
    """The paper profile, or a few steps of the cpu profile."""
    return replace(CPU, train_examples=40, validation_examples=8, test_examples=8, epochs=2) if record.toy else PAPER


def run(record: Record) -> None:
    """Seconds and accuracy of one candidate of each, and of a plain loop; `details` has where the time goes.

    The first candidate of a process is what a fresh container takes, kernels compiled; those of the second one are
    compiled in part.
    """
    make_deterministic()
    profile = profile_of(record)
    train, test = draw_corpus(profile, "train", 1), draw_corpus(profile, "test", 2)
    for name in CANDIDATES:
        first_s = candidate_s(record, name, "first of a process", profile, train, test)
        plain_s = _plain(record, name, profile, train, test)
        ratio = plain_s / first_s
        record.row(f"{name}: plain loop over this", ratio, "x", bar=f"{BAR_RATIO:g} x", met=ratio >= BAR_RATIO)


def candidate_s(record: Record, name: str, which: str, profile: MadProfile, train: Corpus, test: Corpus) -> float:
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
