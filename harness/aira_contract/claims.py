"""The number that a submission claims for itself, in `files.CLAIM_FILE`.

Written by the evaluator's code for agents (`validate`, and what training scripts import) or by an agent's own. The host
reads it after the container's death and trusts nothing of it; the reading is strict, and its own
(`aira_bench.evaluation.claim`). A claim is compared with the trusted score and, but for runs with `--fitness claimed`,
used for nothing else.
"""

import json

METRIC_KEY, VALUE_KEY = "metric", "value"
MAX_CLAIM_BYTES = 4096


def claim_text(metric: str, value: float) -> str:
    """Return the file's content: one line of JSON."""
    return json.dumps({METRIC_KEY: metric, VALUE_KEY: value}) + "\n"
