"""Workers as tasks of a Ray cluster: `--engine ray`.

Ray places each task by the cores, GPUs and memory that it asks for, starts it again elsewhere when its node is lost,
and shows it and what it prints in its dashboard. Nodes know the task by its name, so each has aira-bench installed.

Not covered: a cluster (docs/cluster.md), and the end of this process: Ray ends the tasks of a driver that is gone.
"""

import logging
import os
import signal
import socket
import time
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

from aira_bench.errors import PrerequisiteError
from aira_bench.launchers.launcher import EngineMachine, Fleet, WorkerOrder
from aira_bench.launchers.worker_process import WorkerProcess

if TYPE_CHECKING:
    from ray import ObjectRef

_MOST_RESTARTS = 100
"""Of a worker that was killed, or whose node was lost. One that finds nothing to do ends, so this bounds a node that
kills all."""
_LOOK_S = 0.2
_MOST_CHARS = 200
_ANSWERS_WITHIN_S = 10.0
_LAST_WORDS_S = 20.0
"""What a worker whose task is cancelled has for its end."""


class WorkerKilled(Exception):
    """A worker ended by a signal that nobody of us sent: Ray starts its task again."""


def worker_task(arguments: tuple[str, ...], environment: Mapping[str, str]) -> int:
    """Be one worker on a node of the cluster; return its exit status. What it prints is the task's output.

    Raises:
        WorkerKilled: the worker was killed, say for the memory that it took.
    """
    worker = WorkerProcess(arguments, environment)
    try:
        while (status := worker.wait(_LOOK_S)) is None:  # in short waits: a task is cancelled between them
            continue
    except KeyboardInterrupt:  # how Ray says that a task is cancelled
        worker.tell(signal.SIGTERM)
        if worker.wait(_LAST_WORDS_S) is None:
            worker.tell(signal.SIGKILL)
        raise
    if status < 0:
        raise WorkerKilled(signal.Signals(-status).name)
    return status


class RayFleet:
    """Tasks of this driver."""

    def __init__(self, tasks: "list[ObjectRef[int]]", where: str) -> None:
        """Take the tasks of one order."""
        self._tasks, self._where = tasks, where

    def alive(self) -> int:
        """Return how many tasks have neither ended nor failed for good."""
        import ray

        return len(ray.wait(self._tasks, num_returns=len(self._tasks), timeout=0)[1])

    def stop(self, grace_s: float, clock: Callable[[], float] = time.monotonic) -> None:
        """Cancel all tasks, which tell their workers; wait, and have Ray kill who is left."""
        import ray

        ends_s = clock() + grace_s
        if grace_s > 0:
            for task in self._tasks:
                ray.cancel(task)
        if (left_s := ends_s - clock()) > 0:
            ray.wait(self._tasks, num_returns=len(self._tasks), timeout=left_s)
        if self.alive():
            for task in self._tasks:
                ray.cancel(task, force=True)

    def describe(self) -> str:
        """Return how many tasks there are, and where Ray shows them."""
        return f"{len(self._tasks)} Ray tasks named aira-bench-worker; {self._where}"


@dataclass(frozen=True)
class RayLauncher:
    """Starts tasks of a cluster that runs already."""

    address: str | None = None
    """`HOST:PORT` of its head, or `ray://HOST:PORT`; None for `RAY_ADDRESS`, else the cluster of this machine."""

    def machines(self) -> Sequence[EngineMachine]:
        """Return every node of the cluster by its id, the head included where tasks may run there.

        Raises:
            PrerequisiteError: Ray is not installed, or no cluster answers.
        """
        connect_ray(self.address)
        import ray

        nodes: Callable[[], list[dict[str, Any]]] = ray.nodes  # it has no types
        alive = [node for node in nodes() if node["Alive"]]
        computing = [node for node in alive if node["Resources"].get("CPU") or node["Resources"].get("GPU")]
        return [EngineMachine(str(node["NodeID"])) for node in computing]

    def start(self, order: WorkerOrder) -> Fleet:
        """Submit one task for each worker.

        Raises:
            PrerequisiteError: Ray is not installed, or no cluster answers.
        """
        where = connect_ray(self.address)
        import ray
        from ray.util.scheduling_strategies import NodeAffinitySchedulingStrategy

        remote = ray.remote(worker_task).options(
            name="aira-bench-worker",
            num_cpus=order.cores,
            num_gpus=order.gpus,
            memory=order.memory_mib * 2**20 or None,
            max_retries=_MOST_RESTARTS,
            retry_exceptions=[WorkerKilled],
            scheduling_strategy="SPREAD" if order.on is None else NodeAffinitySchedulingStrategy(order.on, soft=False),
        )
        # As arguments: a runtime environment is shown in the dashboard.
        environment = dict(order.environment) | {name: os.environ[name] for name in order.secrets if name in os.environ}
        tasks = [remote.remote(order.arguments, environment) for _ in range(order.workers)]
        return RayFleet(tasks, where)


def connect_ray(address: str | None) -> str:
    """Connect this process to a cluster, unless it is; return where its dashboard is.

    Raises:
        PrerequisiteError: Ray is not installed, or no cluster answers.
    """
    try:
        import ray
    except ImportError:
        raise PrerequisiteError("--engine ray needs Ray.", hint="pip install 'aira-bench[ray]'") from None
    address = address or os.environ.get("RAY_ADDRESS") or "auto"
    try:
        _require_listener(address)
        context = ray.init(address=address, logging_level=logging.ERROR, log_to_driver=False, ignore_reinit_error=True)
    except (ConnectionError, OSError, RuntimeError, TimeoutError, ValueError) as error:
        told = " ".join(str(error).split())[:_MOST_CHARS]
        where = "on this machine, and RAY_ADDRESS is not set" if address == "auto" else f"at {address}"
        raise PrerequisiteError(
            f"No Ray cluster answers {where}: {told}", hint="ray status, then --ray-address HOST:PORT"
        ) from error
    url = getattr(context, "dashboard_url", None)
    return f"dashboard: http://{url}" if url else "ray list tasks shows them"


def _require_listener(address: str) -> None:
    """Try whether anybody listens at an address: Ray itself would try for minutes, and then end this process.

    Raises:
        OSError: nobody does, or its name is unknown.
    """
    host, colon, port = address.removeprefix("ray://").rpartition(":")
    if colon and port.isdigit():
        socket.create_connection((host.strip("[]"), int(port)), timeout=_ANSWERS_WITHIN_S).close()
