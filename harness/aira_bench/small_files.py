"""Reads small text files that may not be what they seem: cards, scores, metadata, solution files of strangers.

Not covered: files of runs, which have a reader of their own.
"""

import os
import stat
from pathlib import Path


def read_small_text(path: Path, most_bytes: int, *, follow_links: bool = True) -> str:
    """The text of a plain file, a byte order mark left out.

    Raises:
        OSError: it cannot be opened.
        ValueError: it is no plain file, larger than `most_bytes`, or no UTF-8; the message is one line.
    """
    flags = os.O_RDONLY | os.O_NONBLOCK | os.O_CLOEXEC | os.O_NOCTTY
    descriptor = os.open(path, flags if follow_links else flags | os.O_NOFOLLOW)
    with os.fdopen(descriptor, "rb") as file:
        if not stat.S_ISREG(os.fstat(descriptor).st_mode):
            raise ValueError("is no plain file")
        data = file.read(most_bytes + 1)
    if len(data) > most_bytes:
        raise ValueError(f"is larger than {most_bytes >> 10} KiB")
    try:
        return data.decode("utf-8-sig")
    except UnicodeDecodeError as error:
        raise ValueError(f"is not UTF-8: byte {error.start} is {data[error.start]:#04x}") from None
