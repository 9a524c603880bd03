"""Has another process read what agents wrote, so that no text can hang or crash a search or a command.

The process (`reader_process`) gets texts and nothing else: of the host's environment only what finds programs and
packages, no key among it. It limits its own memory and processor time, by which a text counts as not read, whatever
else the machine does; the wall's clock only ends what hangs. A fresh process goes on behind such a text.

Not covered: searchers that read back the solutions they wrote themselves. They read them with the bounded parser
(`syntax`), in this process.
"""

import json
import os
import signal
import subprocess
import sys
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Any

DEADLINE_S = 20.0
"""Of processor time."""
_WALL_TIMES = 30.0
"""Wall seconds for each of those: as many as containers get beside busy neighbours (decision 0027)."""
_LOT = 20
"""Texts for one process. The longest script takes it 0.3 s."""
_PROCESS = "aira_bench.agent_code.reader_process"
_HANDED_ON = ("PATH", "HOME", "LANG", "LC_ALL", "TMPDIR", "PYTHONPATH", "LD_LIBRARY_PATH")


@dataclass(frozen=True)
class NotRead:
    """A text made to be hard to read, and what became of its reader."""

    why: str


def bare_environment() -> dict[str, str]:
    """Return what a process of ours needs of the host's environment; keys are not among it."""
    return {name: os.environ[name] for name in _HANDED_ON if name in os.environ}


def read_in_process(
    operation: str, texts: Sequence[str], *, deadline_s: float = DEADLINE_S
) -> list[Mapping[str, Any] | NotRead]:
    """Return what an operation of `reader_process` makes of each text, in order."""
    answers: list[Mapping[str, Any] | NotRead] = []
    while len(answers) < len(texts):
        rest = texts[len(answers) :][:_LOT]
        found, ended = _one_process(operation, rest, deadline_s)
        answers += found
        if len(found) < len(rest):
            answers.append(NotRead(ended))
    return answers


def _one_process(operation: str, texts: Sequence[str], deadline_s: float) -> tuple[list[Mapping[str, Any]], str]:
    """The answers of a process in order, and how it ended."""
    request = json.dumps({"operation": operation, "texts": texts, "cpu_s": max(1, round(deadline_s))})
    too_long = f"reading it takes longer than {deadline_s:g} s"
    try:
        done = subprocess.run(
            [sys.executable, "-P", "-m", _PROCESS], input=request.encode("ascii"), env=bare_environment(),
            capture_output=True, timeout=_WALL_TIMES * deadline_s, check=False,
        )  # fmt: skip
    except subprocess.TimeoutExpired as error:
        written, ended = error.stdout or b"", too_long
    else:
        other = f"the process that reads it ended with status {done.returncode}"
        written, ended = done.stdout, too_long if done.returncode == -signal.SIGXCPU else other
    whole = written[: written.rfind(b"\n") + 1]
    return [json.loads(line) for line in whole.splitlines()], ended
