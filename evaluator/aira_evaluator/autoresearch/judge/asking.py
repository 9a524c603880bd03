"""Asks a predictor for predictions from prefixes: windows go out, nats of what follows come back.

A question is a row and a position in it: the predictor gets the row's tokens before that position and nothing else.
What a window has room for behind them repeats the row's first token, so it tells no more than how long the prefix is.
A window is as long as the longest prefix of its batch, in steps, if the model answers the same for such windows as for
full ones; full windows suit models of a fixed length. A batch is sent when the one before is answered.

Not covered: which questions, in which calls (`questions`, `judging`).
"""

import numpy as np
import numpy.typing as npt
import torch

from aira_evaluator.autoresearch.judge.nats import negative_log_likelihoods
from aira_evaluator.autoresearch.wire.connection import Connection, ModelRaised

Floats = npt.NDArray[np.float64]
Indices = npt.NDArray[np.int64]
_TRIED = 16
"""Made-up prefixes that are asked both ways."""
_DRIFT, _JUMP = 0.05, 0.5
"""In nats: how far the two ways may lie apart on average, and at most. Rounding in bfloat16 is a few hundredths."""


def ask(connection: Connection, rows: npt.NDArray[np.integer], positions: Indices, step: int) -> Floats:
    """Nats of the token at each position, [n].

    Args:
        connection: with a loaded predictor.
        rows: tokens, [n, T + 1], one row for each question.
        positions: of the tokens asked for, [n], from 1 to T: the predictor gets `rows[i, :positions[i]]`.
        step: windows have a multiple of so many tokens, or T.

    Raises:
        PredictorFailed: the served model gave no usable answer.
    """
    nats = np.empty(len(rows))
    order = np.argsort(positions, kind="stable")  # prefixes of about one length share a window's length
    for part in np.split(order, range(connection.memory.shape.rows, len(order), connection.memory.shape.rows)):
        nats[part] = _ask_batch(connection, rows[part], positions[part], step)
    return nats


def window_length(longest: int, step: int, tokens: int) -> int:
    """Tokens of a window for prefixes of at most `longest`: the next multiple of `step`, but no more than `tokens`."""
    return min(tokens, -(-longest // step) * step)


def _ask_batch(connection: Connection, rows: npt.NDArray[np.integer], positions: Indices, step: int) -> Floats:
    memory, count = connection.memory, len(rows)
    length = window_length(int(positions.max()), step, memory.shape.tokens)
    is_prefix = np.arange(length) < positions[:, None]
    windows = np.where(is_prefix, rows[:, :length], rows[:, :1]).astype(np.int32)
    memory.windows(count, length).copy_(torch.from_numpy(windows))
    memory.positions(count).copy_(torch.from_numpy(positions - 1))
    connection.ask(count, length)
    targets = torch.from_numpy(rows[np.arange(count), positions].astype(np.int64))
    found: Floats = negative_log_likelihoods(memory.logits(count), targets).numpy()
    return found


def admitted_step(connection: Connection, step: int, rng: np.random.Generator) -> int:
    """`step` if the model answers made-up prefixes the same in windows of such lengths as in full ones, else T.

    The tokens are random, so nothing hidden is shown. A model that answers one way here and another later has chosen
    the form in which it is asked, and with it how long that takes; nothing else depends on this.

    Raises:
        PredictorFailed: the model cannot even answer for full windows.
    """
    shape = connection.memory.shape
    rows = rng.integers(0, shape.vocabulary, (_TRIED, shape.tokens + 1))
    positions = np.linspace(1, shape.tokens, _TRIED).astype(np.int64)
    full = ask(connection, rows, positions, shape.tokens)
    try:
        alone = [ask(connection, rows[[at]], positions[[at]], step)[0] for at in range(_TRIED)]
    except ModelRaised:
        return shape.tokens
    apart = np.abs(alone - full)
    return step if apart.mean() <= _DRIFT and apart.max() <= _JUMP else shape.tokens
