"""Normalized scores: how far a score lies between a task's worst score and the state of the art.

The measure is AIRS-Bench's: phi(s) = -log10 |s - optimum|, and NS = (phi(s) - phi(worst)) / (phi(sota) - phi(worst)),
cut off below at 0. A seed without a valid submission counts 0. Two things differ from the published notebook. The
worst score is the one fixed in the task's metadata, not the worst seen so far, so that a board does not change its
past. And a distance below 0.001 counts as 0.001 at either end of the scale, where the notebook rewards a perfect loss
of 0 like a bad one.

Not covered: Elo, and means over tasks.
"""

import math
from collections.abc import Mapping

from pydantic import BaseModel, ConfigDict

from aira_bench.tasks.metadata import LoggingInfo

PUBLISHED = "published"
CORRECTED = "corrected"
_NEAREST = 1e-3


class Anchors(BaseModel):
    """The scores that normalized scores of a task are measured against."""

    model_config = ConfigDict(extra="forbid", frozen=True)

    worst: float
    optimum: float
    sota: Mapping[str, float]
    """Score by label: `published`, and `corrected` where the published figure is known to be an error."""


def anchors_of(info: LoggingInfo, *, lower_is_better: bool) -> Anchors | None:
    """Return the anchors that a task's metadata fixes; None where it names no worst score or no state of the art.

    The first entry of `sota` is the published one. One whose notes begin with `corrected` corrects it.
    """
    if info.estimated_worst_score is None or not info.sota:
        return None
    scores = {PUBLISHED: info.sota[0].sota_score}
    for entry in info.sota[1:]:
        if (entry.sota_notes or "").lower().startswith(CORRECTED):
            scores[CORRECTED] = entry.sota_score
    optimum = info.optimal_score if info.optimal_score is not None else float(not lower_is_better)
    return Anchors(worst=info.estimated_worst_score, optimum=optimum, sota=scores)


def normalized(score: float | None, anchors: Anchors, label: str = PUBLISHED) -> float | None:
    """Return the normalized score, 0 for a failed seed, above 1 beyond the state of the art; None without that label.

    Raises:
        ValueError: worst score and state of the art are equally far from the optimum.
    """
    if label not in anchors.sota:
        return None
    if score is None:
        return 0.0
    worst, best = _phi(anchors.worst, anchors), _phi(anchors.sota[label], anchors)
    if math.isclose(worst, best):
        raise ValueError(
            f"the worst score {anchors.worst} and the {label} score {anchors.sota[label]} lie equally far off"
        )
    return max(0.0, (_phi(score, anchors) - worst) / (best - worst))


def _phi(score: float, anchors: Anchors) -> float:
    return -math.log10(max(abs(score - anchors.optimum), _NEAREST))
