"""Waiting for a condition, in place of sleeping and hoping: a busy machine takes longer, and the test waits longer."""

import time
from collections.abc import Callable
from typing import TypeVar

GENEROUS_S = 120.0
"""Far above what anything takes on a machine whose cores twenty others share; reached by what never comes alone."""
_Found = TypeVar("_Found")


def eventually(condition: Callable[[], _Found], within_s: float = GENEROUS_S, what: str = "") -> _Found:
    """Return the first value of `condition` that is true; fail, naming `what` was waited for, if none is in time."""
    ends_s = time.monotonic() + within_s
    while not (found := condition()):
        assert time.monotonic() < ends_s, f"{what or 'it'}: not in {within_s:.0f} s, last {found!r}"
        time.sleep(0.02)
    return found
