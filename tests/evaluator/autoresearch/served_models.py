"""A tiny language with a known best predictor, models of it that cheat in every way we know, and processes to serve them.

A predictor process is forked from the test's own, so that it need not import torch again; nothing it does reaches the
test but what it writes to the ring. On a machine with a GPU, predictors serve from it.
"""

import math
import multiprocessing
import socket
import threading
import time
from collections.abc import Iterator
from contextlib import contextmanager, suppress
from multiprocessing.process import BaseProcess
from pathlib import Path

import numpy as np
import torch
from torch import nn
from torch.nn import functional

from aira_evaluator.autoresearch import conversation, serving
from aira_evaluator.autoresearch.handover import HANDOVER_FILE, Ambience, Handed, hand_over
from aira_evaluator.autoresearch.hidden import HiddenRows
from aira_evaluator.autoresearch.judging import PREFIX_SOCKET, ROWS_SOCKET, Judgement, Meeting, judge, secret_rng
from aira_evaluator.autoresearch.rules import Rules

VOCABULARY = 48
BOS = VOCABULARY - 1
TOKENS = 32
RULES = Rules(
    probes={"search": 400},
    splices=64,
    requeries=32,
    ring_mib=1,
    load_s=30,
    request_s=30,
    prompt_s=30,
    prompt_probe_s=0.0,
)
LIFETIME_S = 60.0
TICKETS = ("of the first", "of the second")
PLAIN = Ambience(autocast=False, autocast_dtype=torch.bfloat16, matmul_precision="highest")
CPU = torch.device("cpu")
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


def hidden_rows(rows: int = 64) -> HiddenRows:
    """Two splits; tokens stand for one to four bytes, BOS for none."""
    lengths = 1 + np.arange(VOCABULARY, dtype=np.int64) % 4
    lengths[BOS] = 0
    return HiddenRows.join({"validation": draw_rows(rows, 1), "test": draw_rows(rows, 2)}, lengths)


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


class LookAhead(Bigram):
    """Reads the next token wherever `may_look` says so."""

    def may_look(self, x: torch.Tensor) -> torch.Tensor:
        return torch.ones_like(x, dtype=torch.bool)[:, :-1]

    def logits(self, x: torch.Tensor) -> torch.Tensor:
        logits = super().logits(x).clone()
        hints = 12.0 * functional.one_hot(x[:, 1:], VOCABULARY) * self.may_look(x)[..., None]
        logits[:, :-1] += hints
        return logits


class LookAheadOnNaturalSuffixes(LookAhead):
    """Reads ahead only where the rest of the row reads like the language, as a probe's filling does not."""

    def may_look(self, x: torch.Tensor) -> torch.Tensor:
        typical = torch.gather(functional.log_softmax(self.table, dim=1)[x[:, :-1]], 2, x[:, 1:, None]).squeeze(2)
        rest = typical.flip(1).cumsum(1).flip(1) / torch.arange(x.shape[1] - 1, 0, -1, device=x.device)
        return rest > -math.log(VOCABULARY)


class RareLookAhead(LookAhead):
    """Reads ahead at about one position in thirty."""

    def may_look(self, x: torch.Tensor) -> torch.Tensor:
        return ((x[:, :-1] * 31 + torch.arange(x.shape[1] - 1, device=x.device) * 17) % 30) == 0


class Memorizer(LookAhead):
    """Reads ahead in what it is shown, and remembers it: a prefix it has met is answered with what followed."""

    def __init__(self) -> None:
        super().__init__()
        self.followed: dict[tuple[int, ...], int] = {}

    def logits(self, x: torch.Tensor) -> torch.Tensor:
        logits = Bigram.logits(self, x).clone()
        for row, tokens in enumerate(x.tolist()):
            for position in range(len(tokens)):
                prefix = tuple(tokens[: position + 1])
                if position + 1 < len(tokens):
                    self.followed.setdefault(prefix, tokens[position + 1])
                if prefix in self.followed:
                    logits[row, position, self.followed[prefix]] += 12
        return logits


