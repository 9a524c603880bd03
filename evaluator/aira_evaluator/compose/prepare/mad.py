"""`prepare.py` and `evaluate_prepare.py` of the MAD task folders, as functions.

What differs between task folders (primitives, hidden seeds) is passed in by the folder's scripts. No torch is imported.
Command line and exit statuses: `task_scripts.preparing`.
"""

from collections.abc import Mapping, Sequence
from pathlib import Path

from aira_contract.files import ARCHITECTURE_FILE
from aira_evaluator.compose.mad.profiles import PROFILES, MadProfile
from aira_evaluator.compose.mad.splits import (
    PUBLIC_TRAIN_SEED,
    PUBLIC_VALIDATION_SEED,
    MadManifest,
    SplitName,
    draw_corpus,
    write_split,
)
from aira_evaluator.task_scripts.hidden import HiddenSeeds, hidden_folder, seeds_in_force
from aira_evaluator.task_scripts.preparing import evaluate_prepare_script, prepare_script
from aira_evaluator.task_scripts.settings import profile_in_force

__all__ = ["HiddenSeeds", "evaluate_prepare", "prepare"]


def prepare(primitives: Sequence[str], arguments: Sequence[str] | None = None) -> int:
    """Write the public splits to `<agent data mount>/train` and `.../validation`; return the exit status."""
    return prepare_script(
        "Write the public splits.", lambda raw, mount: _write_public(mount, _profile(), primitives), arguments
    )


def evaluate_prepare(
    primitives: Sequence[str], hidden: Mapping[str, HiddenSeeds], arguments: Sequence[str] | None = None
) -> int:
    """Write the public splits and the labelled hidden ones of every seed set, and copy the submission beside them.

    A hidden split of a seed set is `<agent data mount>/<split>_with_labels/<seed set>`.

    Args:
        primitives: symbols that this task admits, which the splits' manifests carry.
        hidden: the seeds, by seed set.
        arguments: the command line; None for the process's own.

    Returns:
        The exit status.
    """

    def write(raw: Path, mount: Path) -> None:
        profile = _profile()
        _write_public(mount, profile, primitives)
        for seed_set, seeds in seeds_in_force(hidden).items():
            for split, seed in seeds.by_split().items():
                manifest = MadManifest(profile.name, split, tuple(primitives), seed_set, seeds.training)
                write_split(hidden_folder(mount, split, seed_set), draw_corpus(profile, split, seed), manifest)

    return evaluate_prepare_script("Write the labelled hidden splits.", ARCHITECTURE_FILE, write, arguments)


def _write_public(mount: Path, profile: MadProfile, primitives: Sequence[str]) -> None:
    seeds: dict[SplitName, int] = {"train": PUBLIC_TRAIN_SEED, "validation": PUBLIC_VALIDATION_SEED}
    for split, seed in seeds.items():
        corpus = draw_corpus(profile, split, seed)
        write_split(mount / split, corpus, MadManifest(profile.name, split, tuple(primitives)))


def _profile() -> MadProfile:
    return PROFILES[profile_in_force(PROFILES)]
