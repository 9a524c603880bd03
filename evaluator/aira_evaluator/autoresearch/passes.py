"""Sends token windows to a predictor and turns its logits into nats, keeping every slot of the ring busy.

While the judge scores one answer, the predictor works on the next request. Where an answer must be in the judge's hands
before something else is shown, callers take all answers of one call before they make the next.

Not covered: which windows, in which order (`audit`, `judging`).
"""

from collections import deque
from collections.abc import Iterable, Iterator
from dataclasses import dataclass

import torch

from aira_evaluator.autoresearch.conversation import Connection, Kind
from aira_evaluator.autoresearch.nats import negative_log_likelihoods


@dataclass(frozen=True)
class Batch:
    """Windows of one request and what follows them."""

    windows: torch.Tensor
    """int32 [rows, tokens]."""
    targets: torch.Tensor
    """int64: [rows, tokens], or [rows] where `positions` are given. Never sent."""
    positions: torch.Tensor | None = None
    """int32 [rows]: the one position of each window that is asked for."""


def answers(connection: Connection, batches: Iterable[Batch]) -> Iterator[torch.Tensor]:
    """Nats of every batch, in order, float32 in the shape of its targets.

    Raises:
        PredictorFailed: the served model gave no usable answer.
    """
    waiting: deque[tuple[Batch, int, int]] = deque()
    for index, batch in enumerate(batches):
        if len(waiting) == connection.ring.shape.slots:
            yield _take(connection, *waiting.popleft())
        slot = index % connection.ring.shape.slots
        waiting.append((batch, slot, _send(connection, batch, slot)))
    while waiting:
        yield _take(connection, *waiting.popleft())


def _send(connection: Connection, batch: Batch, slot: int) -> int:
    rows = len(batch.windows)
    connection.ring.windows(slot)[:rows] = batch.windows
    if batch.positions is None:
        return connection.ask(Kind.EVERY_POSITION, slot, rows)
    connection.ring.positions(slot)[:rows] = batch.positions
    return connection.ask(Kind.ONE_POSITION, slot, rows)


def _take(connection: Connection, batch: Batch, slot: int, number: int) -> torch.Tensor:
    connection.wait(number)
    logits = connection.ring.logits(slot, batch.targets.numel())
    return negative_log_likelihoods(logits, batch.targets.reshape(-1)).view(batch.targets.shape)
