"""How questions are asked, and how long a served model may take.

The reasons are in docs/autoresearch.md. Not covered: how many there are (`profiles`), and how long predict containers
live in all (the tasks' metadata.yaml).
"""

from collections.abc import Mapping
from dataclasses import dataclass


@dataclass(frozen=True)
class Rules:
    """The numbers behind a trusted score that are neither data nor model: how much is asked, and within what time."""

    length_step: int
    """Windows have a multiple of this many tokens where the model answers the same for them as for full ones."""
    batch_rows: int
    """Most prefixes of one request."""
    load_s: float
    """From a predictor's connecting to its model's being ready."""
    request_s: float
    """Seconds until an answer to one request must be there."""
    answer_s: float
    """A model that takes longer for one answer, loading counted with the first, is flagged: it may train meanwhile."""
    question_s: float
    """The same for all of them together: this for each question, and `answer_s` once."""


PAPER = Rules(
    length_step=256,
    batch_rows=32,
    load_s=120,
    request_s=120,
    answer_s=60,
    question_s=0.01,
)

CPU = Rules(
    length_step=32,
    batch_rows=8,
    load_s=30,
    request_s=30,
    answer_s=20,  # other processes on the same cores are the rule
    question_s=0.03,
)

RULES: Mapping[str, Rules] = {"paper": PAPER, "cpu": CPU}
