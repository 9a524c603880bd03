"""What runs in an allocation of Slurm: one worker, and whoever tells it that time is up.

submitit runs `SlurmWorker` in place of the batch script's shell, so Slurm's signals for the batch script reach it:
SIGTERM when the job is preempted, cancelled or its node drained, and `TIME_IS_UP` some time before the job's limit. A
job whose time is up is put back into its queue, since nobody else would; one that was preempted Slurm itself puts back.

Not covered: what is lost with a node. Slurm starts the job again elsewhere, and the store knows what was finished.
"""

import os
import signal
import subprocess
from dataclasses import dataclass, field
from types import FrameType

from aira_bench.launchers.worker_process import WorkerProcess

TIME_IS_UP = signal.SIGUSR2
_REQUEUE_TIMEOUT_S = 60.0


@dataclass
class SlurmWorker:
    """One worker; called on its node, by submitit, in the main thread."""

    arguments: tuple[str, ...]
    environment: dict[str, str]
    is_up: bool = field(default=False, init=False)
    """Whether the job's time is up."""

    def on_place(self, place: int) -> int:
        """Be the worker of a place of the array until it ends; return its exit status."""
        worker = WorkerProcess(self.arguments, self.environment)

        def end(number: int, frame: FrameType | None) -> None:
            self.is_up = self.is_up or number == TIME_IS_UP
            worker.tell(signal.SIGTERM)

        for number in (signal.SIGTERM, signal.SIGINT, TIME_IS_UP):
            signal.signal(number, end)
        while (status := worker.wait()) is None:
            continue
        if self.is_up:
            subprocess.run(["scontrol", "requeue", _job_id()], check=True, timeout=_REQUEUE_TIMEOUT_S)
        return status


def _job_id() -> str:
    """How Slurm calls this job: the place in an array, or the job."""
    array, place = os.environ.get("SLURM_ARRAY_JOB_ID"), os.environ.get("SLURM_ARRAY_TASK_ID")
    return f"{array}_{place}" if array and place else os.environ["SLURM_JOB_ID"]
