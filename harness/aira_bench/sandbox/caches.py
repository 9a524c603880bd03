"""Frees what containers of untrusted code left in the kernel's caches, before another container gets its files.

The caretaker, a resident trusted container that may write to one file of the kernel's, is told after each death. That
needs real root in the engine; where it cannot be had, records say so (`Caretaker.lacking`) and nothing is freed.

Freeing takes milliseconds, off the critical path: the next hand-over waits only for what is not done by then. A
container that left millions of names makes it take seconds or, on a machine with much memory, minutes: that is waited
for, as it must be no failure of the engine's. Past `CLEAN_TIMEOUT_S` nothing goes on: no score is made.

Not covered: messages between containers that run at once, which file trees of their own close (`trees`).
"""

import logging
import threading
from collections.abc import Callable
from concurrent.futures import Future, ThreadPoolExecutor
from concurrent.futures import TimeoutError as FutureTimeoutError

from aira_bench.docker_engine import DockerEngine
from aira_bench.errors import AiraError, SandboxError
from aira_bench.sandbox.caretaker import Caretaker
from aira_bench.sandbox.ending import DEATH_TIMEOUT_S
from aira_bench.sandbox.sandbox import Mount
from aira_bench.sandbox.trusted import TrustedContainer

CLEAN_TIMEOUT_S = DEATH_TIMEOUT_S
"""Longest time to free caches, deaths that are waited for included: code can make both slow."""
READ_TIMEOUT_S = 600.0
_log = logging.getLogger(__name__)


class Caches:
    """The caches of one engine's machine. Usable from several threads."""

    def __init__(self, engine: DockerEngine, caretaker: Caretaker, heads: Callable[[], list[tuple[str, int]]]) -> None:
        """`heads` names the inodes of file trees, which `caretaker` keeps in memory."""
        self._engine, self._caretaker, self._heads = engine, caretaker, heads
        self._lock = threading.Lock()
        self._reading = threading.Lock()
        self._read: set[str] = set()
        self._pool = ThreadPoolExecutor(max_workers=1, thread_name_prefix="caches")
        self._soiled = self._cleaned = self._must_drop = 0

    def read_first(self, image: str, data: Mount | None = None) -> None:
        """Read all of an image, or of a data folder, once a process: then no page tells whether another read it.

        Raises:
            SandboxError: that failed.
        """
        what = image if data is None else str(data.source)
        with self._reading:
            if what in self._read:
                return
            mounts = []
            if data is not None:
                mounts.append({"Type": "bind", "Source": str(data.source), "Target": "/data", "ReadOnly": True})
            with TrustedContainer(
                self._engine, image, "caches", mounts=mounts, capabilities=["DAC_OVERRIDE"]
            ) as reader:
                reader.ask({"do": "read", "root": "/" if data is None else "/data"}, timeout_s=READ_TIMEOUT_S)
            self._read.add(what)

    def soil(self, image: str, await_death: Callable[[], object], *, drop: bool) -> None:
        """A container of untrusted code is at its end: clean up behind it, in a thread of ours.

        Args:
            image: for the caretaker, if there is none yet.
            await_death: returns when its last process is dead.
            drop: free names too, and let no container begin before that.
        """
        with self._lock:
            self._soiled += 1
            mark = self._soiled
            if drop:
                self._must_drop = mark
        self._pool.submit(self._clean_quietly, image, mark, await_death)

    def settle(self, image: str) -> None:
        """Wait until all that must be freed is.

        Raises:
            SandboxError: it was not within `CLEAN_TIMEOUT_S`.
        """
        with self._lock:
            if self._cleaned >= self._must_drop:
                return
            waiting: Future[None] = self._pool.submit(self._clean, image, self._must_drop)
        try:
            waiting.result(CLEAN_TIMEOUT_S)
        except FutureTimeoutError:
            raise SandboxError(
                f"The kernel's caches were not freed within {CLEAN_TIMEOUT_S:.0f} s of a container's end; "
                "until then another one could read what it left.",
                hint="aira-bench doctor",
            ) from None

    def close(self) -> None:
        """Wait for what is being freed."""
        self._pool.shutdown(wait=True)

    def _clean_quietly(self, image: str, mark: int, await_death: Callable[[], object]) -> None:
        try:
            await_death()
            self._clean(image, mark)
        except AiraError as error:  # the next hand-over tries again, and fails where it must
            _log.info("caches were not freed yet: %s", error.message)
        except Exception:
            _log.warning("caches were not freed", exc_info=True)

    def _clean(self, image: str, mark: int) -> None:
        with self._lock:
            if self._cleaned >= mark:
                return
            drop = self._cleaned < self._must_drop
        drop = drop and not self._caretaker.lacking(image)
        request = {"do": "clean", "drop": drop, "heads": self._heads()}
        self._caretaker.ask(image, request, timeout_s=CLEAN_TIMEOUT_S)
        with self._lock:
            self._cleaned = max(self._cleaned, mark)
