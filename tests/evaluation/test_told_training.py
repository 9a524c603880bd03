"""What scripts print of their trainings: lines as scripts write them, and lines that try to break the reader."""

import hashlib
import time

import pytest
from hypothesis import given
from hypothesis import strategies as st

from aira_bench.evaluation.told_training import told_series
from aira_bench.output import CapturedOutput
from aira_contract.training_series import MOST_POINTS, require_series


def captured(head: bytes, tail: bytes = b"") -> CapturedOutput:
    data = head + tail
    return CapturedOutput(head, tail, len(data), hashlib.sha256(data).hexdigest())


def told(head: bytes, tail: bytes = b"", stderr: bytes = b"") -> list[tuple[int, float, int | None]]:
    series = told_series(captured(head, tail), captured(stderr))
    require_series(series)
    return [(point.step, point.loss, point.tokens) for point in series]


@pytest.mark.parametrize(
    ("line", "point"),
    [
        (b"step    12    5 %  loss 3.1250  epoch 1", (12, 3.125, None)),  # as the shipped script has it
        (
            b"step 00120 (5.0%) | loss: 3.210000 | lrm: 1.00 | dt: 33ms | tok/sec: 1,234,567 | epoch: 1",
            (120, 3.21, None),
        ),
        (b"iter 7: train loss 2.5e0, val loss 9.0", (7, 2.5, None)),
        (b"[2026-01-01] step=3 train_loss=1.5 tokens=98304", (3, 1.5, 98304)),
        (b"Step 40/1000 - training loss = 4 - tokens seen 1,048,576", (40, 4.0, 1048576)),
        (b"step 5 val loss 3.0", None),
        (b"step 5 val_loss: 3.0", None),
        (b"validation loss 3.0 at step 5", None),
        (b"step 0 loss 9.0", None),  # before the first step there is no step
        (b"step 5 loss nan", None),
        (b"step 5 loss inf", None),
        (b"step 5 loss 1.5.2", None),
        (b"step -5 loss 1.5", None),
        (b"time_step 5 lossless 1.5", None),
        (b"step 5", None),
        (b"loss 5", None),
        ("step \u0665 loss \u0665".encode(), None),
        (b"x" * 500 + b" step 5 loss 1.5", None),
    ],
)
def test_a_line_is_a_point_or_none(line: bytes, point: tuple[int, float, int | None] | None) -> None:
    assert told(line + b"\n") == ([] if point is None else [point])


def test_bars_of_progress_are_lines_and_stdout_counts_first() -> None:
    assert told(b"", stderr=b"step 1 loss 3\rstep 2 loss 2\r") == [(1, 3.0, None), (2, 2.0, None)]
    assert told(b"step 9 loss 1\n", stderr=b"step 1 loss 3\n") == [(9, 1.0, None)]


def test_the_last_training_counts_and_a_step_is_told_once() -> None:
    lines = b"step 1 loss 9\nstep 2 loss 8\nstep 1 loss 3\nstep 1 loss 7\nstep 2 loss 2\n"
    assert told(lines) == [(1, 3.0, None), (2, 2.0, None)]


def test_lines_that_were_cut_are_none() -> None:
    assert told(b"step 1 loss 3.5\nstep 2 loss 3.", b"99 step 8 loss 2.25\nstep 9 loss 1.5\n") == [
        (1, 3.5, None), (9, 1.5, None),
    ]  # fmt: skip


def test_counts_of_tokens_that_fall_are_left_out() -> None:
    assert told(b"step 1 loss 3 tokens 20\nstep 2 loss 2 tokens 10\nstep 3 loss 1 tokens 30\n") == [
        (1, 3.0, 20), (2, 2.0, None), (3, 1.0, 30),
    ]  # fmt: skip


def test_many_lines_are_thinned_and_quickly_read() -> None:
    flood = b"".join(b"step %d loss %d tokens %d\n" % (at, at, at) for at in range(1, 5000))
    began_s = time.process_time()
    points = told(flood)
    for hostile in (b"loss " * 13_000, b"step " * 13_000, b"step 1 loss " + b"1" * 65_000, b"\r" * 65_536, b"a" * 65_536,
                    b"train " * 60 + b"\n", (b"tokens 1,111" * 30 + b"\n") * 150):  # fmt: skip
        assert told(hostile, hostile, hostile) == []
    assert time.process_time() - began_s < 5
    assert len(points) == MOST_POINTS
    assert (points[0], points[-1]) == ((1, 1.0, 1), (4999, 4999.0, 4999))


@given(st.lists(st.sampled_from([b"step ", b"loss ", b"tokens ", b"1", b"99999999999", b"1e99", b".", b",", b"-", b"\n", b"\r", b" ",
                                 b"\xff", b"nan"]), max_size=60), st.binary(max_size=50))  # fmt: skip
def test_whatever_is_printed_a_series_is_one(parts: list[bytes], tail: bytes) -> None:
    told(b"".join(parts), tail)
