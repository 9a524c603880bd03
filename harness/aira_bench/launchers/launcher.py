"""What every launcher does: it starts so many processes of one command somewhere, and can tell them to end.

Not covered: what the workers do. A launcher neither gives out work nor looks at what came of it, so losing it, or a
worker, loses nothing.
"""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import Protocol


@dataclass(frozen=True)
class WorkerOrder:
    """So many workers of one command, and what each of them needs."""

    arguments: tuple[str, ...]
    """The program and its arguments, found where the worker runs: `aira-bench` is that of the Python that starts it."""
    workers: int
    """How many; the engine may start fewer at a time, and the others later."""
    logs: Path
    """A folder that every machine sees under this path; what workers print is kept there."""
    cores: int = 1
    """Of each worker; 0 takes a machine as it is, where the engine allows it."""
    gpus: int = 0
    """Of each worker; which ones it has, the engine says in `CUDA_VISIBLE_DEVICES`."""
    memory_mib: int = 0
    """Of each worker; 0 asks for none, and takes what the engine gives."""
    environment: Mapping[str, str] = field(default_factory=dict)
    """Variables that are set for the worker, beside those that its machine has. No secrets: it may lie in a file."""
    on: str | None = None
    """The machine that all of them run on, as `Launcher.machines` calls it; None where the engine chooses."""
    secrets: tuple[str, ...] = ()
    """Names of variables of this process that the worker has too, by a way on which no file of ours holds them."""


class Fleet(Protocol):
    """The workers of one order."""

    def alive(self) -> int:
        """Return how many workers run or wait for a place; 0 when all have ended.

        An engine that does not answer just now counts as before: that says nothing of its workers.
        """
        ...

    def stop(self, grace_s: float) -> None:
        """Have every worker end: by SIGTERM, and by SIGKILL when the grace is over; those that wait never begin.

        Args:
            grace_s: how long to wait for their end; 0 kills at once. Where the engine has a grace of its own, that
                is what its workers have, and nobody is waited for.
        """
        ...

    def describe(self) -> str:
        """Return in a line where the workers are, and where the engine shows them."""
        ...


@dataclass(frozen=True)
class EngineMachine:
    """One machine of an engine."""

    name: str
    why_not: str = ""
    """What keeps the engine from starting anything there."""
    mend: str = ""
    """A command that says more, or mends it."""


class Launcher(Protocol):
    """One way to start workers."""

    def machines(self) -> Sequence[EngineMachine]:
        """Return all machines on which workers may come to run.

        Raises:
            PrerequisiteError: the engine, or what it needs here, is not there.
        """
        ...

    def start(self, order: WorkerOrder) -> Fleet:
        """Start them, or have them wait for their place.

        Raises:
            PrerequisiteError: the engine, or what it needs here, is not there.
            UsageError: the engine refuses what was asked of it.
        """
        ...
