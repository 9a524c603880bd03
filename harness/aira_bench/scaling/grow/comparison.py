"""What finished trainings of a comparison show: losses over seeds, and how far each model lies from the reference.

Losses are of the final weights on all held-out sequences. Seed s of each model reads the same data in the same order.
Not covered: estimators (`aira_bench.statistics.against_reference`), pages (`aira_bench.view.growth_page`).
"""

import math
from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any

from aira_bench.errors import RunStateError
from aira_bench.scaling.notation import write_pattern
from aira_bench.scaling.plan.trainings import SeedTraining
from aira_bench.statistics.against_reference import differences_from, mean_of
from aira_bench.statistics.arrays import IntervalEstimate

CANNOT_TELL = "cannot tell"


@dataclass(frozen=True)
class ModelLosses:
    """The losses of one model's seeds, and how sure they are."""

    name: str
    losses: tuple[float, ...]
    """By seed, in nats a token."""
    mean: IntervalEstimate
    """Over its own seeds, alone."""
    difference: IntervalEstimate
    """From the reference; of the reference itself 0."""
    is_reference: bool

    @property
    def verdict(self) -> str:
        """What the difference says: better, worse, or that it cannot be told."""
        if self.is_reference:
            return "reference"
        if self.difference.low is None or self.difference.holds(0.0):
            return CANNOT_TELL
        return "better" if self.difference.value < 0 else "worse"


@dataclass(frozen=True)
class LossComparison:
    """All models of a comparison, trained alike."""

    models: tuple[ModelLosses, ...]
    data: str
    """What the losses are of."""
    synthetic: bool
    unigram_entropy: float | None
    """Nats a token of a model that knows frequencies alone."""

    @property
    def reference(self) -> ModelLosses:
        """The model that others are compared with."""
        return next(each for each in self.models if each.is_reference)

    @property
    def said(self) -> tuple[str, ...]:
        """What the losses show and what they do not, as sentences."""
        others = [each for each in self.models if not each.is_reference]
        unsure = [each for each in others if each.verdict == CANNOT_TELL]
        seeds, name, first = len(self.reference.losses), self.reference.name, others[0].difference
        if first.high is None:
            return (f"One seed: nothing is known of the noise, so no model can be told from {name}.",)
        width = first.high - first.value
        lines = [
            f"{len(others) - len(unsure)} of {len(others)} models are told from {name}; with {seeds} seeds and this "
            f"noise a difference of less than {width:.4f} nats is not.",
            "Intervals are of 95 % for all differences at once, the noise pooled over all models.",
        ]
        if unsure:
            lines.append(f"Cannot tell: {', '.join(each.name for each in unsure)}.")
        return tuple(lines)


def compare(trainings: Sequence[SeedTraining], reference: str) -> LossComparison:
    """Return what finished trainings show.

    Args:
        trainings: all seeds of all models, all done.
        reference: the name of the model that others are compared with.

    Raises:
        RunStateError: a training is not done or diverged, or they were not on one data set.
    """
    by_model: dict[str, list[float]] = {}
    records = []
    for run in trainings:
        loss = None if run.found is None or run.state != "done" else run.found.record.validation_loss
        if run.found is None or loss is None or not math.isfinite(loss):
            raise RunStateError(f"{run.folder} has no loss.", hint="the same command goes on")
        by_model.setdefault(run.planned.model.name, []).append(loss)
        records.append((run, run.found.record.identity.data))
    first = records[0][1]
    for run, data in records:
        if data.get("sha256") != first.get("sha256"):
            raise RunStateError(
                f"{run.folder} was trained on other data than {records[0][0].folder}.", hint="--out another folder"
            )
    names = list(by_model)
    table = [by_model[name] for name in names]
    place = names.index(reference)
    differences = differences_from(table, place)
    entropy = first.get("unigram_entropy")
    return LossComparison(
        tuple(
            ModelLosses(name, tuple(by_model[name]), mean_of(row), difference, number == place)
            for number, (name, row, difference) in enumerate(zip(names, table, differences, strict=True))
        ),
        str(first.get("name")), bool(first.get("synthetic")), entropy if isinstance(entropy, float) else None,
    )  # fmt: skip


def comparison_record(found: LossComparison, trainings: Sequence[SeedTraining]) -> dict[str, Any]:
    """Return a comparison as JSON values; an open interval has null for its ends."""
    patterns = {run.planned.model.name: run.planned.model for run in trainings}
    return {
        "data": {"name": found.data, "synthetic": found.synthetic, "unigram_entropy": found.unigram_entropy},
        "reference": found.reference.name,
        "said": list(found.said),
        "models": [
            {
                "name": each.name,
                "pattern": write_pattern(patterns[each.name].pattern),
                "parameters": patterns[each.name].parameters,
                "losses": list(each.losses),
                "mean": _interval(each.mean),
                "difference": None if each.is_reference else _interval(each.difference),
                "verdict": each.verdict,
            }
            for each in found.models
        ],
    }  # fmt: skip


def _interval(found: IntervalEstimate) -> dict[str, float | None]:
    return {"mean": found.value, "low": found.low, "high": found.high}
