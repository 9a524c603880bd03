"""Operators of ListOps: the four of the task, and a family of others for controls.

An operator reduces digits to a digit. One of the family has an order of the digits of its own: it reduces the digits'
places in that order, and its value is the digit at the place that results. Under the digits' own order `smallest` is
MIN and `sum` is SM; under a secret one they are as hard to learn, and known to nobody. There are 10 reductions and 10!
orders. Reductions come in four roles (low, high, middle, sum), and a task of the family has one of each, as ListOps
does.

Not covered: which operators a control takes (`training.controls`).
"""

from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

_Integers = NDArray[np.int64]
DIGITS = 10


@dataclass(frozen=True)
class _Arguments:
    """Arguments of many applications, end to end."""

    values: _Integers
    starts: _Integers
    counts: _Integers
    ranked: _Integers
    """The values of each application in ascending order."""

    def summed(self, weighted: _Integers) -> _Integers:
        # SM of ListOps is the sum modulo 10; of negative sums Python and numpy take the remainder that is a digit.
        return np.add.reduceat(weighted, self.starts) % DIGITS

    @property
    def place(self) -> _Integers:
        """Of each argument among those of its application, from 0."""
        return np.arange(len(self.values)) - np.repeat(self.starts, self.counts)


def _at(offset: Callable[[_Integers], _Integers]) -> Callable[[_Arguments], _Integers]:
    return lambda given: given.ranked[given.starts + offset(given.counts)]


_LOWER, _UPPER = _at(lambda counts: (counts - 1) // 2), _at(lambda counts: counts // 2)
_REDUCTIONS: Mapping[str, Callable[[_Arguments], _Integers]] = {
    "smallest": _at(lambda counts: 0 * counts),
    "second smallest": _at(lambda counts: 0 * counts + 1),
    "largest": _at(lambda counts: counts - 1),
    "second largest": _at(lambda counts: counts - 2),
    # The public code truncates the median of an even number of arguments.
    "median": lambda given: (_LOWER(given) + _UPPER(given)) // 2,
    "lower median": _LOWER,
    "upper median": _UPPER,
    "sum": lambda given: given.summed(given.values),
    "negative sum": lambda given: given.summed(-given.values),
    "alternating sum": lambda given: given.summed(np.where(given.place % 2, -given.values, given.values)),
    "weighted sum": lambda given: given.summed((1 + given.place) * given.values),
}
ROLES: Sequence[Sequence[str]] = (
    ("smallest", "second smallest"),
    ("largest", "second largest"),
    ("lower median", "upper median"),
    ("sum", "negative sum", "alternating sum", "weighted sum"),
)
"""The family, by the role in the task that a reduction takes."""


@dataclass(frozen=True)
class Operator:
    """A reduction under an order of the digits."""

    reduction: str
    order: tuple[int, ...] = tuple(range(DIGITS))
    """The place of every digit."""


PUBLIC = (Operator("smallest"), Operator("largest"), Operator("median"), Operator("sum"))
"""MIN, MAX, MED and SM."""


def apply(operators: Sequence[Operator], which: _Integers, arguments: _Integers, counts: _Integers) -> _Integers:
    """Values of applications whose arguments stand end to end.

    Args:
        operators: to choose from.
        which: of them is applied, (N,).
        arguments: digits, (sum of counts,).
        counts: arguments of each application, two at least, (N,).
    """
    results = np.empty(len(counts), np.int64)
    whose = np.repeat(which, counts)
    for index, operator in enumerate(operators):
        mine, order = which == index, np.array(operator.order)
        if mine.any():
            reduced = _REDUCTIONS[operator.reduction](_arguments(order[arguments[whose == index]], counts[mine]))
            # argsort inverts a permutation: from the place that results back to the digit that stands there.
            results[mine] = np.argsort(order)[reduced]
    return results


def _arguments(values: _Integers, counts: _Integers) -> _Arguments:
    # One sort for all: tens keep applications apart and in order, units order the digits inside each.
    ranked = np.sort(DIGITS * np.repeat(np.arange(len(counts)), counts) + values) % DIGITS
    return _Arguments(values, np.cumsum(counts) - counts, counts, ranked)


def drawn_operators(rng: np.random.Generator) -> tuple[Operator, ...]:
    """One operator of each role, each under an order of its own."""
    return tuple(
        Operator(str(rng.choice(role)), tuple(int(place) for place in rng.permutation(DIGITS))) for role in ROLES
    )
