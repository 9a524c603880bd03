"""Drawing, writing and reading the splits of the MAD tasks.

A split is a folder: `manifest.json`, and for each task a folder with `inputs.npy`, `targets.npy` and
`scored.npy`, int16 arrays of shape (N, L) in numpy's format without pickles. The seeds of the public
splits are here; seeds of hidden splits are passed in by `evaluate_prepare.py` and are nowhere in this package,
which agents can read. Not covered: compression of files, partial reads.
"""

from dataclasses import dataclass, fields
from pathlib import Path
from typing import Literal

import numpy as np

from aira_evaluator.compose.mad.profiles import PROFILES, MadProfile
from aira_evaluator.compose.training.examples import Corpus, Examples
from aira_evaluator.split_manifest import MANIFEST, DataError, read_manifest, write_manifest

PUBLIC_TRAIN_SEED = 20260515
PUBLIC_VALIDATION_SEED = 20260516
_SCHEMA = 1

SplitName = Literal["train", "validation", "test"]


@dataclass(frozen=True)
class MadManifest:
    """What `manifest.json` says of a split of the MAD tasks."""

    profile: str
    split: str
    primitives: tuple[str, ...]
    """Symbols the task admits."""
    seed_set: str | None = None
    """`search` or `final` for hidden splits, None for public ones."""
    training_seed: int | None = None
    """Seed of the judge's training; only beside hidden data."""


def draw_corpus(profile: MadProfile, split: SplitName, seed: int) -> Corpus:
    """Draw one split of all tasks. Tasks and splits get independent streams of the seed."""
    sizes = {
        "train": profile.train_examples,
        "validation": profile.validation_examples,
        "test": profile.test_examples,
    }
    split_index = list(sizes).index(split)
    return {
        name: task.generate(sizes[split], np.random.default_rng([seed, split_index, index]), probing=split != "train")
        for index, (name, task) in enumerate(profile.tasks.items())
    }


def write_split(folder: Path, corpus: Corpus, manifest: MadManifest) -> None:
    """Write a split; the manifest goes last, so that a folder with a manifest is complete."""
    for name, examples in corpus.items():
        (folder / name).mkdir(parents=True, exist_ok=True)
        for field in fields(examples):
            np.save(folder / name / f"{field.name}.npy", getattr(examples, field.name), allow_pickle=False)
    write_manifest(folder, manifest, _SCHEMA)


def read_split(folder: Path) -> tuple[Corpus, MadManifest]:
    """Read a split and check its shapes against its profile.

    Raises:
        DataError: naming the file and what is wrong with it.
    """
    manifest = read_manifest(folder, MadManifest, _SCHEMA)
    if manifest.profile not in PROFILES:
        known = ", ".join(PROFILES)
        raise DataError(f"{folder / MANIFEST}: unknown profile {manifest.profile!r}, expected one of {known}")
    profile = PROFILES[manifest.profile]
    corpus: Corpus = {}
    for name, task in profile.tasks.items():
        try:
            arrays = {
                field.name: np.load(folder / name / f"{field.name}.npy", allow_pickle=False)
                for field in fields(Examples)
            }
            corpus[name] = Examples(**arrays)
        except (OSError, ValueError) as error:
            raise DataError(f"{folder / name}: {error}") from None
        if corpus[name].inputs.shape[1] != task.model_length:
            found = corpus[name].inputs.shape[1]
            raise DataError(f"{folder / name}: sequences of {found} tokens, expected {task.model_length}")
    return corpus, manifest
