"""How a training went: a bounded series of points, which a judge puts into its report and the host keeps with a score.

Written by judges (`reports.Report`), read and checked by the host. What a training script tells of itself is of the
same form, and is never the judge's word. Not covered: who may be believed what, which is for whoever keeps a series.
"""

import math
from collections.abc import Iterable, Sequence
from itertools import pairwise
from typing import NamedTuple

MOST_POINTS = 64
"""As many as a curve of a page shows. A line of a score with so many takes 2.5 KB, and boards read all of them."""
_DIGITS = 6
"""Significant digits of a loss; more than any two trainings have in common."""
_TIME_DECIMALS = 3
_MOST = 10**15
"""Of steps and of tokens: whole numbers that every reader's floats hold."""


class TrainingPoint(NamedTuple):
    """One point of a training's curve."""

    step: int
    """Optimizer steps done; the first point is of step 1 or later."""
    loss: float
    """In nats: the mean over steps since the point before, or of the step alone, as whoever wrote the series says."""
    tokens: int | None
    """Positions of sequences trained on until then, a position counted each time. None where unknown."""
    seconds: float | None
    """Since the training began, what its judge does in between included. None where unknown."""


Series = tuple[TrainingPoint, ...]


def thinned(points: Sequence[TrainingPoint], most: int = MOST_POINTS) -> Series:
    """Return at most `most` (2 or more) of some points, evenly spread by their number; the first and the last stay."""
    count = len(points)
    if count <= most:
        return tuple(points)
    return tuple(points[index * (count - 1) // (most - 1)] for index in range(most))


def series_of(points: Iterable[TrainingPoint]) -> Series:
    """Return a series as reports hold it: up to the first loss that is not finite, thinned and rounded."""
    known: list[TrainingPoint] = []
    for point in points:
        if not math.isfinite(point.loss):
            break
        known.append(point)
    return tuple(
        point._replace(
            loss=float(f"{point.loss:.{_DIGITS}g}"),
            seconds=None if point.seconds is None else round(point.seconds, _TIME_DECIMALS),
        )
        for point in thinned(known)
    )


def require_series(points: Sequence[TrainingPoint]) -> None:
    """Check a series that somebody else wrote: bounds, finite numbers, and an order that a training can have.

    Raises:
        ValueError: it is none.
    """
    if len(points) > MOST_POINTS:
        raise ValueError(f"a series of {len(points)} points, at most {MOST_POINTS} are kept")
    if not all(math.isfinite(point.loss) and math.isfinite(point.seconds or 0.0) for point in points):
        raise ValueError("a point of a series is not finite")
    for name, values, least in (
        ("steps", [point.step for point in points], 1),
        ("tokens", [point.tokens for point in points if point.tokens is not None], 0),
        ("seconds", [point.seconds for point in points if point.seconds is not None], 0),
    ):
        strictly = name == "steps"
        if any(later < earlier + strictly for earlier, later in pairwise(values)):
            raise ValueError(f"the {name} of a series do not rise")
        if values and not least <= values[0] <= values[-1] <= _MOST:
            raise ValueError(f"the {name} of a series are out of bounds")
