"""Slots: the machine's places for containers, each with the next containers already started.

A slot is a set of cores (or a GPU). While an agent thinks, or a step runs, the slot's next step container and next
judge container are created and started, so that a step never waits for the engine. A container is used once.

Not covered: fairness. Slots go to whichever seed asks first.
"""

import contextlib
import queue
import threading
from collections.abc import Iterator, Sequence
from concurrent.futures import Future, ThreadPoolExecutor
from dataclasses import dataclass

from aira_bench.errors import SandboxError
from aira_bench.sandbox.protocol import ContainerSpec, PreparedContainer, Sandbox


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
        """The started container; the next one begins to start.

        Raises:
            PrerequisiteError: engine or image is gone.
            SandboxError: the engine failed, and the next call tries afresh; or the pool is closed.
        """
        self._start_next()
        with self._lock:
            waiting, self._next = self._next, None
        if waiting is None:
            raise SandboxError("The run is being stopped.")
        container = waiting.result()
        self._start_next()
        return container

    def close(self) -> None:
        """Remove a container that was started and not used; start no more."""
        with self._lock:
            waiting, self._next, self._closed = self._next, None, True
        if waiting is not None and not waiting.cancel():
            with contextlib.suppress(Exception):  # it never started: nothing to remove
                waiting.result().close()


@dataclass(frozen=True)
class Slot:
    """One place for containers."""

    cpus: tuple[int, ...] | None
    agent: WarmContainer
    judge: WarmContainer


class SlotPool:
    """All slots of a run."""

    def __init__(self, sandbox: Sandbox, specs: Sequence[tuple[ContainerSpec, ContainerSpec]]) -> None:
        """One slot for each pair of agent and judge specs."""
        self._pool = ThreadPoolExecutor(max_workers=max(2, len(specs)), thread_name_prefix="containers")
        self._slots = [
            Slot(
                agent.limits.cpus,
                WarmContainer(sandbox, agent, self._pool),
                WarmContainer(sandbox, judge, self._pool),
            )
            for agent, judge in specs
        ]
        self._free: queue.SimpleQueue[Slot] = queue.SimpleQueue()
        for slot in self._slots:
            self._free.put(slot)

    @contextlib.contextmanager
    def slot(self) -> Iterator[Slot]:
        """Wait for a slot and hold it."""
        slot = self._free.get()
        try:
            yield slot
        finally:
            self._free.put(slot)

    def close(self) -> None:
        """Remove every container started ahead."""
        for slot in self._slots:
            slot.agent.close()
            slot.judge.close()
        self._pool.shutdown()


def split_cores(cores: Sequence[int], slots: int) -> list[tuple[int, ...]]:
    """Deal cores to slots evenly; with more slots than cores, slots share."""
    if slots > len(cores):
        return [(cores[index % len(cores)],) for index in range(slots)]
    share = len(cores) // slots
    return [tuple(cores[index * share : (index + 1) * share]) for index in range(slots)]
