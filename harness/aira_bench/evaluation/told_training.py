"""What a training script tells of its training in the lines that it prints: steps, losses and tokens.

A line counts if it names a step and a loss, as `step 120  5 %  loss 3.21` or `step 00120 | loss: 3.21 | ...` do. All of
it is the agent's word: it is kept as claimed, and nothing is computed from it. Only what the engine kept of the output
is read, its beginning and its end, so a long training has a gap in its curve.

Not covered: the score that a script claims (`claim`), and losses on validation rows, which are passed over.
"""

import re
from collections.abc import Iterator, Sequence

from aira_bench.output import CapturedOutput
from aira_contract.training_series import Series, TrainingPoint, series_of

_ENDS = re.compile(rb"[\r\n]+")
_MOST_LINE_BYTES = 400
"""Of a line that is looked at; longer ones are no line of progress."""
_NUMBER = rb"(\d{1,9}(?:\.\d{1,12})?(?:e[+-]?\d{1,2})?)(?![\w.])"
_STEP = re.compile(rb"(?<![\w-])(?:step|iter|iteration)[ :=#\[]{0,8}(\d{1,9})(?![\w.])", re.IGNORECASE)
_LOSS = re.compile(rb"(?<![\w-])((?:[a-z]{1,12}[ _-])?)loss[ :=]{0,8}" + _NUMBER, re.IGNORECASE)
_TOKENS = re.compile(
    rb"(?<![\w/])tokens(?:_seen| seen)?[ :=]{0,8}(\d{1,3}(?:,\d{3}){1,4}|\d{1,15})(?![\w.,/])", re.IGNORECASE
)
_NO_TRAINING = (b"val", b"validation", b"valid", b"eval", b"test", b"dev")


def told_series(stdout: CapturedOutput, stderr: CapturedOutput) -> Series:
    """Return what a script printed of its training, thinned; empty where it printed nothing of the kind.

    Where steps begin anew a script trained again, and the last training counts: its model is the one handed over last.

    Args:
        stdout: of the script; what it says there counts first.
        stderr: of the script, where bars of progress go.
    """
    return series_of(_points(stdout)) or series_of(_points(stderr))


def _points(output: CapturedOutput) -> Sequence[TrainingPoint]:
    points: list[TrainingPoint] = []
    for line in _lines(output):
        point = _point(line)
        if point is None:
            continue
        if points and point.step < points[-1].step:
            points.clear()
        if points and point.step == points[-1].step:
            continue
        known = [each.tokens for each in points if each.tokens is not None]
        falls = point.tokens is not None and bool(known) and point.tokens < known[-1]
        points.append(point._replace(tokens=None) if falls else point)
    return points


def _lines(output: CapturedOutput) -> Iterator[bytes]:
    """Whole lines: those on both sides of what was not kept are left out."""
    head, tail = _ENDS.split(output.head), _ENDS.split(output.tail)
    lines = [*head[:-1], *tail[1:]] if output.tail else head
    return (line for line in lines if len(line) <= _MOST_LINE_BYTES)


def _point(line: bytes) -> TrainingPoint | None:
    step = _STEP.search(line)
    loss = next((found for found in _LOSS.finditer(line) if found[1][:-1].lower() not in _NO_TRAINING), None)
    if step is None or loss is None or int(step[1]) < 1:
        return None
    tokens = _TOKENS.search(line)
    return TrainingPoint(int(step[1]), float(loss[2]), int(tokens[1].replace(b",", b"")) if tokens else None, None)
