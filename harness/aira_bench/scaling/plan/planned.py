"""What trainings take: steps, tokens, hours of GPUs, memory of each, dollars and disk.

- Time: tokens over the tokens a second of one GPU (`throughput`), the same on each of several.
- Memory: `memory`, at the worst moment of a step. Where nothing is asked for, the layout is the first that leaves a
  tenth of the GPU free: nothing recomputed before selective before full, four sequences at a time before two and one.
- Dollars: GPU-hours times a price that the user gives; without a price there are none.
- Disk: checkpoints of 12 bytes a parameter (float32 weights and two moments), and token ids of the longest training,
  which all share, in 4 bytes (2 where the vocabulary has at most 65,536).

Not covered: evaluation, restarts, stragglers, idle GPUs, downloads.
"""

from collections.abc import Sequence
from dataclasses import dataclass

from aira_bench.errors import UsageError
from aira_bench.scaling.plan.experiments import PlannedCell
from aira_bench.scaling.plan.memory import MemorySetting, RankMemory, Recompute, rank_memory
from aira_bench.scaling.plan.models import PlannedModel, PlannedSteps, planned_model, planned_steps
from aira_bench.scaling.plan.throughput import DEFAULT_MFU, Measurement, Throughput, throughput
from aira_contract.gpu_types import GpuType
from aira_contract.recipes import Recipe
from aira_contract.training_arithmetic import parameters_with_embedding

CHECKPOINT_BYTES = 12
"""A parameter."""
FREE_SHARE = 0.1
_SMALL_VOCABULARY = 65_536
_LAYOUTS: tuple[tuple[Recompute, int], ...] = (
    ("none", 4), ("none", 2), ("none", 1), ("selective", 2), ("selective", 1), ("full", 4), ("full", 2), ("full", 1),
)  # fmt: skip
_GIB = 2**30


@dataclass(frozen=True)
class PlanSettings:
    """On what it is to run."""

    gpu: GpuType
    gpus: int
    mfu: float = DEFAULT_MFU
    dollars_per_gpu_hour: float | None = None
    checkpoints: int = 2
    """Kept of each run."""
    sequences: int | None = None
    """Of a microbatch; None to take what fits."""
    recompute: Recompute | None = None
    measurements: tuple[Measurement, ...] = ()


@dataclass(frozen=True)
class PlannedTraining:
    """What one architecture under one recipe takes, all its seeds together where it says so."""

    training: PlannedCell
    model: PlannedModel
    steps: PlannedSteps
    layout: MemorySetting
    memory: RankMemory
    throughput: Throughput
    settings: PlanSettings

    @property
    def tokens(self) -> int:
        """The tokens of one run."""
        return self.steps.steps * self.training.recipe.step_tokens

    @property
    def gpu_hours(self) -> float:
        """GPU-hours of the runs of all seeds."""
        return self.training.seeds * self.tokens / self.throughput.tokens_per_s / 3600

    @property
    def hours(self) -> float:
        """Hours that one run takes on all GPUs."""
        return self.tokens / self.throughput.tokens_per_s / 3600 / self.settings.gpus

    @property
    def dollars(self) -> float | None:
        """The price of all seeds; None where no price of an hour was given."""
        price = self.settings.dollars_per_gpu_hour
        return None if price is None else price * self.gpu_hours

    @property
    def checkpoint_bytes(self) -> int:
        """Bytes of the checkpoints that the runs of all seeds keep."""
        whole = parameters_with_embedding(self.model.counts, self.model.size, self.training.recipe.vocabulary)
        return CHECKPOINT_BYTES * whole * self.settings.checkpoints * self.training.seeds

    @property
    def data_bytes(self) -> int:
        """Token ids that one run reads once; seeds and other runs read the same."""
        return self.tokens * (2 if self.training.recipe.vocabulary <= _SMALL_VOCABULARY else 4)

    @property
    def fits(self) -> bool:
        """Whether a tenth of the GPU's memory stays free."""
        return self.memory.total <= (1 - FREE_SHARE) * self.settings.gpu.memory_gib * _GIB


