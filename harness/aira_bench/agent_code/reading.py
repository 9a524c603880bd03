"""Has another process read what agents wrote, so that no text can hang or crash a search or a command.

The process (`reader_process`) gets texts and nothing else: of the host's environment only what finds programs and
packages, no key among it. It limits its own memory and processor time, by which a text counts as not read, whatever
else the machine does; the wall's clock only ends what hangs. A fresh process goes on behind such a text.

Not covered: searchers that read back the solutions they wrote themselves. They read them with the bounded parser
(`syntax`), in this process.
"""

import hashlib
import json
import math
import os
import signal
import subprocess
import sys
import time
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Any

DEADLINE_S = 20.0
"""Of processor time."""
_WALL_TIMES = 30.0
"""Wall seconds for each of those: as many as containers get beside busy neighbours (decision 0027)."""
_LOT = 100
"""Texts for one process, each of which has all of a text's time. The process takes 50 ms to begin with."""
_KEPT = 32
"""Texts whose answers are kept in memory, up to a few megabytes each."""
_PROCESS = "aira_bench.agent_code.reader_process"
_HANDED_ON = ("PATH", "HOME", "LANG", "LC_ALL", "TMPDIR", "PYTHONPATH", "LD_LIBRARY_PATH")


@dataclass(frozen=True)
class NotRead:
    """A text made to be hard to read, and what became of its reader."""

    why: str
    by_itself: bool = False
    """Whether the text itself is the reason: read again it takes as long. Else its process was ended by something."""


_answers: dict[tuple[str, float, str], Mapping[str, Any] | NotRead] = {}


def bare_environment() -> dict[str, str]:
    """Return what a process of ours needs of the host's environment; keys are not among it."""
    return {name: os.environ[name] for name in _HANDED_ON if name in os.environ}


def read_in_process(
    operation: str, texts: Sequence[str], *, deadline_s: float = DEADLINE_S
) -> list[Mapping[str, Any] | NotRead]:
    """Return what an operation of `reader_process` makes of each text, in order."""
    return _read(operation, texts, deadline_s, math.inf)


def read_once(operation: str, text: str, *, deadline_s: float = DEADLINE_S) -> Mapping[str, Any] | NotRead:
    """Return what an operation makes of one text; of the last texts that were asked about without reading them again.

    For pages, which are made again and again of the same texts, some of which were written to be slow.
    """
    key = operation, deadline_s, hashlib.sha256(text.encode("utf-8", "surrogatepass")).hexdigest()
    found = _answers.pop(key, None)
    if found is None:
        (found,) = read_in_process(operation, [text], deadline_s=deadline_s)
    if not isinstance(found, NotRead) or found.by_itself:
        _answers[key] = found
        while len(_answers) > _KEPT:
            _answers.pop(next(iter(_answers)), None)
    return found


def read_for_a_while(
    operation: str, texts: Sequence[str], *, patience_s: float, deadline_s: float = DEADLINE_S
) -> list[Mapping[str, Any] | NotRead]:
    """Return the same of the first texts: as many as are read before so much time has passed by the wall's clock."""
    return _read(operation, texts, deadline_s, time.monotonic() + patience_s)


def _read(operation: str, texts: Sequence[str], deadline_s: float, until_s: float) -> list[Mapping[str, Any] | NotRead]:
    answers: list[Mapping[str, Any] | NotRead] = []
    while len(answers) < len(texts) and (left_s := until_s - time.monotonic()) > 0:
        rest = texts[len(answers) :][:_LOT]
        found, ended = _one_process(operation, rest, deadline_s, left_s)
        answers += found
        if len(found) < len(rest) and ended is not None:
            answers.append(ended)
    return answers


def _one_process(
    operation: str, texts: Sequence[str], deadline_s: float, left_s: float
) -> tuple[list[Mapping[str, Any]], NotRead | None]:
    """The answers of a process in order, and how it ended; None where it was ended since no more time is left."""
    request = json.dumps({"operation": operation, "texts": texts, "cpu_s": max(1, round(deadline_s))})
    too_long = NotRead(f"reading it takes longer than {deadline_s:g} s", by_itself=True)
    hangs_s = _WALL_TIMES * deadline_s
    ended: NotRead | None
    try:
        done = subprocess.run(
            [sys.executable, "-P", "-m", _PROCESS], input=request.encode("ascii"), env=bare_environment(),
            capture_output=True, timeout=min(hangs_s, left_s), check=False,
        )  # fmt: skip
    except subprocess.TimeoutExpired as error:
        written, ended = error.stdout or b"", NotRead(too_long.why) if hangs_s <= left_s else None
    else:
        other = NotRead(f"the process that reads it ended with status {done.returncode}")
        written, ended = done.stdout, too_long if done.returncode == -signal.SIGXCPU else other
    whole = written[: written.rfind(b"\n") + 1]
    return [json.loads(line) for line in whole.splitlines()], ended
