"""Which positions are asked: repeatable, uniform, in an order that never shows a target before it is predicted."""

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from aira_evaluator.autoresearch.contract.hidden_rows import SplitRows
from aira_evaluator.autoresearch.judge.questions import Questions, draw_questions

VOCABULARY = 11
BOS = VOCABULARY - 1
LENGTHS = np.r_[np.ones(BOS, dtype=np.int64), 0]


def split_rows(rows: int, tokens: int, rows_drawn: int, name: str = "test", seed: int = 0) -> SplitRows:
    drawn = np.random.default_rng(seed).integers(0, VOCABULARY, (rows, tokens + 1)).astype(np.uint16)
    drawn[:, 0] = BOS
    return SplitRows(name, drawn, LENGTHS, np.arange(rows) % 3, rows_drawn)


def asked(questions: Questions) -> set[tuple[int, int]]:
    return set(zip(questions.row.tolist(), questions.position.tolist(), strict=True))


def test_the_same_submission_is_asked_the_same_and_another_one_anew() -> None:
    split, other = split_rows(30, 20, 10), split_rows(30, 20, 10, name="validation")
    questions = asked(draw_questions(split, b"secret", "a" * 64, 50))
    assert questions == asked(draw_questions(split, b"secret", "a" * 64, 50))
    others = [
        asked(draw_questions(split, b"secret", "b" * 64, 50)),
        asked(draw_questions(split, b"other", "a" * 64, 50)),
        asked(draw_questions(other, b"secret", "a" * 64, 50)),
    ]
    assert all(len(questions & found) < 25 for found in others)


@given(rows=st.integers(1, 12), tokens=st.integers(1, 9), share=st.floats(0.01, 1), count=st.integers(1, 60))
@settings(max_examples=60, deadline=None)
def test_questions_are_scored_targets_of_the_drawn_rows_none_twice(
    rows: int, tokens: int, share: float, count: int
) -> None:
    split = split_rows(rows, tokens, max(1, int(share * rows)), seed=rows * 100 + tokens)
    if not split.bytes_of_targets().any(axis=1).all():
        return  # a row of nothing but beginnings of documents
    questions = draw_questions(split, b"secret", "0" * 64, count)
    assert len(questions) == len(asked(questions)) == min(count, questions.targets_drawn)
    assert len(set(questions.row.tolist())) <= questions.rows_drawn == split.rows_drawn
    assert questions.rows_in_pool == rows
    assert (questions.position >= 1).all(), "a prefix has at least one token"
    assert (LENGTHS[split.tokens[questions.row, questions.position]] > 0).all(), "targets without bytes are not scored"
    assert (questions.container == split.containers[questions.row]).all()


@given(seed=st.integers(0, 10**6))
@settings(max_examples=30, deadline=None)
def test_no_prefix_is_sent_before_the_shorter_ones_of_its_row_were_answered(seed: int) -> None:
    questions = draw_questions(split_rows(9, 20, 9), seed.to_bytes(4, "big"), "0" * 64, 80)
    told: list[int] = []
    for container in range(3):
        reached = dict.fromkeys(range(9), 0)
        for part in questions.rounds(container):
            rows = questions.row[part].tolist()
            assert len(rows) == len(set(rows)), "two questions of a round could show each other's target"
            for index in part.tolist():
                row, position = int(questions.row[index]), int(questions.position[index])
                assert position > reached[row]
                reached[row] = position
            told += part.tolist()
    assert sorted(told) == list(range(80))


@pytest.mark.parametrize("rows_drawn", [6, 2])
def test_every_scored_target_is_asked_equally_often(rows_drawn: int) -> None:
    split, draws, count = split_rows(6, 8, rows_drawn), 4000, 5
    # Rows of as many scored targets, so that the probability is K / N whatever rows are drawn.
    split.tokens[:, 1:] = np.where(split.tokens[:, 1:] == BOS, 0, split.tokens[:, 1:])
    times = np.zeros((6, 9))
    for draw in range(draws):
        questions = draw_questions(split, b"secret", str(draw), count)
        times[questions.row, questions.position] += 1
    expected = draws * count / 48
    spread = np.sqrt(expected * (1 - count / 48))
    assert (times[:, 0] == 0).all()
    assert np.abs(times[:, 1:] - expected).max() < 4 * spread
