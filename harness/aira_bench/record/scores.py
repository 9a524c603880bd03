"""Trusted scores of one seed, in a file the search never reads.

The loop appends here and hands policies and agents only `Node.fitness`. Boards and reports read both files.
One JSON object a line. In a signed run the journal names each line by its hash (`read_bound`); in an older one a step
evaluated again after a crash overrides its earlier line (`read`).
"""

import hashlib
import json
import os
from collections.abc import Mapping
from dataclasses import asdict, dataclass
from pathlib import Path

from pydantic import ConfigDict, TypeAdapter, ValidationError
from pydantic.dataclasses import dataclass as checked_dataclass

from aira_bench.errors import RunStateError
from aira_bench.excerpts import PROBLEM_CHARS
from aira_bench.files import Unacceptable, open_file, parse_json, read_file
from aira_bench.machine_failures import about
from aira_contract.training_series import Series, require_series


@checked_dataclass(frozen=True, config=ConfigDict(extra="forbid"))
class TrustedScore:
    """What the judge found for one step. `validation` is None where a task has no hidden validation split.

    The judge's details are no part of it: they stay in its report (`SeedFolder.verdict`), whose hash is recorded.
    """

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
    remarks: tuple[str, ...] = ()
    """The figures that controls compared, in words."""
    public: float | None = None
    """On the public validation rows, which a submission can claim a number on; None where there are none."""
    public_standard_error: float | None = None
    """Of `public`, where it is estimated."""
    series: Series = ()
    """How the training of the score went: points (step, loss, tokens, seconds) by the judge's own measure, at most 200.
    Empty where the judge trains nothing, and in records from before it was kept."""
    claimed_series: Series = ()
    """The same as a training script told it. The agent's word: nothing of it is checked but its form."""


MOST_BYTES = 64 * 2**20
_MOST_LINE_BYTES = 2**16
"""Of nearly every line: what the last one is looked for in first."""
_START = b'{"step":'
_SCORE = TypeAdapter(TrustedScore)


