"""Workers as a job array of Slurm, submitted by submitit: `--engine slurm`.

Each place of the array is one allocation with one worker, which uses all GPUs that it has. Slurm puts a job back when
it is preempted or its node is lost; a job whose time is nearly up puts itself back (`slurm_job`). Without accounting
Slurm forgets a job that has ended, so its state is asked for nothing but whether workers are left.

Not covered: what a node must have (docs/cluster.md), and logs, which submitit keeps in the order's folder.
"""

import re
import shlex
import shutil
import subprocess
import sys
import time
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass

from aira_bench.errors import PrerequisiteError, UsageError
from aira_bench.launchers.launcher import EngineMachine, Fleet, WorkerOrder
from aira_bench.launchers.slurm_job import TIME_IS_UP, SlurmWorker

_OPTION = re.compile(r"--([a-z][a-z0-9-]*)(?:=([^\x00-\x1f\x7f]*))?", re.ASCII)
_OURS = {"array", "wrap", "output", "error", "open-mode", "requeue", "no-requeue", "signal", "job-name", "ntasks"}
"""Options of sbatch that say what a worker is, and are not the user's to choose."""
_LAST_WORDS_S = 120
"""From the word that time is up to the job's limit."""
_COMMAND_TIMEOUT_S = 60.0
_SHORTEST_LOOK_S = 2.0
"""Between two questions to the controller, which has others to answer."""
_GONE = "Invalid job id"
_NOT_UP = re.compile(r"down|drain|fail|maint|inval|unk|\*$", re.IGNORECASE)
"""States in which a node takes no job; the star is of one that does not answer."""


def read_slurm_arguments(text: str) -> dict[str, str | bool]:
    """Return the options of sbatch that a text spells, such as `--time=24:00:00 --account=nas`.

    Raises:
        UsageError: a word is no option of the form `--name=value` or `--name`, or one that the launcher sets itself.
    """
    found: dict[str, str | bool] = {}
    try:
        words = shlex.split(text)
    except ValueError as error:
        raise UsageError(f"--slurm-args cannot be read: {error}.", hint="aira-bench run --help") from None
    for word in words:
        match = _OPTION.fullmatch(word)
        if match is None or match[1] in _OURS:
            why = "is set by aira-bench" if match else "is no option of the form --name=value or --name"
            raise UsageError(f"--slurm-args: {word[:80]!r} {why}.", hint="man sbatch")
        found[match[1]] = True if match[2] is None else match[2]
    return found


class SlurmFleet:
    """The places of one job array."""

    def __init__(self, job: str, workers: int, logs: str, clock: Callable[[], float] = time.monotonic) -> None:
        """Take an array that was submitted.

        Args:
            job: its id.
            workers: how many places it has.
            logs: where what they print is kept.
            clock: seconds that never go back.
        """
        self.job = job
        self._alive, self._of, self._logs, self._clock = workers, workers, logs, clock
        self._looked_s = clock()

    def alive(self) -> int:
        """Return how many places wait or run, as the controller said at most two seconds ago."""
        if self._alive and self._clock() - self._looked_s >= _SHORTEST_LOOK_S:
            self._looked_s = self._clock()
            self._alive = self._asked()
        return self._alive

    def _asked(self) -> int:
        try:
            told = _ask("squeue", "--noheader", "--array", "--format=%T", f"--jobs={self.job}")
        except PrerequisiteError:
            return self._alive
        if told.returncode:
            return 0 if _GONE in told.stderr else self._alive
        return len(told.stdout.split())

    def stop(self, grace_s: float) -> None:
        """Cancel the array: what waits never begins, what runs is told, and killed after `KillWait` of the site."""
        if grace_s <= 0:
            _ask("scancel", "--signal=KILL", "--full", self.job)
        told = _ask("scancel", self.job)
        if told.returncode and _GONE not in told.stderr:
            raise PrerequisiteError(
                f"Slurm did not cancel job {self.job}: {' '.join(told.stderr.split())}", hint=f"scancel {self.job}"
            )
        self._looked_s = self._clock() - _SHORTEST_LOOK_S

    def describe(self) -> str:
        """Return the array's id, how many places it has, and where their output is."""
        return f"Slurm job {self.job}, {self._of} workers: squeue -j {self.job}; what they say: {self._logs}"


