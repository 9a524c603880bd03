"""The one seam through which time, identifiers and the host's name enter.

Everything that would make two runs of the same seed differ comes from a `World`, so a test or a replay can
supply its own. Not covered: randomness of the search, which is an explicit `random.Random` passed
down from the run's seed.
"""

import platform
import time
import uuid
from dataclasses import dataclass
from datetime import UTC, datetime
from typing import Protocol


class World(Protocol):
    """What differs from one moment and machine to the next."""

    def now(self) -> datetime:
        """Return the wall-clock time as a timezone-aware datetime in UTC."""
        ...

    def monotonic_s(self) -> float:
        """Return seconds since an arbitrary start, on a clock that never goes back."""
        ...

    def new_id(self) -> str:
        """Return a fresh identifier of 12 lower-case hexadecimal digits."""
        ...

    def host_name(self) -> str:
        """Return the machine's name, for manifests."""
        ...


@dataclass(frozen=True)
class SystemWorld:
    """The real clock, random identifiers, and the name of this machine."""

    def now(self) -> datetime:
        """Return the wall-clock time as a timezone-aware datetime in UTC."""
        return datetime.now(UTC)

    def monotonic_s(self) -> float:
        """Return seconds since an arbitrary start, on a clock that never goes back."""
        return time.monotonic()

    def new_id(self) -> str:
        """Return a fresh identifier of 12 lower-case hexadecimal digits."""
        return uuid.uuid4().hex[:12]

    def host_name(self) -> str:
        """Return the machine's name, for manifests."""
        return platform.node()
