"""The number that a solution says of itself, in `validation.json`.

Not covered: what a claim does to a search (`aira_bench.runs.step`). It is never a score.
"""

import json
import math

from aira_bench.sandbox.protocol import Artifact, ArtifactRequest, StepOutcome

CLAIM = ArtifactRequest("validation.json", 4096)


def claimed_value(outcome: StepOutcome, metric: str) -> float | None:
    """The agent's own number from `validation.json`, None unless it is well-formed and finite.

    Never a score: it steers a search only under `--fitness claimed`, and is otherwise kept for comparison.
    """
    found = outcome.artifacts.get(CLAIM.name)
    if not isinstance(found, Artifact):
        return None
    try:
        claim = json.loads(found.path.read_bytes())
    except (ValueError, RecursionError):
        return None
    if not isinstance(claim, dict) or set(claim) != {"metric", "value"} or claim["metric"] != metric:
        return None
    value = claim["value"]
    if isinstance(value, bool) or not isinstance(value, int | float):
        return None
    try:
        number = float(value)
    except OverflowError:
        return None
    return number if math.isfinite(number) else None
