"""A task with data of its own, made for one check and removed with it."""

import secrets
from dataclasses import dataclass
from pathlib import Path

from aira_bench.authoring.findings import Tell
from aira_bench.evaluation.submission_evaluator import EvaluationSetting
from aira_bench.images.ensure import ImageSet
from aira_bench.runs.host import Host
from aira_bench.sandbox.sandbox import Limits
from aira_bench.tasks.store import TaskData
from aira_bench.tasks.task import Task
from aira_contract.settings import ON_GPUS, ProfileName


@dataclass(frozen=True)
class CheckedTask:
    """A task with data made for one check."""

    host: Host
    task: Task
    profile: ProfileName
    data: TaskData
    images: ImageSet
    run_id: str
    scratch: Path
    tell: Tell

    @property
    def limits(self) -> Limits:
        """What each container may use: the profile's memory and disk, and in `paper` a GPU where there is one."""
        gpus = self.host.hardware.gpus if self.profile in ON_GPUS else ()
        return self.task.profile(self.profile).limits(gpu_uuid=gpus[0].uuid if gpus else None)

    @property
    def setting(self) -> EvaluationSetting:
        """What evaluations need; valid once the data is made."""
        return EvaluationSetting(
            self.task, self.profile, self.data, self.images, self.run_id,
            public_sha256=str(self.data.hashes()["public"]["sha256"]), draw_secret=secrets.token_hex(32),
        )  # fmt: skip

    def file(self, name: str) -> Path:
        """Return a file of the task's own folder, as messages name it."""
        return self.task.folder / name
