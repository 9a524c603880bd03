"""Reads what a trainer left: the losses of finished isoFLOP trainings below a folder.

Each training has a folder with `pretrain.json` (`aira_contract.pretraining`). `aira-bench scale run` leaves beside it
`training.json`, which says for which architecture and budget it was begun; without that the architecture is the one of
the paper whose printed pattern this is, or else the pattern, and the budget is the recipe's.

Not covered: losses while a training goes on, and checkpoints.
"""

import os
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from pydantic import TypeAdapter, ValidationError

from aira_bench.errors import RunStateError
from aira_bench.files import Unacceptable, read_text, reason
from aira_bench.scaling.corpus.made import data_marks
from aira_bench.scaling.notation import NotationError, read_pattern, write_pattern
from aira_contract.model_sizes import model_size, space_of
from aira_contract.patterns import Pattern
from aira_contract.presets import BASELINES, FOUND_BY_AGENTS
from aira_contract.pretraining import RECORD, PretrainRecord

BEGUN = "training.json"
MOST_TRAININGS = 100_000
_MOST_BYTES = 1 << 20
_MOST_DEPTH = 3
_RECORDS = TypeAdapter(PretrainRecord)


@dataclass(frozen=True)
class BegunTraining:
    """What `training.json` holds: what a training was begun for."""

    schema: int
    architecture: str
    scale: str
    recipe: str
    seed: int
    steps: int
    budget_flops: float | None
    """None where the recipe has no budget."""


_BEGUN = TypeAdapter(BegunTraining)


@dataclass(frozen=True)
class TrainingFolder:
    """One training that was begun."""

    folder: Path
    begun: BegunTraining | None
    record: PretrainRecord

    @property
    def pattern(self) -> Pattern:
        """The layers that are trained."""
        return read_pattern(self.record.identity.pattern)

    @property
    def architecture(self) -> str:
        """What the training is called beside others of its architecture at other scales."""
        if self.begun is not None:
            return self.begun.architecture
        scale, layers = self.record.identity.scale, self.pattern
        known = [
            preset.title
            for preset in (*FOUND_BY_AGENTS, *BASELINES)
            if scale in preset.full_size and preset.full_size[scale].pattern == layers
        ]
        return known[0] if len(known) == 1 else write_pattern(layers)

    @property
    def marks(self) -> tuple[str, ...]:
        """What keeps its losses from being compared with published ones: of its tokens (`corpus.made`)."""
        return data_marks(self.record.identity.data)

    @property
    def budget_flops(self) -> float | None:
        """The FLOP budget that it was planned for; None where there is none."""
        if self.begun is not None:
            return self.begun.budget_flops
        found = self.record.identity.recipe.get("flop_budget")
        return float(found) if isinstance(found, int | float) else None

    @property
    def parameters(self) -> int:
        """The number of parameters without the embedding."""
        identity = self.record.identity
        width = model_size(identity.scale, space_of(self.pattern)).width
        vocabulary = identity.recipe.get("vocabulary")
        return identity.parameters - (vocabulary * width if isinstance(vocabulary, int) else 0)


def training_folders(folder: Path) -> Iterator[TrainingFolder]:
    """Yield every training below a folder, by path; the folder itself may be one.

    Raises:
        RunStateError: a record cannot be read, or there are too many.
    """
    places = sorted(_places(folder, 0))
    if len(places) > MOST_TRAININGS:
        raise RunStateError(f"{folder} has {len(places):,} trainings, at most {MOST_TRAININGS:,} are read.")
    for place in places:
        begun = place / BEGUN
        found = TrainingFolder(place, _read(begun, _BEGUN) if begun.exists() else None, _read(place / RECORD, _RECORDS))
        try:
            _ = found.parameters
        except (NotationError, ValueError) as error:
            raise RunStateError(f"{place / RECORD} is no record of a training: {error}") from error
        yield found


def _places(folder: Path, depth: int) -> Iterator[Path]:
    """Folders with a record; links are not followed, so that no circle is walked."""
    if (folder / RECORD).exists():
        yield folder
    elif depth < _MOST_DEPTH and folder.is_dir():
        with os.scandir(folder) as entries:
            inner = [Path(entry.path) for entry in entries if entry.is_dir(follow_symlinks=False)]
        for each in inner:
            yield from _places(each, depth + 1)


def _read(path: Path, kind: TypeAdapter[Any]) -> Any:  # noqa: ANN401
    try:
        # Not `parse_json`: a budget of 2e19 FLOPs has more digits than that takes.
        return kind.validate_json(read_text(path, _MOST_BYTES))
    except (OSError, Unacceptable) as error:
        raise RunStateError(f"{path} cannot be read: {reason(error)}.") from error
    except ValidationError as error:
        first = error.errors()[0]
        where = ".".join(map(str, first["loc"])) or "the file"
        raise RunStateError(f"{path} is no record of a training: {where}: {first['msg']}.") from error
