"""Trusted scores of one seed, in a file the search never reads.

The loop appends here and hands policies and agents only `Node.fitness`. Boards and reports read both files.
One JSON object a line; a step evaluated again after a crash overrides its earlier line.
"""

import json
import os
from dataclasses import asdict, dataclass
from pathlib import Path

from pydantic import ConfigDict, TypeAdapter, ValidationError
from pydantic.dataclasses import dataclass as checked_dataclass

from aira_bench.errors import RunStateError
from aira_bench.evaluation.verdict import Scored


@checked_dataclass(frozen=True, config=ConfigDict(extra="forbid"))
class TrustedScore:
    """What the judge found for one step. `validation` is None where a task has no hidden validation split."""

    step: int
    test: float
    validation: float | None
    evaluator_version: str
    image: str
    seconds: float
    """What the evaluation cost when it was made; a cached score keeps its first cost."""
    cached: bool = False
    claimed: float | None = None
    """What the submission's own code computed, where it computes a score at all; never used to search or rank."""
    flags: tuple[str, ...] = ()
    """What the evaluation's checks noticed."""
    synthetic: bool = False
    """Scored on a generated stand-in for the task's data: not a result on the real data."""
    unranked: tuple[str, ...] = ()
    """Those of `flags` for which the score is shown, but neither steers a search nor ranks."""
    validation_standard_error: float | None = None
    """Of an estimated score, in its unit; None where the score is computed, not estimated."""
    test_standard_error: float | None = None


_SCORE = TypeAdapter(TrustedScore)


def trusted_score(step: int, scored: Scored, image: str, *, synthetic: bool) -> TrustedScore:
    """What is kept of a verdict; `image` is the evaluator's."""
    return TrustedScore(
        step, scored.test, scored.validation, scored.evaluator_version, image, scored.seconds, scored.cached,
        scored.claimed, scored.flags, synthetic, scored.unranked, scored.validation_standard_error,
        scored.test_standard_error,
    )  # fmt: skip


@dataclass(frozen=True)
class ScoreFile:
    """`scores.jsonl` of one seed."""

    path: Path

    def append(self, score: TrustedScore) -> None:
        """Add one score and force it to disk."""
        line = json.dumps(asdict(score), allow_nan=False, separators=(",", ":")) + "\n"
        with self.path.open("ab") as stream:
            if stream.tell() and not _ends_with_newline(self.path):
                stream.write(b"\n")
            stream.write(line.encode("ascii"))
            stream.flush()
            os.fsync(stream.fileno())

    def read(self) -> dict[int, TrustedScore]:
        """Scores by step.

        Raises:
            RunStateError: a line other than a torn one is not a score.
        """
        if not self.path.exists():
            return {}
        scores: dict[int, TrustedScore] = {}
        for number, line in enumerate(self.path.read_bytes().splitlines(), start=1):
            try:
                score = _SCORE.validate_python(json.loads(line))
            except json.JSONDecodeError:
                continue  # torn by a crash: its step is evaluated again on resume
            except ValidationError as error:
                raise RunStateError(f"{self.path} line {number} is not a score.") from error
            scores[score.step] = score
        return scores


def _ends_with_newline(path: Path) -> bool:
    with path.open("rb") as stream:
        stream.seek(-1, os.SEEK_END)
        return stream.read(1) == b"\n"