@dataclass(frozen=True)
class ScoreFile:
    """The file of one seed's trusted scores, a JSON object a line."""

    path: Path

    def append(self, score: TrustedScore) -> None:
        """Add one score and force it to disk."""
        flags = os.O_RDWR | os.O_CREAT | os.O_APPEND | os.O_CLOEXEC | os.O_NOFOLLOW | os.O_NONBLOCK
        with about(self.path), os.fdopen(os.open(self.path, flags, 0o600), "a+b") as stream:
            size = stream.seek(0, os.SEEK_END)
            if size and os.pread(stream.fileno(), 1, size - 1) != b"\n":
                stream.write(b"\n")
            stream.write(json.dumps(asdict(score), allow_nan=False, separators=(",", ":")).encode("ascii") + b"\n")
            stream.flush()
            os.fsync(stream.fileno())

    def hash_of_last(self, step: int) -> str | None:
        """Return the hash of the last line if it is the score of `step`, else None."""
        last = self._last_line()
        return _sha256(last) if last and decode_score(last).step == step else None

    def cut(self, lines: int) -> None:
        """Keep the first `lines` lines: the others are of a step that a crash cut short, and that is taken again."""
        kept = self._lines()[:lines]
        if self.path.exists():
            os.truncate(self.path, sum(map(len, kept)))

    def read(self) -> dict[int, TrustedScore]:
        """Return scores by step, as far as lines are whole.

        Raises:
            RunStateError: a line other than a torn one is not a score.
        """
        try:
            return self.read_unbound()
        except Unacceptable as error:
            raise RunStateError(f"{self.path}: {error}.") from error

    def read_unbound(self) -> dict[int, TrustedScore]:
        """Return scores by step, of a file that nothing vouches for.

        Raises:
            Unacceptable: a line other than a torn one is not a score.
        """
        scores: dict[int, TrustedScore] = {}
        for number, line in enumerate(self._lines(), start=1):
            if _is_torn(line):
                continue  # by a crash: its step was evaluated again
            score = _decoded(number, line)
            scores[score.step] = score
        return scores

    def read_bound(self, hashes: Mapping[int, str], *, more: bool, ours: bool) -> dict[int, TrustedScore]:
        """Return scores by step, each being the line its step's record names, in that order.

        Args:
            hashes: hash of each step's line, in the order of the steps.
            ours: whether a key of ours vouches for the hashes, so that the lines were written by this code.
            more: whether lines may follow, of a step that was in flight when the process died.

        Raises:
            Unacceptable: a line is missing, replaced, moved, or one too many.
        """
        lines, scores = self._lines(), {}
        for number, (step, expected) in enumerate(hashes.items(), start=1):
            if number > len(lines):
                raise Unacceptable(f"the score of step {step} is missing")
            if _sha256(lines[number - 1]) != expected:
                raise Unacceptable(f"line {number} is not the score that step {step} was recorded with")
            score = _decoded(number, lines[number - 1], ours=ours)
            if score.step != step:
                raise Unacceptable(f"line {number} is the score of step {score.step}, recorded with step {step}")
            scores[step] = score
        if len(lines) > len(hashes) and not more:
            raise Unacceptable(f"line {len(hashes) + 1} is a score that no step was recorded with")
        return scores

    def read_named(self, hashes: Mapping[int, str]) -> dict[int, TrustedScore]:
        """Return those scores that steps' records name, whatever else stands in the file: of a run that is damaged.

        Args:
            hashes: hash of each step's line.

        Raises:
            Unacceptable: the file cannot be read.
        """
        steps = {digest: step for step, digest in hashes.items()}
        named = ((steps.get(_sha256(line)), line) for line in self._lines())
        found = [(step, decode_score(line)) for step, line in named if step is not None]
        return {step: score for step, score in found if score.step == step}

    def _last_line(self) -> bytes:
        """The last line with its end; empty where there is none. It is asked for after each of thousands of steps."""
        try:
            with open_file(self.path.parents[1], f"{self.path.parent.name}/{self.path.name}") as descriptor:
                size = os.fstat(descriptor).st_size
                tail = os.pread(descriptor, _MOST_LINE_BYTES, max(size - _MOST_LINE_BYTES, 0))
        except FileNotFoundError:
            return b""
        begins = tail.rfind(b"\n", 0, -1) + 1
        return tail[begins:] if begins or size <= _MOST_LINE_BYTES else (self._lines() or [b""])[-1]

    def _lines(self) -> list[bytes]:
        """Lines with their ends; a torn last one has none."""
        try:
            data = read_file(self.path.parents[1], f"{self.path.parent.name}/{self.path.name}", MOST_BYTES)
        except FileNotFoundError:
            return []
        return data.splitlines(keepends=True)


def decode_score(line: bytes, *, ours: bool = False) -> TrustedScore:
    """Read the score in one line of a file. `ours`: it was written by this code.

    Raises:
        Unacceptable: it is something else, or its numbers cannot be.
    """
    if not ours:
        parse_json(line)  # refuses what pydantic takes: keys twice, numbers without bounds
    try:
        score = _SCORE.validate_json(line, strict=True)
    except ValidationError as error:
        raise Unacceptable(f"it is not a score: {str(error.errors()[0]['msg'])[:PROBLEM_CHARS]}") from error
    errors = (score.validation_standard_error, score.test_standard_error, score.public_standard_error)
    if score.step < 1 or min([score.seconds, *(error for error in errors if error is not None)]) < 0:
        raise Unacceptable("a step, time or standard error of it is below what it can be")
    try:
        require_series(score.series)
        require_series(score.claimed_series)
    except ValueError as error:
        raise Unacceptable(str(error)) from error
    return score


def _decoded(number: int, line: bytes, *, ours: bool = False) -> TrustedScore:
    try:
        return decode_score(line, ours=ours)
    except Unacceptable as error:
        raise Unacceptable(f"line {number} is not a score: {error}") from error


def _is_torn(line: bytes) -> bool:
    start = line.rstrip(b"\n")[: len(_START)]
    return not line.rstrip(b"\n").endswith(b"}") and _START.startswith(start)


def _sha256(line: bytes) -> str:
    return hashlib.sha256(line).hexdigest()
