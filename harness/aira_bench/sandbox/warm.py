"""A container of one spec that is always started ahead of its use.

Not covered: containers whose spec depends on a submission; those are prepared when they are needed.
"""

import contextlib
import threading
from concurrent.futures import Future, ThreadPoolExecutor
from pathlib import Path

from aira_bench.errors import SandboxError
from aira_bench.sandbox.sandbox import ContainerSpec, PreparedContainer, Sandbox

EMPTY_STEP_TIMEOUT_S = 60.0


class WarmContainer:
    """Keeps one container of a spec started ahead."""

    def __init__(self, sandbox: Sandbox, spec: ContainerSpec, pool: ThreadPoolExecutor) -> None:
        """Begin starting the first container."""
        self._sandbox, self._spec, self._pool = sandbox, spec, pool
        self._lock, self._closed = threading.Lock(), False
        self._next: Future[PreparedContainer] | None = None
        self._start_next()

    def _start_next(self) -> None:
        with self._lock:
            if not self._closed and self._next is None:
                self._next = self._pool.submit(self._sandbox.prepare, self._spec)

    def take(self) -> PreparedContainer:
        """Return the started container; the next one begins to start. One that died while it waited is replaced.

        Raises:
            PrerequisiteError: engine or image is gone.
            SandboxError: the engine failed, and the next call tries afresh; or the pool is closed.
        """
        container = self._taken()
        if container.is_waiting:
            return container
        container.close()  # as when the engine was restarted since it was made
        return self._taken()

    def _taken(self) -> PreparedContainer:
        self._start_next()
        with self._lock:
            waiting, self._next = self._next, None
        if waiting is None:
            raise SandboxError("The run is being stopped.")
        container = waiting.result()
        self._start_next()
        return container

    def runs_empty_step(self, destination: Path) -> bool:
        """Whether the next container still runs an empty program: then one that was lost is the doing of what it ran.

        Raises:
            PrerequisiteError: engine or image is gone.
            SandboxError: the engine failed.
        """
        container = self.take()
        try:
            outcome = container.run(
                ["python3", "-c", "pass"], files={}, timeout_s=EMPTY_STEP_TIMEOUT_S, artifacts=[],
                destination=destination,
            )  # fmt: skip
        finally:
            container.close()
        return outcome.exit_code == 0

    def close(self) -> None:
        """Remove a container that was started and not used; start no more."""
        with self._lock:
            waiting, self._next, self._closed = self._next, None, True
        if waiting is not None and not waiting.cancel():
            with contextlib.suppress(Exception):  # it never started: nothing to remove
                waiting.result().close()
