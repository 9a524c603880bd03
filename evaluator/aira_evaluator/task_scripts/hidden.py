"""Hidden splits: the seeds they are drawn from, and the folders they lie in. Agents see neither."""

from dataclasses import dataclass
from pathlib import Path
from typing import Literal

from aira_contract.files import LABELLED

HiddenSplit = Literal["validation", "test"]


@dataclass(frozen=True)
class HiddenSeeds:
    """The seeds of one seed set, which agents must not know."""

    validation: int
    test: int
    training: int
    """Of the judge's initial weights, order of examples and whatever else it draws."""

    def by_split(self) -> dict[HiddenSplit, int]:
        """Return the seeds that the hidden data is drawn from, by split; the training's is not among them."""
        return {"validation": self.validation, "test": self.test}


def hidden_folder(data: Path, split: str, seed_set: str) -> Path:
    """Return the folder of one hidden split of one seed set, below the data folder of a judge."""
    return data / f"{split}{LABELLED}" / seed_set
