"""The submission of a Compose task: a CSV file that holds one architecture, read as bounded text and nothing else."""

import os
import stat
from collections.abc import Sequence
from pathlib import Path

from aira_contract.architectures import (
    LAYERS,
    MAX_SUBMISSION_BYTES,
    Architecture,
    SubmissionError,
    parse_submission,
)


def read_submission(path: Path, primitives: Sequence[str], layers: int = LAYERS) -> Architecture:
    """Read and parse a submission.

    Args:
        path: the file, whoever wrote it.
        primitives: admitted symbols.
        layers: the exact number of layers.

    Raises:
        SubmissionError: it is no regular file, or not an architecture of `primitives`.
    """
    try:
        with path.open("rb") as file:
            if not stat.S_ISREG(os.fstat(file.fileno()).st_mode):
                raise SubmissionError("not a regular file")
            data = file.read(MAX_SUBMISSION_BYTES + 1)
    except OSError as error:
        raise SubmissionError(f"cannot be read: {error.strerror}") from None
    return parse_submission(data, primitives, layers)
