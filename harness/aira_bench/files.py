"""Writing files so that a crash leaves the old or the new content, never half of either."""

import json
import os
import threading
from collections.abc import Collection
from pathlib import Path
from typing import Any

ATTEMPT = "attempt_"
"""Names of folders that hold what a failed attempt left."""


def write_atomically(path: Path, data: bytes) -> None:
    """Write `data` beside `path`, force it to disk, then rename it into place."""
    path.parent.mkdir(parents=True, exist_ok=True)
    temporary = path.with_name(f".{path.name}.{os.getpid()}.{threading.get_ident()}.tmp")
    try:
        with temporary.open("wb") as stream:
            stream.write(data)
            stream.flush()
            os.fsync(stream.fileno())
        temporary.replace(path)
    except BaseException:
        temporary.unlink(missing_ok=True)
        raise


def write_json(path: Path, value: Any) -> None:  # noqa: ANN401
    """Write indented JSON atomically. Non-finite numbers are refused."""
    write_atomically(path, (json.dumps(value, indent=2, allow_nan=False) + "\n").encode())


def set_aside(folder: Path, besides: Collection[str] = ()) -> None:
    """Move everything in `folder` but names in `besides` and earlier attempts into its next `attempt_<n>`."""
    left = [path for path in folder.iterdir() if not path.name.startswith(ATTEMPT) and path.name not in besides]
    if left:
        earlier = [path for path in folder.iterdir() if path.name.startswith(ATTEMPT)]
        aside = folder / f"{ATTEMPT}{len(earlier) + 1}"
        aside.mkdir()
        for path in left:
            path.rename(aside / path.name)
