"""One growth: from which runs, by which votes, to which models, with which plan; and what is kept of it on disk.

    DIR/asked.json     what it was begun with; another growth is refused
    DIR/trainings/     a folder for each seed of each model (`aira_bench.scaling.plan.trainings`)
    DIR/grow.json      all of it with the losses, once all are trained
    DIR/index.html     the same as a page (`aira_bench.view.growth_page`)

Controls and seeds may be added later; the votes, the grown patterns, scale and recipe stay. Not covered: what losses
show (`comparison`).
"""

from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from pydantic import BaseModel, ConfigDict, ValidationError

from aira_bench.errors import RunStateError, UsageError
from aira_bench.files import Unacceptable, parse_json, read_text, reason, write_json
from aira_bench.scaling.aggregate import Aggregation, Voter
from aira_bench.scaling.grow.comparison import LossComparison, comparison_record
from aira_bench.scaling.grow.downstream_scores import DownstreamScores
from aira_bench.scaling.grow.models import ComparedModel
from aira_bench.scaling.notation import write_pattern
from aira_bench.scaling.plan.planned import Plan
from aira_bench.scaling.plan.render import plan_record
from aira_bench.scaling.plan.trainings import SeedTraining
from aira_bench.scaling.render import aggregation_record

ASKED, RECORD = "asked.json", "grow.json"
_MOST_BYTES = 1 << 20


@dataclass(frozen=True)
class GrowthRequest:
    """What is grown and trained."""

    name: str
    """What the grown models are called after."""
    runs: tuple[str, ...]
    synthetic: bool
    """Whether the searches were on data that stands in for a public set."""
    selection: str
    """How voters were selected, in words."""
    split: str
    """Whose scores selected them."""
    voters: tuple[Voter, ...]
    votes: tuple[Aggregation, ...]
    """A pattern for each condition."""
    models: tuple[ComparedModel, ...]
    """Grown ones first, then controls."""
    reference: str
    """The control that all are compared with, by name."""
    recipe: str
    plan: Plan

    @property
    def scale(self) -> str:
        """The scale of all models."""
        return self.models[0].model.scale

    @property
    def grown(self) -> dict[str, str]:
        """The grown patterns by their models' names."""
        return {each.model.name: write_pattern(each.model.pattern) for each in self.models if each.is_grown}


class _Asked(BaseModel):
    model_config = ConfigDict(extra="forbid", frozen=True, strict=True)

    version: int
    runs: list[str]
    selection: str
    split: str
    scale: str
    recipe: str
    voted: list[str]
    grown: dict[str, str]


def require_same_growth(folder: Path, growing: GrowthRequest) -> None:
    """Refuse a folder that was begun with something else.

    Raises:
        UsageError: the folder holds another growth.
        RunStateError: what it was begun with cannot be read.
    """
    path = folder / ASKED
    if not path.exists():
        return
    try:
        before = _Asked.model_validate(parse_json(read_text(path, _MOST_BYTES)))
    except (OSError, Unacceptable, ValidationError) as error:
        said = reason(error) if not isinstance(error, ValidationError) else error.errors()[0]["msg"]
        raise RunStateError(f"{path} cannot be read: {said}.", hint="--out another folder") from error
    asked = _asked(growing)
    if before != asked:
        name = next(key for key in _Asked.model_fields if getattr(before, key) != getattr(asked, key))
        raise UsageError(
            f"{folder} holds another growth: {name} was {getattr(before, name)}, now {getattr(asked, name)}.",
            hint="--out DIR   (another folder)",
        )


def keep_asked(folder: Path, growing: GrowthRequest) -> None:
    """Write what a folder is begun with."""
    folder.mkdir(parents=True, exist_ok=True)
    write_json(folder / ASKED, _asked(growing).model_dump())


def _asked(growing: GrowthRequest) -> _Asked:
    return _Asked(
        version=1, runs=list(growing.runs), selection=growing.selection, split=growing.split, scale=growing.scale,
        recipe=growing.recipe, voted=[write_pattern(each.pattern) for each in growing.votes], grown=growing.grown,
    )  # fmt: skip


def growth_record(
    growing: GrowthRequest, found: LossComparison, trainings: Sequence[SeedTraining], downstream: DownstreamScores
) -> dict[str, Any]:
    """Return the whole way as JSON values: votes, models, plan, losses and downstream scores."""
    return {
        "schema": 1,
        "runs": list(growing.runs),
        "synthetic_searches": growing.synthetic,
        "split": growing.split,
        "votes": aggregation_record(growing.votes, growing.voters, growing.selection),
        "models": [
            {
                "name": each.model.name, "is_grown": each.is_grown, "way": each.way,
                "pattern": write_pattern(each.model.pattern), "layers": len(each.model.pattern),
                "parameters": each.model.parameters,
            }
            for each in growing.models
        ],
        "plan": plan_record(growing.plan),
        "comparison": comparison_record(found, trainings),
        "downstream": downstream.record(),
    }  # fmt: skip
