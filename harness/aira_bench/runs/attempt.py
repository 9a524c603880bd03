"""One attempt of a worker at a unit: which copy it writes to, how far it came, and how it is stopped.

Not covered: who may have the unit (`aira_bench.leasing`), and what is done with it (`aira_bench.runs.worker`).
"""

import contextlib
import threading
from collections.abc import Callable, Iterator

from aira_bench.copies.folder_copy import FolderCopy
from aira_bench.errors import AiraError
from aira_bench.leasing.lease import Lease, LeaseLost, Won
from aira_bench.runs.units import Unit


class Attempt:
    """One attempt at a unit, and how to stop it."""

    def __init__(self, unit: Unit, taken: Won) -> None:
        """Of a unit that was taken just now."""
        self.unit = unit
        self.fork = taken.lease.entry.fork
        """The copy of the unit that it works on."""
        self.alone = taken.is_certain
        """Whether nobody else can write to that copy."""
        self.copy: FolderCopy | None = None
        """Of the unit, where it lies on object storage."""
        self.advanced = False
        """Whether it has finished a step."""
        self._lock, self._is_stopped = threading.Lock(), False
        self._end: Callable[[], None] | None = None

    def stop(self) -> None:
        """Have it stop, whatever it is at."""
        with self._lock:
            self._is_stopped, end = True, self._end
        if end is not None:
            end()

    def leave(self) -> None:
        """Commit what is there beside finished steps, such as answers of models, for whoever goes on."""
        with contextlib.suppress(AiraError):
            if self.copy is not None:
                self.copy.push()

    def is_lost(self, lease: Lease) -> bool:
        """Whether it stopped because another worker has the unit."""
        try:
            lease.check()
        except LeaseLost:
            return True
        except AiraError:
            pass
        return False

    @contextlib.contextmanager
    def stoppable(self, end: Callable[[], None]) -> Iterator[None]:
        """Have `end` called while the block runs, when it is to stop."""
        with self._lock:
            self._end, stopped = end, self._is_stopped
        if stopped:
            end()
        try:
            yield
        finally:
            with self._lock:
                self._end = None
