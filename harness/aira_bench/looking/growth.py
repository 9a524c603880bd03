"""How a module's work, time and memory grow with the length of its input, as its judge measured them.

The judge's report of a step has it at one, two and four times the length of the training. It is taken from a report
that is as it was recorded, and from no other. Not covered: when growth counts as quadratic, which the judge says.
"""

import hashlib
import math
from collections.abc import Mapping
from typing import NamedTuple

from aira_bench.files import Unacceptable, parse_json, read_file
from aira_bench.record.journal import StepEnded
from aira_bench.record.salvage import SeedRemains
from aira_contract.files import MODULE_FILE, REPORT_FILE

_MOST_REPORT_BYTES = 2**20
_SCALES = (1, 2, 4)


class LengthPoint(NamedTuple):
    """What a module takes at one multiple of the length; None where it was not measured, or has no bound."""

    times: int
    work: float | None
    """Counted operations of a batch."""
    seconds: float | None
    memory_mib: float | None
    """Of intermediate results."""


def growth_of(seed: SeedRemains, step: StepEnded) -> tuple[LengthPoint, ...]:
    """Return how a step's module grows, by length; empty where the step has no module, or its report says nothing.

    Args:
        seed: whose step it is.
        step: its line in a signed journal.
    """
    at = f"{step.node.step:04d}"
    recorded = step.files.get(f"hidden/{at}/{REPORT_FILE}")
    if recorded is None or f"nodes/{at}/{MODULE_FILE}" not in step.files:
        return ()
    try:
        data = read_file(seed.folder.path, f"hidden/{at}/{REPORT_FILE}", _MOST_REPORT_BYTES)
        report = parse_json(data) if hashlib.sha256(data).hexdigest() == recorded else None
    except (Unacceptable, FileNotFoundError):
        return ()
    growth = _inside(_inside(report, "details"), "growth")
    points = [(times, _inside(growth, f"x{times}")) for times in _SCALES]
    return tuple(
        LengthPoint(times, *(_number(found, name) for name in ("work", "seconds", "temporary_mib")))
        for times, found in points
        if isinstance(found, Mapping)
    )


def _inside(value: object, key: str) -> object:
    return value.get(key) if isinstance(value, Mapping) else None


def _number(found: Mapping[str, object], name: str) -> float | None:
    value = found.get(name)
    known = isinstance(value, int | float) and not isinstance(value, bool) and math.isfinite(value) and value >= 0
    return float(value) if known else None  # type: ignore[arg-type]
