"""Time that passes only when something is said to take time, so that hours of a search are played in milliseconds."""

from dataclasses import dataclass
from datetime import UTC, datetime


@dataclass
class PlayedWorld:
    """A `World` whose clock is moved by hand, with one identifier and one host name. Not safe between threads."""

    now_s: float = 0.0
    """Seconds since 1970, and of the monotonic clock."""

    def now(self) -> datetime:
        """Return the played time, in UTC."""
        return datetime.fromtimestamp(self.now_s, UTC)

    def monotonic_s(self) -> float:
        """Return the played time in seconds."""
        return self.now_s

    def new_id(self) -> str:
        """Return twelve zeros, at every call."""
        return "0" * 12

    def host_name(self) -> str:
        """Return `test`, whatever machine this is."""
        return "test"
