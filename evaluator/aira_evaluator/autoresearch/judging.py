"""The trusted score of a served model: prefixes first, in a container of their own, then the parallel pass.

Two predict containers connect one after the other, at two sockets. The first sees prefixes only and is gone before
the second sees whole rows: nothing that remembers rows can have answered for prefixes, and nothing that knows which
prefixes were asked for answers for rows. Tickets keep a first one that will not go from answering for the second.

    score = (nats of the parallel pass + scored tokens * charge) / (ln 2 * bytes)

Not covered: starting and ending those containers, which the host does, and what is written about the result
(`commands`).
"""

import hashlib
import time
from collections.abc import Mapping
from dataclasses import asdict, dataclass
from pathlib import Path

import numpy as np
import numpy.typing as npt
import torch

from aira_evaluator.autoresearch.audit import (
    Charge,
    Floats,
    ask_again,
    ask_prefixes,
    ask_spliced,
    charge,
    draw_probes,
    largest_possible_gain,
)
from aira_evaluator.autoresearch.conversation import Connection, Deadlines, accepted
from aira_evaluator.autoresearch.hidden import HiddenRows
from aira_evaluator.autoresearch.nats import bits_per_byte
from aira_evaluator.autoresearch.passes import Batch, answers
from aira_evaluator.autoresearch.ring import RingShape, rows_that_fit
from aira_evaluator.autoresearch.rules import Rules

PREFIX_SOCKET = "prefixes.sock"
ROWS_SOCKET = "rows.sock"
LOOKS_AHEAD = "looks_ahead"
SUFFIX_DEPENDENT = "depends_on_suffix"
COMPANY_DEPENDENT = "depends_on_company"
SLOW = "slow_to_serve"
_START_S = 60.0
"""For starting a container and its interpreter on a busy machine."""


@dataclass(frozen=True)
class Meeting:
    """Where predictors connect, and how they are told apart."""

    folder: Path
    """Where the sockets will be."""
    tickets: tuple[str, str]
    """Which the host gave to the first and to the second predictor, and to nobody else."""


@dataclass(frozen=True)
class SplitResult:
    """One split's numbers."""

    bpb: float
    """The score: bits per byte with the charge."""
    parallel_bpb: float
    charged_bpb: float
    residual_bpb: float
    nats: float
    """Of the parallel pass, over scored tokens."""
    tokens: int
    """Scored ones."""
    bytes: int
    audit: Charge

    def details(self) -> dict[str, object]:
        """Plain values for a report."""
        return asdict(self)


@dataclass(frozen=True)
class Judgement:
    """Everything a judge found."""

    splits: Mapping[str, SplitResult]
    flags: tuple[str, ...]
    differences: Mapping[str, Mapping[str, float]]
    """Of every check: how many predictions were compared, the largest difference, and the share beyond drift."""
    seconds: Mapping[str, float]


def secret_rng(seed: int, handover_sha256: str) -> np.random.Generator:
    """The generator behind order and choice of everything asked.

    It depends on a hidden seed and on the handed-over bytes: the same model is asked the same questions, and no
    submission learns from an earlier one's score which questions it will get.
    """
    digest = hashlib.sha256(f"{seed}:{handover_sha256}".encode()).digest()
    return np.random.default_rng(int.from_bytes(digest[:16], "big"))


