"""Hidden splits: the seeds they are drawn from, and the folders they lie in. Agents see neither.

Task folders publish seeds, so anybody can draw the same data again. Under a key (`AIRA_HIDDEN_KEY`) each seed becomes
HMAC-SHA256 of the key over its name and its published value: who has the folder and not the key knows nothing of it.
Tasks that publish the same seeds share hidden data under every key.

Which seed set a downloaded document serves must not hang on the key: a submission that was searched under one key is
confirmed under another. So there the key only decides within a seed set, and `seed_set_of` deals the sets in public.
"""

import hashlib
import hmac
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Literal

from aira_contract.files import LABELLED
from aira_evaluator.task_scripts.settings import hidden_key_in_force, training_in_force

HiddenSplit = Literal["validation", "test"]
_SEED_BITS = 60


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


def seeds_in_force(published: Mapping[str, HiddenSeeds]) -> Mapping[str, HiddenSeeds]:
    """Return the seeds that hidden data is made from, by seed set: the published ones, or what the key makes of them.

    Raises:
        DataError: what should be a key is none.
    """
    key = hidden_key_in_force()
    if key is None:
        return published
    return {
        name: HiddenSeeds(*(
            keyed_seed(key, f"{name} {use}", seed)
            for use, seed in (*seeds.by_split().items(), ("training", seeds.training))
        ))
        for name, seeds in published.items()
    }  # fmt: skip


def keyed_seed(key: bytes | None, name: str, seed: int) -> int:
    """Return what a key makes of a published seed, 0 to 2^60 - 1; the seed itself where there is no key."""
    if key is None:
        return seed
    drawn = hmac.new(key, f"aira-bench hidden seed\0{name}\0{seed}".encode(), hashlib.sha256).digest()
    return int.from_bytes(drawn, "big") >> (256 - _SEED_BITS)


def training_seed(recorded: int) -> int:
    """Return the seed of the training that is asked for: the recorded one, or for another number one that follows.

    Each number gives a seed of 60 bits by SHA-256, so that trainings of one artifact share no initial weight and no
    order of examples. Who does not know the recorded seed knows none of them.

    Args:
        recorded: what lies beside the hidden data.

    Raises:
        DataError: what should number the training is no number.
    """
    number = training_in_force()
    if number == 0:
        return recorded
    drawn = hashlib.sha256(f"aira-bench training\0{recorded}\0{number}".encode()).digest()
    return int.from_bytes(drawn, "big") >> (256 - _SEED_BITS)


def seed_set_of(document: bytes, seed_sets: Sequence[str]) -> str:
    """Return the seed set that a document serves under every key; the rule is public."""
    dealt = hashlib.blake2b(document, digest_size=8, person=b"seed set").digest()
    return seed_sets[int.from_bytes(dealt, "big") % len(seed_sets)]


def hidden_folder(data: Path, split: str, seed_set: str) -> Path:
    """Return the folder of one hidden split of one seed set, below the data folder of a judge."""
    return data / f"{split}{LABELLED}" / seed_set
