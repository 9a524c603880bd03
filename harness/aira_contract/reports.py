"""What `evaluate.py` says of a submission: a printed score block, and a report where a task writes one.

Written by the evaluator (the score block by upstream folders too), read and checked by the host
(`aira_bench.evaluation.verdict`). Not covered: what the numbers of a report's `details` mean, which the host keeps
without reading them.
"""

import json
from collections.abc import Mapping, Sequence
from typing import NotRequired, TypedDict

from aira_contract.training_series import TrainingPoint

RESULT_MARKER = "--- EVALUATION RESULT ---"
"""The line before the JSON object `{metric: value}`, which is the last thing printed."""
REPORT_SCHEMA = 1
PUBLIC = "public"
"""What a report calls the public validation rows, beside the hidden splits `validation` and `test`."""


class Report(TypedDict):
    """`--report-file`, one JSON object. docs/architecture.md describes the keys."""

    schema: int
    canonical: NotRequired[str]
    """The submission's normal form, where it has one."""
    validation: NotRequired[float]
    """The score on hidden validation data, which drives the search."""
    test: float
    """The score that is printed too."""
    public: NotRequired[float | None]
    """The score on the public validation rows, which a submission can claim a number on; None where there are none, or
    where no more was to be had of them. It neither steers nor ranks, and says nothing of hidden data."""
    validation_standard_error: NotRequired[float | None]
    test_standard_error: NotRequired[float | None]
    public_standard_error: NotRequired[float | None]
    claimed: NotRequired[float | None]
    """What the submission said of itself."""
    flags: NotRequired[Sequence[str]]
    """What checks noticed about a valid submission (`flags`)."""
    unranked: NotRequired[Sequence[str]]
    """Those of the flags that keep the score out of search and ranking."""
    remarks: NotRequired[Sequence[str]]
    """The figures that controls compared, in words."""
    series: NotRequired[Sequence[TrainingPoint]]
    """How the training of the score went (`training_series`), a list a point; absent where nothing was trained."""
    details: NotRequired[Mapping[str, object]]
    evaluator_version: str
    seed_set: str
    seconds: NotRequired[float]
    """How long the evaluation took; put in when it has ended."""


def score_block(metric: str, value: float) -> str:
    """Return what is printed of a score, without a line end.

    Raises:
        ValueError: the value is infinite or no number.
    """
    return f"{RESULT_MARKER}\n{json.dumps({metric: value}, indent=2, allow_nan=False)}"
