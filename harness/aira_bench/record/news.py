"""What the process that works on a seed is at, for other processes that look: a small file, written over all the time.

It holds no result, nothing vouches for it, and it means something only while the run is locked. It is of one size and
written at once, without being forced to disk: it is news, and gone with the process. Whoever reads it while it is
written may find nothing in it, and looks again.

Not covered: what is finished; journals say that.
"""

import contextlib
import json
import os
from dataclasses import asdict
from pathlib import Path
from typing import get_args

from pydantic import ConfigDict, TypeAdapter, ValidationError
from pydantic.dataclasses import dataclass as checked_dataclass

from aira_bench.files import Unacceptable, parse_json, read_file
from aira_bench.waiting import WaitReason

NAME = "news.json"
BYTES = 2048
"""Of the file, blanks at its end included."""
_TEXT_CHARS = 140
"""Of each text: as many as fit where every character is spelt out by twelve."""


@checked_dataclass(frozen=True, config=ConfigDict(extra="forbid"))
class SeedNews:
    """What one seed is at."""

    step: int
    phase: str
    since: float
    """When that began, in seconds of the epoch."""
    waits_for: str | None = None
    """What it waits for (`aira_bench.waiting.WaitReason`), where that is nobody's fault."""
    halted: str | None = None
    """What it halted for, in words."""


_NEWS = TypeAdapter(SeedNews)


def write_news(seed: Path, news: SeedNews) -> None:
    """Put news in the folder of a seed, in place of what was there. That it cannot be written disturbs nothing."""
    texts = {"phase": news.phase[:_TEXT_CHARS], "halted": news.halted and news.halted[:_TEXT_CHARS]}
    data = json.dumps(asdict(news) | texts).encode("ascii").ljust(BYTES)[:BYTES]
    flags = os.O_WRONLY | os.O_CREAT | os.O_NOFOLLOW | os.O_NONBLOCK | os.O_CLOEXEC
    with contextlib.suppress(OSError):
        descriptor = os.open(seed / NAME, flags, 0o600)
        try:
            os.write(descriptor, data)
        finally:
            os.close(descriptor)


def remove_news(seed: Path) -> None:
    """Take the news of a seed away: nobody works on it any more, or not yet."""
    with contextlib.suppress(OSError):
        (seed / NAME).unlink()


def read_news(seed: Path) -> SeedNews | None:
    """Return what a seed is at; None where no such file is there, or something else."""
    try:
        data = read_file(seed, NAME, BYTES)
        parse_json(data)  # refuses what pydantic takes: keys twice, numbers without bounds
        found = _NEWS.validate_json(data, strict=True)
    except (FileNotFoundError, Unacceptable, ValidationError):
        return None
    return found if found.waits_for in (None, *get_args(WaitReason)) else None
