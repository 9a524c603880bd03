"""Scores already paid for.

Training an architecture twice buys nothing, and a second draw of luck must not be for sale: the same submission gets
the same score. The key covers everything a score depends on: the submission in normal form (or its bytes), the task
folder, its prepared data, the profile, the seed set, and the evaluator's image, whose tag is a content hash.
"""

import hashlib
import json
import re
from dataclasses import asdict, dataclass, replace
from pathlib import Path

from pydantic import TypeAdapter, ValidationError

from aira_bench.evaluation.verdict import Scored
from aira_bench.files import write_json
from aira_bench.tasks.metadata import ArtifactSpec

_SCORED = TypeAdapter(Scored)
_SEPARATOR = re.compile(r"[,-]")


def host_canonical(artifact: ArtifactSpec, data: bytes) -> str | None:
    """The normal form of an architecture submission in its commonest spellings, else None.

    A shortcut for cache look-ups only: the judge has the say, and a judge that names another form is an error.
    """
    lines = data.decode("ascii", "replace").splitlines()
    if artifact.kind != "architecture" or len(lines) != 2 or len(data) > artifact.max_kib * 1024:
        return None
    tokens = _SEPARATOR.split(lines[1].strip('"'))
    if len(tokens) != artifact.layers or not set(tokens) <= set(artifact.primitives):
        return None
    return ",".join(tokens)


@dataclass(frozen=True)
class ScoreCache:
    """A folder of scores. `scope` is everything of the key but the submission."""

    folder: Path
    scope: tuple[str, ...]

    def _path(self, submission: str) -> Path:
        key = hashlib.sha256(json.dumps([*self.scope, submission]).encode()).hexdigest()
        return self.folder / key[:2] / f"{key}.json"

    def get(self, submission: str) -> Scored | None:
        """The stored score; a file that cannot be read counts as absent."""
        try:
            stored = _SCORED.validate_json(self._path(submission).read_bytes())
        except (OSError, ValidationError):
            return None
        return replace(stored, cached=True)

    def put(self, submission: str, scored: Scored) -> None:
        """Store a score."""
        write_json(self._path(submission), asdict(scored))