@dataclass(frozen=True)
class SlurmLauncher:
    """Submits job arrays with the commands of the machine that it runs on."""

    partition: str | None = None
    arguments: Mapping[str, str | bool] | None = None
    """Further options of sbatch, by name without dashes."""

    def machines(self) -> Sequence[EngineMachine]:
        """Return the nodes of the partition, or of all; those that are down or drained with their state.

        Raises:
            PrerequisiteError: Slurm's commands are not here, or no controller answers.
        """
        _require_slurm()
        partition = [] if self.partition is None else [f"--partition={self.partition}"]
        told = _ask("sinfo", "--noheader", "--Node", "--format=%N %T", *partition)
        if told.returncode:
            raise PrerequisiteError(f"Slurm does not answer: {' '.join(told.stderr.split())}", hint="sinfo")
        states = dict(line.split() for line in told.stdout.splitlines())
        return [
            EngineMachine(name, f"Slurm says {state}", f"scontrol show node {name}")
            if _NOT_UP.search(state)
            else EngineMachine(name)
            for name, state in sorted(states.items())
        ]

    def start(self, order: WorkerOrder) -> Fleet:
        """Submit one array with a place for each worker.

        Raises:
            PrerequisiteError: submitit or Slurm's commands are not here.
            UsageError: Slurm refuses the job.
        """
        _require_slurm()
        try:
            from submitit import SlurmExecutor
            from submitit.core.utils import FailedJobError, FailedSubmissionError
        except ImportError:
            raise PrerequisiteError("--engine slurm needs submitit.", hint="pip install 'aira-bench[slurm]'") from None
        order.logs.mkdir(parents=True, exist_ok=True)
        # `exec`: the batch script's process is submitit's, which is the one that Slurm tells when time is up.
        executor = SlurmExecutor(order.logs, python=f"exec {shlex.quote(sys.executable)}")
        executor.update_parameters(**self._parameters(order))
        worker = SlurmWorker(order.arguments, dict(order.environment))
        try:
            jobs = executor.map_array(worker.on_place, range(order.workers))
        except (FailedJobError, FailedSubmissionError, OSError) as error:
            told = " ".join(str(error).split())[-300:]
            raise UsageError(f"Slurm refuses the job: {told}", hint="sinfo; --slurm-partition, --slurm-args") from error
        return SlurmFleet(jobs[0].job_id.partition("_")[0], order.workers, str(order.logs))

    def _parameters(self, order: WorkerOrder) -> dict[str, object]:
        """What submitit is asked for; sbatch's own defaults where nothing was said, so no limit of five minutes."""
        asked: dict[str, str | bool] = {
            "requeue": True, "signal": f"B:{TIME_IS_UP.name.removeprefix('SIG')}@{_LAST_WORDS_S}",
        }  # fmt: skip
        if order.memory_mib:
            asked["mem"] = f"{order.memory_mib}M"
        if order.on is not None:
            asked["nodelist"] = order.on
        return {
            "job_name": "aira-bench", "time": None, "wckey": None, "partition": self.partition,
            "cpus_per_task": max(order.cores, 1), "gpus_per_node": order.gpus or None, "use_srun": False,
            "stderr_to_stdout": True, "array_parallelism": order.workers,
            "additional_parameters": dict(self.arguments or {}) | asked,
        }  # fmt: skip


def _require_slurm() -> None:
    if shutil.which("sbatch") is None or shutil.which("squeue") is None:
        raise PrerequisiteError(
            "--engine slurm needs sbatch and squeue, and this machine has none.",
            hint="the same command on a login node of the cluster",
        )


def _ask(*command: str) -> "subprocess.CompletedProcess[str]":
    """What one of Slurm's commands says.

    Raises:
        PrerequisiteError: it says nothing in time, or cannot be started.
    """
    try:
        return subprocess.run(command, capture_output=True, text=True, timeout=_COMMAND_TIMEOUT_S, check=False)
    except (OSError, subprocess.TimeoutExpired) as error:
        raise PrerequisiteError(f"Slurm does not answer: {error}.", hint=shlex.join(command)) from error
