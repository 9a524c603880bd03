"""Waiting for a condition, in place of sleeping and hoping; and bounds on time that a busy machine keeps too."""

import os
import time
from collections.abc import Callable
from pathlib import Path
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


def stretched(seconds: float) -> float:
    """A bound that holds on an idle machine, for this one as it is: twice, and for each core's neighbours once more."""
    words = Path("/proc/loadavg").read_text().split()
    busy = max(float(words[0]), float(words[3].split("/")[0]))
    return seconds * (2.0 + busy / len(os.sched_getaffinity(0)))