def judge(
    meeting: Meeting, hidden: HiddenRows, rules: Rules, seed_set: str, rng: np.random.Generator, lifetime_s: float
) -> Judgement:
    """Score the model behind the two predictors that will connect.

    Args:
        meeting: with those two.
        hidden: rows and byte lengths.
        rules: sizes, tolerances, deadlines.
        seed_set: decides how many probes there are.
        rng: behind everything that is drawn; see `secret_rng`.
        lifetime_s: after which the host ends a predictor. The second can come that late, if the first will not go.

    Raises:
        PredictorFailed: the model gave no usable answer; the submission is invalid.
        TimeoutError: a predict container did not come up.
    """
    rows = min(rules.most_rows, rows_that_fit(rules.ring_mib, rules.slots, hidden.tokens, hidden.vocabulary))
    shape = RingShape(rules.slots, rows, hidden.tokens, hidden.vocabulary)
    deadlines = Deadlines(lifetime_s + _START_S, rules.load_s, rules.request_s, lifetime_s)
    clock = _Clock()
    probes = {split: draw_probes(hidden, split, rules.probes[seed_set], rng) for split in hidden.splits}
    with accepted(meeting.folder / PREFIX_SOCKET, meeting.tickets[0], shape, deadlines) as connection:
        clock.lap("load")
        by_prefix = {split: ask_prefixes(connection, hidden, probes[split], rng) for split in hidden.splits}
        clock.lap("prefixes")
        prompt = is_prompt(connection.waited_s, sum(map(len, probes.values())), rules)
    with accepted(meeting.folder / ROWS_SOCKET, meeting.tickets[1], shape, deadlines) as connection:
        clock.lap("load_again")
        parallel = parallel_pass(connection, hidden, rng)
        clock.lap("rows")
        at_cut, before_cut = ask_spliced(connection, hidden, parallel, rules.splices, rng)
        again = ask_again(connection, hidden, parallel, rules.requeries, rng)
        clock.lap("splices_and_requeries")
    in_parallel = {split: parallel[found.rows, found.positions] for split, found in probes.items()}
    gains = [by_prefix[split].astype(np.float64) - in_parallel[split] for split in hidden.splits]
    possible = largest_possible_gain([*gains, at_cut, before_cut], rules.tolerance, hidden.vocabulary)
    checks = {"prefix": np.concatenate(gains), "cut": at_cut, "before_cut": before_cut, "again": again}
    return Judgement(
        splits={
            split: _result(hidden, split, parallel, charge(by_prefix[split], in_parallel[split], possible, rules))
            for split in hidden.splits
        },
        flags=(*flags_of(checks, rules), *([] if prompt else [SLOW])),
        differences={name: _summary(found, rules.tolerance.drift) for name, found in checks.items()},
        seconds=clock.laps,
    )


def parallel_pass(connection: Connection, hidden: HiddenRows, rng: np.random.Generator) -> npt.NDArray[np.float32]:
    """Nats of every target of every row, [rows, T], asked in random order and company."""
    step = connection.ring.shape.rows
    order = rng.permutation(len(hidden.rows))
    parts = [order[start : start + step] for start in range(0, len(order), step)]
    batches = (Batch(torch.from_numpy(hidden.windows(part)), torch.from_numpy(hidden.targets(part))) for part in parts)
    nats = np.empty((len(hidden.rows), hidden.tokens), dtype=np.float32)
    for part, found in zip(parts, answers(connection, batches), strict=True):
        nats[part] = found.numpy()
    return nats


def flags_of(checks: Mapping[str, Floats], rules: Rules) -> tuple[str, ...]:
    """What is more than rounding in the differences of each check."""
    fired = {name for name, found in checks.items() if rules.tolerance.is_exceeded(found)}
    meanings = {LOOKS_AHEAD: {"prefix"}, SUFFIX_DEPENDENT: {"cut", "before_cut"}, COMPANY_DEPENDENT: {"again"}}
    return tuple(flag for flag, names in meanings.items() if fired & names)


def is_prompt(waited_s: float, probes: int, rules: Rules) -> bool:
    """Whether a predictor of prefixes took no longer than one that only serves.

    It is code with a deadline of its own: it could bring training data along and train until it must answer. The one
    of rows need not be timed, since no score is better than what was predicted for prefixes.
    """
    return waited_s <= rules.prompt_s + rules.prompt_probe_s * probes


def _result(hidden: HiddenRows, split: str, parallel: npt.NDArray[np.float32], audit: Charge) -> SplitResult:
    place = hidden.splits[split]
    scored = hidden.is_scored()[place]
    nats = float(parallel[place][scored].sum(dtype=np.float64))
    tokens, total_bytes = int(scored.sum()), hidden.scored_bytes(split)
    plain = bits_per_byte(nats, total_bytes)
    charged = bits_per_byte(tokens * audit.charged, total_bytes)
    residual = bits_per_byte(tokens * audit.residual, total_bytes)
    return SplitResult(plain + charged, plain, charged, residual, nats, tokens, total_bytes, audit)


def _summary(found: Floats, drift: float) -> dict[str, float]:
    sizes = np.abs(found)
    return {
        "compared": len(sizes),
        "largest": float(sizes.max(initial=0.0)),
        "share_beyond_drift": float((sizes > drift).mean()) if len(sizes) else 0.0,
    }


class _Clock:
    """Seconds from one lap to the next."""

    def __init__(self) -> None:
        self.laps: dict[str, float] = {}
        self._last_s = time.monotonic()

    def lap(self, name: str) -> None:
        now_s = time.monotonic()
        self.laps[name] = round(now_s - self._last_s, 3)
        self._last_s = now_s
