"""Does a served model use only what stands before a token? Questions that answer it, and what the answers cost.

Targets of a language model are its next inputs, so one parallel pass shows every target to whoever wants to look. The
audit asks for some predictions with nothing but their prefixes, in a container that never saw more, and compares.
Then, in the container of the parallel pass, it replaces the ends of rows by ends of other rows, where a look-ahead of
one token shows at the cut, and repeats some rows in other company, where memory and batch effects show.

Only the first of the three moves a score: every scored token is charged an upper bound of the mean gain, so that a
model that looks ahead ends where it would be without, or above. The others set flags, and tell the bound how large a
gain can be.

Not covered: looking ahead at fewer positions than the sample can see; `Charge.residual` says what that can be worth.
"""

import math
from collections.abc import Iterator, Sequence
from dataclasses import dataclass

import numpy as np
import numpy.typing as npt
import torch

from aira_evaluator.autoresearch.bounds import unseen_fraction, upper_mean_bound
from aira_evaluator.autoresearch.conversation import Connection
from aira_evaluator.autoresearch.hidden import HiddenRows
from aira_evaluator.autoresearch.passes import Batch, answers
from aira_evaluator.autoresearch.rules import Rules, Tolerance

Floats = npt.NDArray[np.float64]
Indices = npt.NDArray[np.int64]
_ROUNDING_FACTOR = 2.0
"""Where no prediction jumped, gains are taken to be at most this often the largest difference seen."""


@dataclass(frozen=True)
class Probes:
    """Targets that are asked for by their prefixes: row and index among the row's targets, [n] each."""

    rows: Indices
    positions: Indices

    def __len__(self) -> int:
        return len(self.rows)


@dataclass(frozen=True)
class Charge:
    """What a split's prefix audit found. Nats are per scored token."""

    probes: int
    mean_gain: float
    """How much better the parallel pass was, signed."""
    largest_gain: float
    share_beyond_drift: float
    charged: float
    """Added to every scored token: the upper bound of the mean gain, at least 0."""
    residual: float
    """What a model can gain at so few positions that a sample of this size misses them all in 1 of 20 audits."""


def draw_probes(hidden: HiddenRows, split: str, count: int, rng: np.random.Generator) -> Probes:
    """Scored targets of a split, uniformly, none twice; all of them where there are fewer than `count`."""
    place = hidden.splits[split]
    rows, positions = np.nonzero(hidden.is_scored()[place])
    chosen = rng.choice(len(rows), size=min(count, len(rows)), replace=False)
    return Probes(rows[chosen] + place.start, positions[chosen])


def ask_prefixes(
    connection: Connection, hidden: HiddenRows, probes: Probes, rng: np.random.Generator
) -> npt.NDArray[np.float32]:
    """Nats of each probe, [n], from a predictor that gets prefixes only.

    What comes after a prefix is filled with the row's first token, so windows keep their length and say nothing but
    how long the prefix is. A row's shorter prefixes are answered before a longer one is sent.
    """
    nats = np.empty(len(probes), dtype=np.float32)
    for indices in _rounds(probes, rng):
        parts = np.split(indices, range(connection.ring.shape.rows, len(indices), connection.ring.shape.rows))
        batches = (_prefix_batch(hidden, probes.rows[part], probes.positions[part]) for part in parts)
        for part, found in zip(parts, answers(connection, batches), strict=True):
            nats[part] = found.numpy()
    return nats


def _rounds(probes: Probes, rng: np.random.Generator) -> Iterator[Indices]:
    """Indices of probes in rounds: the n-th round has the n-th shortest prefix of each row, in random order."""
    order = np.lexsort((probes.positions, probes.rows))
    rows = probes.rows[order]
    first_of_row = np.flatnonzero(np.r_[True, rows[1:] != rows[:-1]]) if len(rows) else np.empty(0, dtype=np.int64)
    rank = np.arange(len(rows)) - np.repeat(first_of_row, np.diff(np.r_[first_of_row, len(rows)]))
    for number in range(int(rank.max(initial=-1)) + 1):
        yield rng.permutation(order[rank == number])


