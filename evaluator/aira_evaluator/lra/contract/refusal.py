"""How a submission is refused, and how files that it wrote are read: bounded, and only where they are plain files."""

import os
import stat
from pathlib import Path


class RefusedError(Exception):
    """The submission cannot be scored; one printable line in words of ours."""


def read_file(path: Path, max_bytes: int) -> bytes:
    """Read a file that a submission wrote.

    Args:
        path: the file; links are followed, as its folder is the submission's own.
        max_bytes: no more than this is read, and one byte more is a refusal.

    Raises:
        RefusedError: it cannot be opened, is no regular file, or is larger.
    """
    try:
        with path.open("rb") as file:
            if not stat.S_ISREG(os.fstat(file.fileno()).st_mode):
                raise RefusedError(f"{path.name} is not a regular file")
            data = file.read(max_bytes + 1)
    except OSError as error:
        raise RefusedError(f"{path.name} cannot be read: {error.strerror}") from None
    if len(data) > max_bytes:
        raise RefusedError(f"{path.name} is larger than {max_bytes:,} bytes")
    return data
