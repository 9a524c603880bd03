"""What scores submissions, whatever containers it needs for that.

Architectures and CSV files are data: one judge container reads them (`judge`). A `model.py` and a `train.py` are code:
a fit container meets them first, and the judge gets only what that container wrote. `catalog.open_evaluator` chooses
by the kind of the task's artifact.

Not covered: what a verdict does to a search (`aira_bench.runs.step`).
"""

from dataclasses import KW_ONLY, dataclass, field
from pathlib import Path
from typing import Protocol

from aira_bench.deadline import Deadline
from aira_bench.evaluation.submission import Submission
from aira_bench.evaluation.verdict import Verdict
from aira_bench.images.ensure import ImageSet
from aira_bench.record.compiled_programs import CompiledPrograms
from aira_bench.sandbox.sandbox import Limits
from aira_bench.tasks.store import TaskData
from aira_bench.tasks.task import Task
from aira_contract.settings import PROFILE_VARIABLE, SEED_SET_VARIABLE, SeedSet


@dataclass(frozen=True)
class EvaluationSetting:
    """What all evaluations of a run have in common."""

    task: Task
    profile: str
    data: TaskData
    images: ImageSet
    run_id: str
    """Label of every container."""
    seed_set: SeedSet = "search"
    public_sha256: str | None = None
    """Of the public data, as `Mount.content`."""
    programs: CompiledPrograms | None = None
    """Where judges that compile leave their programs to each other; None: nowhere."""
    evaluator: str | None = None
    """Which evaluator scores, as the user named it; None for the one that fits the task's artifact."""
    elsewhere: "JudgesElsewhere | None" = None
    """Judges on other machines, which have the hidden data; None where it is here."""
    _: KW_ONLY
    draw_secret: str = field(repr=False)
    """Of this machine, hexadecimal. Task folders publish their seeds: what judges ask must not follow from them."""

    @property
    def environment(self) -> dict[str, str]:
        """What the task's own scripts are told in every container of an evaluation."""
        return {PROFILE_VARIABLE: self.profile, SEED_SET_VARIABLE: self.seed_set}

    @property
    def training_deviation(self) -> float:
        """Standard deviation of a score over trainings of one submission, on this data; 0 where nobody measured it."""
        noise = self.task.metadata.aira.noise_floor(self.profile, synthetic=self.data.synthetic)
        return 0.0 if noise is None else noise.deviation


class JudgesElsewhere(Protocol):
    """Judges on other machines (`aira_bench.remote_judging`)."""

    @property
    def options(self) -> tuple[str, ...]:
        """What a command needs to have them judge, as it is typed."""
        ...

    def open(self, setting: EvaluationSetting, limits: Limits) -> "SubmissionEvaluator":
        """Return the evaluator of one slot, whose containers here have these limits."""
        ...


class SubmissionEvaluator(Protocol):
    """Scores submissions one after the other in one slot."""

    def evaluate(self, submission: Submission, *, deadline: Deadline, destination: Path) -> Verdict:
        """Score one submission; what the evaluation wrote is kept under `destination`.

        Args:
            submission: an artifact, no longer than the task admits.
            deadline: for everything the evaluation does, kept from outside the containers. A submission that is not
                done by then is refused where the deadline's owner is `evaluation`; else the run's time was over.
            destination: a host folder that no container sees; made if absent.

        Raises:
            SandboxError: the engine or the evaluation itself failed; the submission has no verdict.
        """
        ...

    def close(self) -> None:
        """Remove every container that is left. Safe to call twice and while an evaluation runs."""
        ...
