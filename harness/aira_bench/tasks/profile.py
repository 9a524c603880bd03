"""Budgets and caps of a task's profile: what a search, a step, an evaluation and their containers may take.

Not covered: sizes of data and models, which are the task scripts' own business.
"""

from typing import Annotated

from pydantic import Field, model_validator

from aira_bench.sandbox.sandbox import Limits
from aira_bench.tasks.schema import Count, Mib, Schema, Seconds
from aira_contract.settings import LEAST_TRAININGS, ProfileName

MOST_HOURS = 87_600
"""Ten years."""


class FitClock(Schema):
    """The clocks outside a submitted script: at `budget_s` + `start_up_s` its container is killed."""

    budget_s: Seconds
    """Seconds of training, which the script is told."""
    start_up_s: Seconds
    """One allowance for imports, compilation and handing the model over, equal for all."""
    handover_mib: Mib = 2048
    """Largest handed-over model."""
    serving_s: Seconds = 1800
    """For loading the model and answering a judge, in all containers that do together."""
    predictors: int = Field(default=1, gt=0, le=64)
    """How many containers that is: rows that share source files are asked in different ones."""


class Profile(Schema):
    """Budgets and caps of one profile. Sizes of data and models are the task scripts' own business."""

    steps: Count = 500
    hours: float = Field(default=24.0, gt=0, le=MOST_HOURS)
    step_timeout_s: Seconds = 14400
    evaluation_timeout_s: Seconds = 14400
    prepare_timeout_s: Seconds = 14400
    """For each of the two preparing scripts; it only has to end what hangs."""
    memory_mib: Mib = 8192
    """Of processes; what the next three may hold is granted on top."""
    workspace_mib: Mib = 2048
    shm_mib: Mib = 1024
    """Of /dev/shm, through which workers of a DataLoader hand batches over: 8 that were two batches of 38.5 MiB ahead
    held 654 MiB there, and 64 MiB, the engine's own default, ended them."""
    tmp_mib: Mib = 1024
    """Of /tmp, where assemblers and linkers of kernels work."""
    pids: Annotated[int, Field(ge=64, le=1 << 20)] = 8192
    """Processes and threads. A worker of a DataLoader took 4, or 6 where it was spawned; libraries start as many
    compiling workers, and threads in each process, as there are cores, and CUDA some in each."""
    fit: FitClock | None = None
    """For artifacts of kind `script`."""
    trainings: int = Field(default=LEAST_TRAININGS, ge=LEAST_TRAININGS, le=100)
    """How many trainings with fresh seeds confirm what a search submitted."""

    def limits(self, cpus: tuple[int, ...] | None = None, gpu_uuid: str | None = None) -> Limits:
        """Return the caps of this profile's containers on some cores, and a device."""
        return Limits(
            memory_mib=self.memory_mib, workspace_mib=self.workspace_mib, shm_mib=self.shm_mib, tmp_mib=self.tmp_mib,
            pids=self.pids, cpus=cpus, gpu_uuid=gpu_uuid,
        )  # fmt: skip

    @model_validator(mode="after")
    def _a_script_has_the_time_it_is_told_of(self) -> "Profile":
        if self.fit is not None:
            needed_s = self.fit.budget_s + self.fit.start_up_s + self.fit.serving_s
            if self.evaluation_timeout_s < needed_s:
                raise ValueError(
                    f"evaluation_timeout_s: {self.evaluation_timeout_s:g} is less than fit's budget_s, start_up_s and "
                    f"serving_s together, {needed_s:g}"
                )
        return self


UPSTREAM_PROFILES: dict[ProfileName, Profile] = {"paper": Profile(), "cpu": Profile(steps=8, hours=1.0)}
"""Of a task folder that declares none."""
