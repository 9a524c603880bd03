"""The progress bar: a line every tenth where output is kept, one redrawn line on a terminal."""

import io

from aira_evaluator.lra.prepare.progress import ProgressBar


class Terminal(io.StringIO):
    def isatty(self) -> bool:
        return True


def test_kept_output_gets_a_line_every_tenth() -> None:
    stream = io.StringIO()
    bar = ProgressBar("work", 2000, stream)
    for done in range(0, 2001, 10):
        bar(done)
    lines = stream.getvalue().splitlines()
    assert len(lines) == 11
    assert lines[-1] == "work: 2,000 of 2,000"


def test_a_terminal_sees_one_line_redrawn_and_ended() -> None:
    stream = Terminal()
    bar = ProgressBar("work", 300, stream)
    for done in range(1, 301):
        bar(done)
    assert stream.getvalue().count("\n") == 1
    assert stream.getvalue().endswith(f"\rwork [{'#' * 30}] 300 of 300\n")


def test_nothing_to_do_is_no_division_by_zero() -> None:
    stream = io.StringIO()
    ProgressBar("work", 0, stream)(0)
    assert stream.getvalue() == "work: 0 of 0\n"
