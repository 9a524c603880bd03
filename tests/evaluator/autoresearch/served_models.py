"""A tiny language with a known best predictor, models of it, and processes that serve them.

A predictor process is forked from the test's own, so that it need not import torch again; nothing it does reaches the
test but what it writes to the shared memory. On a machine with a GPU, predictors serve from it.
"""

import math
import multiprocessing
import threading
import time
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from multiprocessing.process import BaseProcess
from pathlib import Path

import numpy as np
import torch
from torch import nn
from torch.nn import functional

from aira_contract.files import HANDOVER_FILE
from aira_evaluator.autoresearch.contract.hidden_rows import HiddenSet, PublicSplit, SplitRows
from aira_evaluator.autoresearch.contract.references import References
from aira_evaluator.autoresearch.handover.model_file import hand_over
from aira_evaluator.autoresearch.judge.judging import Judgement, PublicQuestions, judge
from aira_evaluator.autoresearch.judge.questions import Questions, draw_questions
from aira_evaluator.autoresearch.judge.rules import Rules
from aira_evaluator.autoresearch.predict import serving

VOCABULARY = 48
BOS = VOCABULARY - 1
TOKENS = 32
RULES = Rules(length_step=8, batch_rows=16, load_s=30, request_s=30, answer_s=20, question_s=0.02)
QUESTIONS = 1000
CONTAINERS = 2
LIFETIME_S = 60.0
SOCKETS = tuple(f"socket-{number}" for number in range(CONTAINERS))
_FORK = multiprocessing.get_context("fork")


def transitions() -> np.ndarray:
    """P[a, b] of the language, [vocabulary, vocabulary]: a few likely successors each, all others possible."""
    weights = np.random.default_rng(7).gamma(0.15, size=(VOCABULARY, VOCABULARY)) + 1e-3
    return np.asarray(weights / weights.sum(axis=1, keepdims=True))


def draw_rows(count: int, seed: int) -> np.ndarray:
    """Rows of TOKENS + 1 tokens, each begun with BOS, uint16."""
    rng, chances = np.random.default_rng(seed), transitions()
    rows = np.full((count, TOKENS + 1), BOS, dtype=np.uint16)
    for column in range(1, TOKENS + 1):
        cumulated = chances[rows[:, column - 1]].cumsum(axis=1)
        rows[:, column] = np.minimum((rng.random((count, 1)) > cumulated).sum(axis=1), BOS)
    return rows


def hidden_set(rows: int = 64) -> HiddenSet:
    """Two splits; tokens stand for one to four bytes, BOS for none. The references know the language roughly."""
    lengths = 1 + np.arange(VOCABULARY, dtype=np.int64) % 4
    lengths[BOS] = 0
    splits, references = {}, {}
    rough = transitions() ** 0.7
    rough /= rough.sum(axis=1, keepdims=True)
    entropy = -(rough * np.log(rough)).sum(axis=1)
    for seed, name in enumerate(("validation", "test"), start=1):
        tokens = draw_rows(rows, seed)
        splits[name] = SplitRows(name, tokens, lengths, np.arange(rows) % CONTAINERS, rows)
        before, after = tokens[:, :-1], tokens[:, 1:]
        said = np.stack([-np.log(rough[before, after]), entropy[before]], axis=2).astype(np.float16)
        references[name] = References.of(said, splits[name].bytes_of_targets())
    return HiddenSet(splits, references, b"secret", public_corpus=False)


def public_questions(count: int = QUESTIONS, seed: int = 8) -> PublicQuestions:
    """About rows of the language that a script may have claimed a number on; references know nothing of them."""
    lengths = 1 + np.arange(VOCABULARY, dtype=np.int64) % 4
    lengths[BOS] = 0
    tokens = draw_rows(64, seed)
    rows = SplitRows("public", tokens, lengths, np.zeros(len(tokens), dtype=np.int64), len(tokens))
    said = np.zeros((*tokens[:, 1:].shape, 1), dtype=np.float16)
    split = PublicSplit(rows, References.of(said, rows.bytes_of_targets()))
    return PublicQuestions(split, draw_questions(rows, b"secret", "ab", count))


def questions_about(hidden: HiddenSet, count: int = QUESTIONS, handover: str = "ab") -> dict[str, Questions]:
    """As a judge draws them."""
    return {name: draw_questions(split, hidden.secret, handover, count) for name, split in hidden.splits.items()}


class Bigram(nn.Module):
    """The best predictor of the language: its own transitions."""

    def __init__(self) -> None:
        super().__init__()
        self.table = nn.Parameter(torch.from_numpy(np.log(transitions())).float())

    def logits(self, x: torch.Tensor) -> torch.Tensor:
        return self.table[x]

    def forward(self, x: torch.Tensor, y: torch.Tensor | None = None, reduction: str = "mean") -> torch.Tensor:
        logits = self.logits(x)
        return logits if y is None else self.loss(logits, y, reduction)

    def loss(self, logits: torch.Tensor, y: torch.Tensor, reduction: str) -> torch.Tensor:
        nats = functional.cross_entropy(logits.flatten(0, 1), y.flatten(), reduction="none")
        return nats.mean() if reduction == "mean" else nats


