"""A submission as it is scored: its bytes, and what the host alone can tell of them.

Not covered: whether it is admissible. The judge has the say.
"""

import hashlib
import re
from dataclasses import dataclass
from functools import cached_property

from aira_bench.tasks.artifact_spec import ArtifactSpec
from aira_contract.architectures import SubmissionError, canonical, parse_submission

_SEPARATOR = re.compile(r"[,-]")


@dataclass(frozen=True)
class Submission:
    """What one step leaves to be judged."""

    content: bytes
    canonical: str | None = None
    """Normal form of an architecture in one of its commonest spellings, else None (docs/decisions/0002)."""
    training: int = 0
    """Which training of it is asked for, counted from 0 (`aira_contract.settings.TRAINING_VARIABLE`)."""

    @classmethod
    def of(cls, artifact: ArtifactSpec, content: bytes, training: int = 0) -> "Submission":
        """Make the submission to a task that wants `artifact`."""
        return cls(content, host_canonical(artifact, content), training)

    @cached_property
    def sha256(self) -> str:
        """The SHA-256 of the submission's bytes, in hexadecimal digits."""
        return hashlib.sha256(self.content).hexdigest()

    @property
    def key(self) -> str:
        """What its score is cached under: equal for spellings that the host knows to be the same.

        Raises:
            ValueError: it is for another training than the one that a search is shown.
        """
        if self.training:
            raise ValueError("trainings that confirm a submission are cached nowhere")
        return self.canonical or self.sha256


def host_canonical(artifact: ArtifactSpec, data: bytes) -> str | None:
    """Return the normal form of an architecture submission in its commonest spellings, else None.

    A shortcut only: a judge that names another form is an error. What a judge would refuse has none, since a judge that
    stays is asked for the normal form alone, and a class must not depend on which judge there is.
    """
    lines = data.decode("ascii", "replace").splitlines()
    if artifact.kind != "architecture" or len(lines) != 2 or len(data) > artifact.max_kib * 1024:
        return None
    tokens = _SEPARATOR.split(lines[1].strip('"'))
    if len(tokens) != artifact.layers or not set(tokens) <= set(artifact.primitives):
        return None
    try:
        found = parse_submission(data, artifact.primitives, artifact.layers)
    except SubmissionError:
        return None
    return canonical(found) if artifact.admits(found) else None
