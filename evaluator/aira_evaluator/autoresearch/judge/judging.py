"""The trusted score of a served model: an estimate from its predictions for prefixes, which is all it is ever shown.

Predict containers connect one after the other, each at a socket of its own, and each is asked only what is its share:
`questions` deals rows to containers. In one container a row's shorter prefixes are answered before a longer one is
sent. So at no time does a process hold a token that it, or one after it, has yet to predict.

When all of that is answered, and there is time, the last of them is asked about public rows, on which a script claimed
a number. They are asked last and have no say: who does not answer there has no public number and the same score.

Not covered: starting and ending those containers, which the host does, and what is written about the result
(`evaluate`).
"""

import time
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from itertools import zip_longest
from pathlib import Path

import numpy as np

from aira_evaluator.autoresearch.contract.hidden_rows import HiddenSet, PublicSplit
from aira_evaluator.autoresearch.judge.asking import Floats, Indices, admitted_step, ask
from aira_evaluator.autoresearch.judge.estimator import Estimate, estimate
from aira_evaluator.autoresearch.judge.questions import Questions
from aira_evaluator.autoresearch.judge.rules import Rules
from aira_evaluator.autoresearch.wire.connection import Connection, Deadlines, PredictorFailed, accepted
from aira_evaluator.autoresearch.wire.shared_memory import MemoryShape

SLOW = "slow_to_serve"
_START_S = 60.0
"""For starting a container and its interpreter on a busy machine."""
_NONE: Indices = np.empty(0, dtype=np.int64)


_PUBLIC_SHARE = 0.8
"""Of a predictor's life: public rows are asked about within it, so that the host ends nobody for them."""
_PUBLIC_PACE = 2.0
"""How many times longer than the hidden questions, one for one, the public ones may take to be begun."""


@dataclass(frozen=True)
class PublicQuestions:
    """What a model is asked about the public rows, and what our references say of them."""

    split: PublicSplit
    asked: Questions


@dataclass(frozen=True)
class Judgement:
    """What a judge found of a served model: an estimate for each split, flags, and times."""

    splits: Mapping[str, Estimate]
    public: Estimate | None
    """Of the public rows; None where they were not asked about, or not answered."""
    flags: tuple[str, ...]
    window_step: int
    """Windows had a multiple of so many tokens; the length of a row if the model takes no others."""
    seconds: Mapping[str, float]
    """In all, by container; and what the judge waited: `longest_answer` and `answers`, loading included."""


def judge(
    sockets: Sequence[Path],
    hidden: HiddenSet,
    questions: Mapping[str, Questions],
    rules: Rules,
    rng: np.random.Generator,
    lifetime_s: float,
    stretch: float = 1.0,
    public: PublicQuestions | None = None,
) -> Judgement:
    """Score the model behind the predictors that will connect.

    Args:
        sockets: where to wait for each of them, at least as many as the questions are dealt to.
        hidden: rows, and what our references say of them.
        questions: of each split.
        rules: sizes and deadlines.
        rng: makes up the prefixes by which the length of windows is decided.
        lifetime_s: after which the host ends a predictor. The next can come that late, if one will not go.
        stretch: how many times longer than alone everything takes now.
        public: what is asked about public rows, in the end.

    Raises:
        PredictorFailed: the model gave no usable answer; the submission is invalid.
        TimeoutError: a predict container did not come up.
    """
    some = next(iter(hidden.splits.values()))
    shape = MemoryShape(rules.batch_rows, some.tokens.shape[1] - 1, len(some.lengths))
    limits_s = (lifetime_s + _START_S, rules.load_s, rules.request_s, lifetime_s)
    deadlines = Deadlines(*(stretch * each for each in limits_s))
    # NaN until answered: a question that no container was asked would show, and not count as free.
    nats = {split: np.full(len(asked), np.nan) for split, asked in questions.items()}
    step, waits, seconds = 0, list[float](), dict[str, float]()
    started_s, count, of_public = time.monotonic(), sum(map(len, questions.values())), None
    last = max(int(asked.container.max()) for asked in questions.values())
    for container in range(1 + last):
        began_s = time.monotonic()
        with accepted(sockets[container], shape, deadlines) as connection:
            step = step or admitted_step(connection, rules.length_step, rng)
            _ask_all(connection, hidden, questions, container, step, nats)
            waits += [sum(connection.waited_s[:2]), *connection.waited_s[2:]]  # loading and the first answer are one
            seconds[f"predict_{container + 1}"] = round(time.monotonic() - began_s, 3)
            if public is not None and container == last:
                left_s = _PUBLIC_SHARE * lifetime_s - (time.monotonic() - started_s)
                of_public = _asked_openly(connection, public, step, left_s, sum(waits) / count)
                seconds["public"] = round(time.monotonic() - began_s - seconds[f"predict_{container + 1}"], 3)
    seconds |= {"longest_answer": round(max(waits), 3), "answers": round(sum(waits), 3)}
    # One slow answer may be a busy machine; the sum bounds what a model could learn between many quick ones.
    allowed_s = rules.answer_s + rules.question_s * count
    return Judgement(
        {name: estimate(asked, nats[name], hidden.references[name]) for name, asked in questions.items()},
        of_public,
        (SLOW,) if max(waits) > stretch * rules.answer_s or sum(waits) > stretch * allowed_s else (),
        step,
        seconds,
    )


def _ask_all(
    connection: Connection,
    hidden: HiddenSet,
    questions: Mapping[str, Questions],
    container: int,
    step: int,
    nats: Mapping[str, Floats],
) -> None:
    """Put every answer of one container where its question is; rounds of all splits together fill batches better."""
    for parts in zip_longest(*(asked.rounds(container) for asked in questions.values()), fillvalue=_NONE):
        of_splits = dict(zip(questions, parts, strict=True))
        rows = np.concatenate(
            [hidden.splits[name].tokens[questions[name].row[part]] for name, part in of_splits.items()]
        )
        positions = np.concatenate([questions[name].position[part] for name, part in of_splits.items()])
        found = np.split(ask(connection, rows, positions, step), np.cumsum([len(part) for part in parts])[:-1])
        for (name, part), values in zip(of_splits.items(), found, strict=True):
            nats[name][part] = values


def _asked_openly(
    connection: Connection, public: PublicQuestions, step: int, left_s: float, question_s: float
) -> Estimate | None:
    """The estimate of the public rows, from a model that has no hidden question left to answer.

    Args:
        connection: with the model, which may not answer any more.
        public: what is asked.
        step: of the lengths of windows.
        left_s: after which no answer counts.
        question_s: what a hidden question took.
    """
    asked, rows = public.asked, public.split.rows
    if left_s < _PUBLIC_PACE * question_s * len(asked):
        return None
    connection.end_within(left_s)
    nats = np.full(len(asked), np.nan)
    try:
        for part in asked.rounds(0):
            nats[part] = ask(connection, rows.tokens[asked.row[part]], asked.position[part], step)
    except PredictorFailed:
        return None
    return estimate(asked, nats, public.split.references)
