"""Workers as processes of this machine: `--engine local`.

Not covered: how they share its cores and GPUs: all processes of a machine stand in one line (`runs.line`).
"""

import platform
import signal
import time
from collections.abc import Callable, Sequence
from dataclasses import dataclass

from aira_bench.errors import PrerequisiteError
from aira_bench.launchers.launcher import EngineMachine, Fleet, WorkerOrder
from aira_bench.launchers.worker_process import WorkerProcess

_LOOK_S = 0.05


class LocalFleet:
    """Processes that are children of this one, and end with it."""

    def __init__(self, workers: list[WorkerProcess], order: WorkerOrder) -> None:
        """Take the processes of one order."""
        self._workers, self._order = workers, order

    def alive(self) -> int:
        """Return how many have not ended."""
        return sum(worker.wait(0) is None for worker in self._workers)

    def stop(self, grace_s: float, clock: Callable[[], float] = time.monotonic) -> None:
        """Tell all of them, wait for their end, and kill who is left."""
        ends_s = clock() + grace_s
        if grace_s > 0:
            for worker in self._workers:
                worker.tell(signal.SIGTERM)
        while self.alive() and (left_s := ends_s - clock()) > 0:
            time.sleep(min(_LOOK_S, left_s))
        for worker in self._workers:
            worker.tell(signal.SIGKILL)

    def describe(self) -> str:
        """Return how many there are, and where their output is."""
        return f"{len(self._workers)} workers on this machine; what they say: {self._order.logs}"


@dataclass(frozen=True)
class LocalLauncher:
    """Starts processes of this machine."""

    def machines(self) -> Sequence[EngineMachine]:
        """Return this machine and no other."""
        return (EngineMachine(platform.node()),)

    def start(self, order: WorkerOrder) -> Fleet:
        """Start all of them at once.

        Raises:
            PrerequisiteError: the machine has no such program, or lets no more processes be started.
        """
        order.logs.mkdir(parents=True, exist_ok=True)
        workers: list[WorkerProcess] = []
        try:
            for number in range(order.workers):
                log = order.logs / f"worker-{number}.log"
                workers.append(WorkerProcess(order.arguments, order.environment, log))
        except OSError as error:
            LocalFleet(workers, order).stop(0)
            raise PrerequisiteError(f"A worker cannot be started: {error}.", hint="--workers with fewer") from error
        return LocalFleet(workers, order)