@dataclass(frozen=True)
class Plan:
    """What several trainings take together."""

    title: str
    trainings: tuple[PlannedTraining, ...]
    settings: PlanSettings
    notes: tuple[str, ...]
    """What the suite assumes."""

    @property
    def runs(self) -> int:
        """The number of runs: seeds of all trainings."""
        return sum(each.training.seeds for each in self.trainings)

    @property
    def tokens(self) -> int:
        """The tokens of all runs together."""
        return sum(each.training.seeds * each.tokens for each in self.trainings)

    @property
    def gpu_hours(self) -> float:
        """GPU-hours of all runs together."""
        return sum(each.gpu_hours for each in self.trainings)

    @property
    def dollars(self) -> float | None:
        """The price of all runs; None where no price of an hour was given."""
        price = self.settings.dollars_per_gpu_hour
        return None if price is None else price * self.gpu_hours

    @property
    def checkpoint_bytes(self) -> int:
        """Bytes of the checkpoints that all runs keep."""
        return sum(each.checkpoint_bytes for each in self.trainings)

    @property
    def data_bytes(self) -> int:
        """Token ids of the longest training, whose beginning all others read."""
        return max(each.data_bytes for each in self.trainings)


def plan_training(training: PlannedCell, settings: PlanSettings) -> PlannedTraining:
    """Return what a training takes.

    Raises:
        UsageError: its architecture or recipe cannot be had, or the step's sequences cannot be shared by the GPUs.
    """
    return plan_model(training, planned_model(training.architecture, training.scale, training.recipe), settings)


def plan_model(training: PlannedCell, model: PlannedModel, settings: PlanSettings) -> PlannedTraining:
    """Return what a training of a given model takes.

    Raises:
        UsageError: the step's sequences cannot be shared by the GPUs.
    """
    layout, memory = _layout(model, training.recipe, settings)
    speed = throughput(
        model.pattern, model.size, training.recipe.sequence_tokens, training.recipe.vocabulary, settings.gpu,
        settings.mfu, settings.measurements,
    )  # fmt: skip
    return PlannedTraining(training, model, planned_steps(model, training.recipe), layout, memory, speed, settings)


def _layout(model: PlannedModel, recipe: Recipe, settings: PlanSettings) -> tuple[MemorySetting, RankMemory]:
    share, rest = divmod(recipe.step_sequences, settings.gpus)
    if rest or not share:
        raise UsageError(
            f"{settings.gpus} GPUs cannot share the {recipe.step_sequences} sequences of a step of {recipe.name}.",
            hint="--gpus 16",
        )
    tried = [
        (recompute, sequences)
        for recompute, sequences in _LAYOUTS
        if share % sequences == 0
        and settings.recompute in (None, recompute)
        and settings.sequences in (None, sequences)
    ]
    if settings.sequences is not None and not tried:
        if share % settings.sequences:
            raise UsageError(
                f"The {share} sequences of a GPU cannot be taken {settings.sequences} at a time.", hint="--sequences 1"
            )
        tried = [(settings.recompute or "none", settings.sequences)]
    for recompute, sequences in tried:
        layout = MemorySetting(settings.gpus, sequences, share // sequences, recompute)
        memory = rank_memory(model.counts, model.size, recipe.sequence_tokens, layout, recipe.vocabulary)
        if memory.total <= (1 - FREE_SHARE) * settings.gpu.memory_gib * _GIB:
            break
    return layout, memory


def plan_all(title: str, trainings: Sequence[PlannedCell], settings: PlanSettings, notes: Sequence[str] = ()) -> Plan:
    """Return what trainings take together.

    Raises:
        UsageError: as of `plan_training`; or there are none.
    """
    if not trainings:
        raise UsageError("Nothing of the suite is left to plan.", hint="aira-bench scale plan paper")
    return Plan(title, tuple(plan_training(each, settings) for each in trainings), settings, tuple(notes))
