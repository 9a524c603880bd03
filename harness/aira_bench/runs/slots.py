"""Slots: the machine's places for containers, each with the next containers already started.

A slot is a set of cores (or a GPU). While an agent thinks, or a step runs, the slot's next step container and the
containers of its next evaluation are created and started, so that a step never waits for the engine.

Not covered: fairness. Slots go to whichever seed asks first.
"""

import contextlib
import queue
from collections.abc import Callable, Iterator, Sequence
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass

from aira_bench.evaluation.submission_evaluator import SubmissionEvaluator
from aira_bench.sandbox.sandbox import ContainerSpec, Limits, Sandbox
from aira_bench.sandbox.warm import WarmContainer
from aira_bench.waiting import Waits

OpenEvaluator = Callable[[Sandbox, Limits, ThreadPoolExecutor], SubmissionEvaluator]


@dataclass(frozen=True)
class Slot:
    """One place for containers."""

    cpus: tuple[int, ...] | None
    agent: WarmContainer
    evaluator: SubmissionEvaluator


class SlotPool:
    """All slots of a run."""

    def __init__(self, sandbox: Sandbox, agents: Sequence[ContainerSpec], open_evaluator: OpenEvaluator) -> None:
        """One slot for each agent spec; its evaluator works under the same limits."""
        self._pool = ThreadPoolExecutor(max_workers=max(2, len(agents)), thread_name_prefix="containers")
        self._slots = [
            Slot(
                agent.limits.cpus,
                WarmContainer(sandbox, agent, self._pool),
                open_evaluator(sandbox, agent.limits, self._pool),
            )
            for agent in agents
        ]
        self._free: queue.SimpleQueue[Slot] = queue.SimpleQueue()
        for slot in self._slots:
            self._free.put(slot)

    @contextlib.contextmanager
    def slot(self, waits: Waits) -> Iterator[Slot]:
        """Wait for a slot and hold it.

        Raises:
            Stopped: the run was stopped before one was free.
        """
        slot = waits.obtain(self._taken_within, "slot", "waiting for a slot")
        try:
            yield slot
        finally:
            self._free.put(slot)

    def _taken_within(self, seconds: float) -> Slot | None:
        with contextlib.suppress(queue.Empty):
            return self._free.get(seconds > 0, seconds)
        return None

    def close(self) -> None:
        """Remove every container started ahead."""
        for slot in self._slots:
            slot.agent.close()
            slot.evaluator.close()
        self._pool.shutdown()
