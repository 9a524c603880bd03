"""The noise floor of a task as its `metadata.yaml` has it, and how well one training ranks.

Not covered: measuring it (`aira_bench.runs.noise`), and what boards refuse to order by it (`aira_bench.boards.order`).
"""

from pydantic import Field, model_validator

from aira_bench.tasks.schema import Count, Schema

RANKS_WELL = 0.80
"""The rank correlation that scores of a task should have with scores of other trainings."""


class MeasuredRanking(Schema):
    """How one training ranks random artifacts as another training does, where that was measured."""

    spearman: float = Field(ge=-1, le=1)
    """Rank correlation of one training with another."""
    low: float = Field(ge=-1, le=1)
    high: float = Field(ge=-1, le=1)
    """Of its interval of 95 %."""
    trainings: Count
    """Of how many trainings a score must be the mean to reach RANKS_WELL."""
    training_s: float = Field(gt=0)
    """Seconds of one core that a training takes."""


class MeasuredNoise(Schema):
    """The noise floor of a task in one profile: how far trainings of one artifact lie apart (`aira-bench noise`)."""

    deviation: float = Field(gt=0)
    """Standard deviation of the hidden test score of one training, pooled within artifacts, in the task's unit."""
    artifacts: Count
    """How many were trained."""
    trainings: Count
    """Of all of them together."""
    measured: str = Field(pattern=r"^\d{4}-\d{2}-\d{2}$")
    """The day."""
    hardware: str = Field(min_length=1, max_length=100)
    """The class of the machine, as boards name it."""
    ranks: MeasuredRanking | None = None
    """None where only trainings of few artifacts were measured."""

    @property
    def freedom(self) -> int:
        """Degrees of freedom of the deviation."""
        return self.trainings - self.artifacts

    @model_validator(mode="after")
    def _some_artifact_was_trained_twice(self) -> "MeasuredNoise":
        if self.trainings <= self.artifacts:
            raise ValueError(f"trainings: {self.trainings} of {self.artifacts} artifacts leave no degree of freedom")
        return self