class FocalLoss(Bigram):
    def loss(self, logits: torch.Tensor, y: torch.Tensor, reduction: str) -> torch.Tensor:
        nats = super().loss(logits, y, "none")
        return (1 - torch.exp(-nats)) * nats


class SmoothedLoss(Bigram):
    def loss(self, logits: torch.Tensor, y: torch.Tensor, reduction: str) -> torch.Tensor:
        return functional.cross_entropy(logits.flatten(0, 1), y.flatten(), reduction="none", label_smoothing=0.1)


class HalvedLoss(Bigram):
    def loss(self, logits: torch.Tensor, y: torch.Tensor, reduction: str) -> torch.Tensor:
        return super().loss(logits, y, reduction) / 2


class UnnormalizedScores(Bigram):
    """Claims its raw scores to be log-probabilities; adding a constant to them costs it nothing in its own eyes."""

    def logits(self, x: torch.Tensor) -> torch.Tensor:
        return super().logits(x) + 3

    def loss(self, logits: torch.Tensor, y: torch.Tensor, reduction: str) -> torch.Tensor:
        return -logits.flatten(0, 1).gather(1, y.flatten()[:, None]).squeeze(1)


class CopiedTargets(Bigram):
    """Predicts whatever target it is given."""

    def loss(self, logits: torch.Tensor, y: torch.Tensor, reduction: str) -> torch.Tensor:
        copied = 50.0 * functional.one_hot(y, VOCABULARY)
        return super().loss(copied, y, reduction)


class Loiterer(Bigram):
    """Does something else before it answers, once."""

    IDLES_S = 1.0

    def __init__(self) -> None:
        super().__init__()
        self.waits = True

    def logits(self, x: torch.Tensor) -> torch.Tensor:
        if self.waits:
            self.waits = False
            time.sleep(self.IDLES_S)
        return super().logits(x)


class RareNan(Bigram):
    def logits(self, x: torch.Tensor) -> torch.Tensor:
        logits = super().logits(x).clone()
        logits[0, 3, 5] = math.nan
        return logits


def process(handover: Path, socket: Path) -> BaseProcess:
    """A started predictor."""
    arguments = ["--handover", str(handover), "--socket", str(socket)]
    started = _FORK.Process(target=serving.main, args=(arguments,), daemon=True)
    started.start()
    return started


@contextmanager
def predictors(handover: Path, sockets: Sequence[Path]) -> Iterator[None]:
    """One predictor after the other, each begun when the one before is gone; what is left in the end is killed."""
    running: list[BaseProcess] = []
    stopped = threading.Event()

    def run() -> None:
        for socket in sockets:
            if not stopped.is_set():
                running.append(process(handover, socket))
                running[-1].join()

    thread = threading.Thread(target=run, daemon=True)
    thread.start()
    try:
        yield
    finally:
        stopped.set()
        while thread.is_alive():
            for predictor in running:
                predictor.kill()
            thread.join(0.05)


def claim(model: nn.Module, split: SplitRows) -> float:
    """What a script says of the rows: bits per byte of the losses that the model itself returns."""
    rows = torch.from_numpy(split.tokens.astype(np.int64))
    x, y = rows[:, :-1].contiguous(), rows[:, 1:].contiguous()
    with torch.inference_mode():
        losses = model(x, y, reduction="none").flatten().double()
    counted = torch.from_numpy(split.lengths)[y.flatten()]
    return float((losses * (counted > 0)).sum() / math.log(2) / counted.sum())


def score(
    model: nn.Module,
    folder: Path,
    hidden: HiddenSet,
    questions: dict[str, Questions] | None = None,
    *,
    rules: Rules = RULES,
    public: PublicQuestions | None = None,
    lifetime_s: float = LIFETIME_S,
) -> Judgement:
    """Hand `model` over, serve it, judge it."""
    folder.mkdir(exist_ok=True)
    hand_over(model, folder)
    sockets = [folder / name for name in SOCKETS]
    with predictors(folder / HANDOVER_FILE, sockets):
        asked = questions or questions_about(hidden)
        return judge(sockets, hidden, asked, rules, np.random.default_rng(5), lifetime_s, public=public)


def true_bpb(split: SplitRows) -> float:
    """Bits per byte of the language's own transitions over every target, computed from scratch in float64."""
    before, after = split.tokens[:, :-1].astype(int), split.tokens[:, 1:].astype(int)
    nats = -np.log(transitions())[before, after]
    counted = split.lengths[after]
    return float(nats[counted > 0].sum() / math.log(2) / counted.sum())
