"""What the process that works on a run is at, for other processes that look: one small file, written anew all the time.

It holds no result, nothing vouches for it, and it means something only while the run is locked. Written without forcing
anything to disk: it is news, and gone with the process.

Not covered: what is finished; journals say that.
"""

import contextlib
import json
import os
from collections.abc import Mapping
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import get_args

from pydantic import ConfigDict, TypeAdapter, ValidationError
from pydantic.dataclasses import dataclass as checked_dataclass

from aira_bench.files import Unacceptable, parse_json, read_file
from aira_bench.waiting import WaitReason

NAME = "news.json"
MOST_BYTES = 4 * 2**20
_PHASE_CHARS = 400


@checked_dataclass(frozen=True, config=ConfigDict(extra="forbid"))
class SeedNews:
    """What one seed is at."""

    seed: int
    step: int
    phase: str
    since: float
    """When that began, in seconds of the epoch."""
    waits_for: str | None = None
    """What it waits for (`aira_bench.waiting.WaitReason`), where that is nobody's fault."""
    halted: str | None = None
    """What it halted for, in words."""


@dataclass(frozen=True)
class _File:
    seeds: tuple[SeedNews, ...]


_FILE = TypeAdapter(_File)


def write_news(run: Path, news: Mapping[int, SeedNews]) -> None:
    """Put news in the folder of a run, in place of what was there. That it cannot be written disturbs nothing."""
    seeds = [asdict(each) | {"phase": each.phase[:_PHASE_CHARS]} for each in news.values()]
    temporary = run / f".{NAME}.tmp"
    with contextlib.suppress(OSError):
        descriptor = os.open(temporary, os.O_WRONLY | os.O_CREAT | os.O_TRUNC | os.O_NOFOLLOW | os.O_CLOEXEC, 0o600)
        with os.fdopen(descriptor, "w", encoding="ascii") as stream:
            json.dump({"seeds": seeds}, stream)
        temporary.replace(run / NAME)


def remove_news(run: Path) -> None:
    """Take the news of a run away when nobody works on it any more."""
    for name in (NAME, f".{NAME}.tmp"):
        with contextlib.suppress(OSError):
            (run / name).unlink()


def read_news(run: Path) -> dict[int, SeedNews]:
    """Return what each seed of a run is at; nothing where no such file is there, or something else."""
    try:
        data = read_file(run, NAME, MOST_BYTES)
        parse_json(data)  # refuses what pydantic takes: keys twice, numbers without bounds
        found = _FILE.validate_json(data, strict=True)
    except (FileNotFoundError, Unacceptable, ValidationError):
        return {}
    return {each.seed: each for each in found.seeds if each.waits_for in (None, *get_args(WaitReason))}
