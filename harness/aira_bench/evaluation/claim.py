"""The number that a solution says of itself, in `validation.json`.

Not covered: what a claim does to a search (`aira_bench.runs.step`). It is never a score.
"""

import json
import math

from aira_bench.sandbox.sandbox import Artifact, ArtifactRequest, StepOutcome
from aira_contract.claims import MAX_CLAIM_BYTES, METRIC_KEY, VALUE_KEY
from aira_contract.files import CLAIM_FILE

CLAIM = ArtifactRequest(CLAIM_FILE, MAX_CLAIM_BYTES)


def claimed_value(outcome: StepOutcome, metric: str) -> float | None:
    """Return the agent's own number from `validation.json`, None unless it is well-formed and finite.

    Never a score: it steers a search only under `--fitness claimed`, and is otherwise kept for comparison.
    """
    found = outcome.artifacts.get(CLAIM.name)
    if not isinstance(found, Artifact):
        return None
    try:
        claim = json.loads(found.path.read_bytes())
    except (ValueError, RecursionError):
        return None
    if not isinstance(claim, dict) or set(claim) != {METRIC_KEY, VALUE_KEY} or claim[METRIC_KEY] != metric:
        return None
    value = claim[VALUE_KEY]
    if isinstance(value, bool) or not isinstance(value, int | float):
        return None
    try:
        number = float(value)
    except OverflowError:
        return None
    return number if math.isfinite(number) else None