def _prefix_batch(hidden: HiddenRows, rows: Indices, positions: Indices) -> Batch:
    windows = hidden.windows(rows)
    after = np.arange(hidden.tokens)[None, :] > positions[:, None]
    windows = np.where(after, windows[:, :1], windows)
    targets = hidden.rows[rows, positions + 1].astype(np.int64)
    return Batch(torch.from_numpy(windows), torch.from_numpy(targets), torch.from_numpy(positions.astype(np.int32)))


def ask_spliced(
    connection: Connection, hidden: HiddenRows, parallel: npt.NDArray[np.float32], count: int, rng: np.random.Generator
) -> tuple[Floats, Floats]:
    """Differences in nats (spliced less parallel) before cuts: at the last position before each, and at all earlier.

    Every row that is drawn keeps its beginning and gets another row's ending. Nothing before the cut may change.
    """
    drawn = rng.choice(len(hidden.rows), size=min(count, len(hidden.rows)), replace=False)
    others = (drawn + rng.integers(1, len(hidden.rows), size=len(drawn))) % len(hidden.rows)
    cuts = rng.integers(1, hidden.tokens, size=len(drawn))
    kept = np.arange(hidden.tokens)[None, :] < cuts[:, None]
    windows = np.where(kept, hidden.windows(drawn), hidden.windows(others))
    nats = _ask_windows(connection, windows, hidden.targets(drawn))
    differences = nats.astype(np.float64) - parallel[drawn]
    at_cut = np.arange(hidden.tokens)[None, :] == cuts[:, None] - 1
    return differences[at_cut], differences[kept & ~at_cut]


def ask_again(
    connection: Connection, hidden: HiddenRows, parallel: npt.NDArray[np.float32], count: int, rng: np.random.Generator
) -> Floats:
    """Differences in nats (later less first) of rows asked again unchanged, in another order and other company."""
    drawn = rng.choice(len(hidden.rows), size=min(count, len(hidden.rows)), replace=False)
    nats = _ask_windows(connection, hidden.windows(drawn), hidden.targets(drawn))
    return (nats.astype(np.float64) - parallel[drawn]).ravel()


def _ask_windows(
    connection: Connection, windows: npt.NDArray[np.int32], targets: npt.NDArray[np.int64]
) -> npt.NDArray[np.float32]:
    step = connection.ring.shape.rows
    batches = (
        Batch(torch.from_numpy(windows[start : start + step]), torch.from_numpy(targets[start : start + step]))
        for start in range(0, len(windows), step)
    )
    found: npt.NDArray[np.float32] = torch.cat(list(answers(connection, batches))).numpy()
    return found


def largest_possible_gain(differences: Sequence[Floats], tolerance: Tolerance, vocabulary: int) -> float:
    """What one position can have gained, in nats, given everything that was seen.

    Rounding is of one size, so twice the largest difference bounds it. A model that has jumped once may gain
    anything up to what an uninformed guess costs, and twice that to be safe.
    """
    seen = max((float(np.abs(part).max()) for part in differences if part.size), default=0.0)
    if seen > tolerance.jump:
        return max(2 * math.log(vocabulary), _ROUNDING_FACTOR * seen)
    return _ROUNDING_FACTOR * seen


def charge(
    prefix: npt.NDArray[np.float32], parallel: npt.NDArray[np.float32], possible_gain: float, rules: Rules
) -> Charge:
    """What a split owes, from the nats of its probes by prefix and in the parallel pass, [n] each."""
    gains = prefix.astype(np.float64) - parallel.astype(np.float64)
    charged = upper_mean_bound(gains, possible_gain, rules.confidence) if possible_gain > 0 else 0.0
    unseen = unseen_fraction(len(gains), rules.confidence)
    dearest = np.sort(prefix.astype(np.float64))[-max(1, math.ceil(unseen * len(gains))) :]
    return Charge(
        probes=len(gains),
        mean_gain=float(gains.mean()),
        largest_gain=float(gains.max()),
        share_beyond_drift=float((np.abs(gains) > rules.tolerance.drift).mean()),
        charged=charged,
        residual=unseen * float(dearest.mean()),
    )
