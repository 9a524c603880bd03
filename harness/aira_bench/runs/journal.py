"""The append-only journal of one seed.

One JSON object a line, flushed to disk before the next step begins. Each line carries a hash over itself and the
line before it, so an edited journal is recognised. A line torn by a crash can only be the last one: it is cut off on
opening, and the step it stood for is run again.

Not covered: concurrent writers. A run folder is locked by the process that works on it (`aira_bench.runs.folder`).
"""

import hashlib
import json
import os
from collections.abc import Mapping
from dataclasses import asdict
from pathlib import Path
from typing import Any, Literal

from pydantic import ConfigDict, TypeAdapter, ValidationError
from pydantic.dataclasses import dataclass as checked_dataclass

from aira_bench.errors import RunStateError
from aira_bench.runs.node import Node

SeedEnd = Literal["steps", "hours", "policy", "budget"]


@checked_dataclass(frozen=True, config=ConfigDict(extra="forbid"))
class StepStarted:
    """A step began; without a `StepEnded` after it, it was in flight when the process died."""

    step: int
    at: str
    event: Literal["step_started"] = "step_started"


@checked_dataclass(frozen=True, config=ConfigDict(extra="forbid"))
class StepEnded:
    """A step's result."""

    node: Node
    at: str
    event: Literal["step_ended"] = "step_ended"


@checked_dataclass(frozen=True, config=ConfigDict(extra="forbid"))
class SeedEnded:
    """The seed is complete; `submitted` is the step whose artifact counts, None if no step was valid."""

    why: SeedEnd
    submitted: int | None
    at: str
    event: Literal["seed_ended"] = "seed_ended"


Event = StepStarted | StepEnded | SeedEnded
_EVENTS: Mapping[str, TypeAdapter[Any]] = {
    "step_started": TypeAdapter(StepStarted),
    "step_ended": TypeAdapter(StepEnded),
    "seed_ended": TypeAdapter(SeedEnded),
}
_GENESIS = "0" * 16


def _chain(previous: str, body: str) -> str:
    return hashlib.sha256(f"{previous}{body}".encode()).hexdigest()[:16]


def _encode(event: Event, previous: str) -> tuple[str, str]:
    body = json.dumps(asdict(event), ensure_ascii=True, allow_nan=False, separators=(",", ":"))
    link = _chain(previous, body)
    return f'{{"chain":"{link}","body":{body}}}\n', link


_PREFIX, _LINK_END, _BODY_START = '{"chain":"', 26, 35


def read_events(path: Path) -> tuple[list[Event], str, int]:
    """All whole events, the last link of the chain, and how many bytes of the file they fill.

    Raises:
        RunStateError: a line other than a torn last one is broken, or the chain does not hold.
    """
    data = path.read_bytes() if path.exists() else b""
    events: list[Event] = []
    link, whole = _GENESIS, 0
    for number, raw in enumerate(data.splitlines(keepends=True), start=1):
        torn = not raw.endswith(b"\n")
        if torn:
            break
        try:
            line = raw.decode("ascii")
            body = line[_BODY_START:-2]
            if not line.startswith(_PREFIX) or line[10:_LINK_END] != _chain(link, body):
                raise ValueError("the hash chain is broken")
            values = json.loads(body)
            events.append(_EVENTS[values["event"]].validate_python(values))
        except (ValueError, KeyError, TypeError, ValidationError) as error:
            raise RunStateError(f"{path} line {number} was changed or damaged: {str(error)[:120]}.") from error
        link, whole = line[10:_LINK_END], whole + len(raw)
    return events, link, whole


class JournalFile:
    """Appends events of one seed; opening it cuts a torn last line."""

    def __init__(self, path: Path) -> None:
        """Open for appending.

        Raises:
            RunStateError: the file holds damaged lines.
        """
        self.path = path
        self.events, self._link, whole = read_events(path)
        self._file = os.open(path, os.O_WRONLY | os.O_CREAT | os.O_APPEND | os.O_CLOEXEC, 0o600)
        if os.fstat(self._file).st_size > whole:
            os.ftruncate(self._file, whole)
            os.fsync(self._file)

    @property
    def nodes(self) -> tuple[Node, ...]:
        """Finished steps in order."""
        return tuple(event.node for event in self.events if isinstance(event, StepEnded))

    @property
    def ended(self) -> SeedEnded | None:
        """How the seed ended, None while it has not."""
        last = self.events[-1] if self.events else None
        return last if isinstance(last, SeedEnded) else None

    def append(self, event: Event) -> None:
        """Write one event and force it to disk."""
        line, self._link = _encode(event, self._link)
        _write_all(self._file, line.encode("ascii"))
        os.fsync(self._file)
        self.events.append(event)

    def close(self) -> None:
        """Close the file."""
        os.close(self._file)


def _write_all(descriptor: int, data: bytes) -> None:
    while data:
        data = data[os.write(descriptor, data) :]
