"""Whether a measured value agrees with a published one, by the interval of the one and the spread of the other.

`agrees` claims two things: the published value lies within both spreads, and the interval is narrow enough to tell it
from nothing, such as a gain of 0. Without the second any two runs would agree with everything. A best of many runs has
no interval; whether the published and the measured ones could have changed places is asked instead.

Not covered: what is measured, and which runs may be compared (`paper_runs`).
"""

from dataclasses import dataclass
from enum import StrEnum
from math import hypot, prod

from aira_bench.statistics.arrays import IntervalEstimate

LEAST_SEEDS = 5
"""For a verdict from an interval: bootstrap intervals of three values hold 72 % of the time at a nominal 95 %."""
_TAIL = 0.025


class Agreement(StrEnum):
    """What is known of a published value from runs at hand."""

    AGREES = "agrees"
    DIFFERS = "differs"
    CANNOT_TELL = "cannot tell"
    NOT_COMPARABLE = "not comparable"
    """Something was measured, but of other sizes, data, budgets or agents than the published value."""
    NOT_MEASURED = "not measured"


@dataclass(frozen=True)
class JudgedAgreement:
    """A verdict and its reason."""

    agreement: Agreement
    reason: str


def judge_mean(
    published: float, half_width: float | None, measured: IntervalEstimate, nothing: float
) -> JudgedAgreement:
    """Compare a mean, share or median with its published value.

    Args:
        published: as printed.
        half_width: of the printed interval; None where none is printed.
        measured: with its interval.
        nothing: what would be measured if there were nothing to find.
    """
    if measured.count < LEAST_SEEDS or measured.low is None or measured.high is None:
        verb, seeds = ("is", "seed") if measured.count == 1 else ("are", "seeds")
        said = f"an interval needs {LEAST_SEEDS} seeds, there {verb} {measured.count} {seeds}"
        return JudgedAgreement(Agreement.CANNOT_TELL, said)
    gap = published - measured.value
    own = measured.high - measured.value if gap > 0 else measured.value - measured.low
    reach = hypot(own, half_width or 0.0)
    if abs(gap) > reach:
        return JudgedAgreement(Agreement.DIFFERS, f"{abs(gap):.4g} apart, which the spreads do not reach ({reach:.4g})")
    if measured.low <= nothing <= measured.high:
        return JudgedAgreement(Agreement.CANNOT_TELL, f"the interval holds the published value, and {nothing:g} too")
    return JudgedAgreement(Agreement.AGREES, f"{abs(gap):.4g} apart, within the spreads ({reach:.4g})")


def judge_best(
    published: float, published_runs: int, measured: list[float], *, lower_is_better: bool
) -> JudgedAgreement:
    """Compare the best of the runs at hand with the published best of so many runs.

    If all were runs of one kind, each order of them would be as likely. So k of n measured runs beat all N published
    ones with probability n (n - 1) ... / ((n + N) (n + N - 1) ...), k factors each, and none does with N / (n + N).

    Args:
        published: the best of the published runs, the only one of them that is known.
        published_runs: how many they were.
        measured: one value a run, at least one.
        lower_is_better: whether the best is the least.
    """
    sign, n, total = -1.0 if lower_is_better else 1.0, len(measured), len(measured) + published_runs
    better = sum(sign * value > sign * published for value in measured)
    reached = better or any(value == published for value in measured)
    said = f"{better} of {n} runs beat the best of {published_runs}"
    if prod((n - each) / (total - each) for each in range(better)) <= _TAIL:
        return JudgedAgreement(Agreement.DIFFERS, f"{said}: better than chance explains")
    if not reached and published_runs / total <= _TAIL:
        return JudgedAgreement(Agreement.DIFFERS, f"{said}: worse than chance explains")
    if n < published_runs:
        return JudgedAgreement(Agreement.CANNOT_TELL, f"{said}, which as few runs as these often do")
    return JudgedAgreement(Agreement.AGREES, f"{said}, as runs of one kind do")


@dataclass(frozen=True)
class ComparedCell:
    """One published value beside what runs at hand say of it."""

    table: str
    row: str
    column: str
    published: str
    """As printed, with its spread where one is printed."""
    measured: str
    """`-` where nothing is."""
    agreement: Agreement
    reason: str
    runs: tuple[str, ...] = ()
    """Names of the runs behind it."""
    command: str = ""
    """What would fill the cell, or fill it further; empty where nothing is missing."""
    estimate: IntervalEstimate | None = None
    """The measured value, where it is a mean, a share or a median."""


def interval_text(estimate: IntervalEstimate, places: int) -> str:
    """Return a value with its interval as text."""
    between = "" if estimate.low is None else f" ({estimate.low:.{places}f} to {estimate.high:.{places}f})"
    return f"{estimate.value:.{places}f}{between}"