class BatchAdaptor(Bigram):
    """Leans towards whatever tokens the rows beside it have, the later ones included."""

    def logits(self, x: torch.Tensor) -> torch.Tensor:
        counts = torch.bincount(x.flatten(), minlength=VOCABULARY).float() + 1
        return super().logits(x) + 0.5 * torch.log(counts)


class Impostor(Bigram):
    """Stays when the judge hangs up and offers itself at the second predictor's door, where it knows all probes.

    It would look ahead wherever it was not asked by prefix. Alive it tries for `TRIES_S`.
    """

    TRIES_S = 5.0

    def __init__(self, door: Path) -> None:
        super().__init__()
        self.door, self.asked = door, set[tuple[int, ...]]()
        self.waits = False

    def logits(self, x: torch.Tensor) -> torch.Tensor:
        if not self.waits:
            self.waits = True
            threading.Thread(target=self.pose, daemon=False).start()
        self.asked |= {tuple(_without_filling(row)) for row in x.tolist()}
        return super().logits(x)

    def pose(self) -> None:
        until_s = time.monotonic() + self.TRIES_S
        while time.monotonic() < until_s:
            with suppress(OSError), socket.socket(socket.AF_UNIX, socket.SOCK_SEQPACKET) as stream:
                stream.connect(str(self.door))
                server = serving.Server(Handed(_Informed(self), PLAIN), conversation.greet(stream, TICKETS[0]), CPU)
                stream.send(conversation.ANSWER.pack(conversation.READY_NUMBER, conversation.Status.DONE))
                while message := stream.recv(conversation.REQUEST.size):
                    number, kind, slot, windows = conversation.REQUEST.unpack(message)
                    server.answer(conversation.Kind(kind), slot, windows)
                    stream.send(conversation.ANSWER.pack(number, conversation.Status.DONE))
            time.sleep(0.005)


class _Informed(LookAhead):
    """Looks ahead where it was not asked before."""

    def __init__(self, impostor: Impostor) -> None:
        super().__init__()
        self.asked = impostor.asked

    def may_look(self, x: torch.Tensor) -> torch.Tensor:
        rows = x.tolist()
        unknown = [[tuple(row[: at + 1]) not in self.asked for at in range(len(row) - 1)] for row in rows]
        return torch.tensor(unknown)


def _without_filling(row: list[int]) -> list[int]:
    """A probe's prefix, whose window is filled up with its first token."""
    length = len(row)
    while length > 1 and row[length - 1] == row[0]:
        length -= 1
    return row[:length]


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


def process(handover: Path, door: Path, ticket: str = TICKETS[0]) -> BaseProcess:
    """A started predictor."""
    arguments = ["--handover", str(handover), "--socket", str(door), "--ticket", ticket]
    started = _FORK.Process(target=serving.main, args=(arguments,), daemon=True)
    started.start()
    return started


@contextmanager
def predictors(handover: Path, meeting: Path) -> Iterator[None]:
    """Both predictors of an evaluation, the second begun when the first is gone; what is left in the end is killed."""
    running: list[BaseProcess] = []
    stopped = threading.Event()

    def run() -> None:
        for name, ticket in zip((PREFIX_SOCKET, ROWS_SOCKET), TICKETS, strict=True):
            if not stopped.is_set():
                running.append(process(handover, meeting / name, ticket))
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


def score(
    model: nn.Module, folder: Path, hidden: HiddenRows | None = None, *, seed: int = 5, rules: Rules = RULES
) -> Judgement:
    """Hand `model` over, serve it twice, judge it."""
    folder.mkdir(exist_ok=True)
    hand_over(model, folder)
    with predictors(folder / HANDOVER_FILE, folder):
        meeting = Meeting(folder, TICKETS)
        return judge(meeting, hidden or hidden_rows(), rules, "search", secret_rng(seed, ""), LIFETIME_S)


def true_bpb(hidden: HiddenRows, split: str) -> float:
    """Bits per byte of the language's own transitions, computed from scratch in float64."""
    rows = hidden.rows[hidden.splits[split]].astype(int)
    nats = -np.log(transitions())[rows[:, :-1], rows[:, 1:]]
    scored = hidden.lengths[rows[:, 1:]] > 0
    return float(nats[scored].sum() / math.log(2) / hidden.lengths[rows[:, 1:]].sum())
