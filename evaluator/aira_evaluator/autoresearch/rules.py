"""How large an audit is, what it tolerates, and how long a served model may take; docs/autoresearch.md has the reasons.

Not covered: sizes of data (`profiles`), budgets of training and how long a predict container lives in all (the tasks'
metadata.yaml).
"""

from collections.abc import Mapping
from dataclasses import dataclass

import numpy as np
import numpy.typing as npt


@dataclass(frozen=True)
class Tolerance:
    """What rounding may do to one prediction when batch, padding or kernel change. In nats.

    Calibrated on the baseline: float32 on a CPU differs by less than 1e-4, bfloat16 by a few hundredths.
    """

    drift: float = 0.05
    drift_share: float = 0.01
    """At most this share of predictions may differ by more than `drift`."""
    jump: float = 0.5
    """No prediction may differ by more."""

    def is_exceeded(self, differences: npt.NDArray[np.float64]) -> bool:
        """Whether these differences, [n], are more than rounding."""
        sizes = np.abs(differences)
        return bool(sizes.size and ((sizes > self.drift).mean() > self.drift_share or sizes.max() > self.jump))


@dataclass(frozen=True)
class Rules:
    """Everything about a trusted score that is neither data nor model."""

    probes: Mapping[str, int]
    """Prefix probes of each split, by seed set."""
    splices: int
    """Rows, over both splits, that are asked again with another row's ending."""
    requeries: int
    """Rows, over both splits, that are asked again unchanged."""
    ring_mib: int
    load_s: float
    """From a predictor's connecting to its model's being ready."""
    request_s: float
    """For one answer."""
    prompt_s: float
    prompt_probe_s: float
    """A model that needs more than these, once and for each probe, to load and answer for prefixes is flagged: it may
    have gone on training."""
    tolerance: Tolerance = Tolerance()
    slots: int = 2
    confidence: float = 0.95
    most_rows: int = 64
    """Of one request."""


PAPER = Rules(
    probes={"search": 2_000, "final": 20_000},
    splices=512,
    requeries=64,
    ring_mib=1024,
    load_s=120,
    request_s=120,
    prompt_s=60,
    prompt_probe_s=0.01,
)

CPU = Rules(
    probes={"search": 400, "final": 2_000},
    splices=128,
    requeries=64,
    ring_mib=128,
    load_s=30,
    request_s=30,
    prompt_s=60,  # other processes on the same cores are the rule
    prompt_probe_s=0.02,
)

RULES: Mapping[str, Rules] = {"paper": PAPER, "cpu": CPU}
