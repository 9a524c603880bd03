"""The three scripts of a MAD task folder, as functions: `prepare`, `evaluate_prepare`, `evaluate`.

What differs between task folders (primitives, hidden seeds) is passed in by the folder's scripts. No torch is imported
before the scoring. Command line and exit statuses: `task_scripts.preparing` and `compose.judge.architecture_script`.
"""

from collections.abc import Mapping, Sequence
from pathlib import Path

from aira_evaluator import EVALUATOR_VERSION
from aira_evaluator.compose.judge.architecture_script import REPORT_SCHEMA, SUBMISSION, Report, evaluate_script
from aira_evaluator.compose.mad.profiles import PROFILES, Profile
from aira_evaluator.compose.mad.splits import PUBLIC_TRAIN_SEED, Manifest, draw_corpus, read_split, write_split
from aira_evaluator.split_manifest import DataError
from aira_evaluator.task_scripts.preparing import (
    HiddenSeeds,
    evaluate_prepare_script,
    hidden_folder,
    prepare_script,
    profile_in_force,
    seed_set_in_force,
)
from aira_kernels.architecture import Architecture, canonical

__all__ = ["HiddenSeeds", "evaluate", "evaluate_prepare", "prepare"]

METRIC = "Accuracy"


def prepare(primitives: Sequence[str], arguments: Sequence[str] | None = None) -> int:
    """Write the public train split to `<agent data mount>/train`."""
    return prepare_script(
        "Write the public train split.", lambda raw, mount: _write_train(mount, _profile(), primitives), arguments
    )


def evaluate_prepare(
    primitives: Sequence[str], hidden: Mapping[str, HiddenSeeds], arguments: Sequence[str] | None = None
) -> int:
    """Write the train split and the labelled hidden splits of every seed set, and copy the submission beside them.

    A hidden split of a seed set is `<agent data mount>/<split>_with_labels/<seed set>`.
    """

    def write(raw: Path, mount: Path) -> None:
        profile = _profile()
        _write_train(mount, profile, primitives)
        for seed_set, seeds in hidden.items():
            for split, seed in seeds.by_split().items():
                manifest = Manifest(profile.name, split, tuple(primitives), seed_set, seeds.training)
                write_split(hidden_folder(mount, split, seed_set), draw_corpus(profile, split, seed), manifest)

    return evaluate_prepare_script("Write the labelled hidden splits.", SUBMISSION, write, arguments)


def evaluate(primitives: Sequence[str], arguments: Sequence[str] | None = None) -> int:
    """Train the submitted architecture once, print its test score, and report both hidden scores.

    Reads `./data/train` and, of the seed set in force, `./data/validation_with_labels` and `./data/test_with_labels`.
    """
    return evaluate_script(METRIC, primitives, score, arguments)


def score(architecture: Architecture, data: Path) -> Report:
    """Train once and score both hidden splits; the report but for its `seconds`.

    Raises:
        DataError: the data is absent, damaged, or of another profile.
    """
    profile, seed_set = _profile(), seed_set_in_force()
    train_corpus, _ = read_split(data / "train")
    validation_corpus, _ = read_split(hidden_folder(data, "validation", seed_set))
    test_corpus, manifest = read_split(hidden_folder(data, "test", seed_set))
    if manifest.profile != profile.name:
        raise DataError(f"the data is of profile {manifest.profile}, AIRA_PROFILE asks for {profile.name}")
    if manifest.training_seed is None:
        raise DataError("the hidden test split names no training seed; run evaluate_prepare.py again")

    from aira_evaluator.compose.mad.split_scores import choose_device, make_deterministic, train_and_score

    make_deterministic()
    scores = train_and_score(
        architecture,
        profile,
        train_corpus,
        {"validation": validation_corpus, "test": test_corpus},
        seed=manifest.training_seed,
        device=choose_device(),
        on_task=lambda name: print(f"training on {name}", flush=True),
    )
    return {
        "schema": REPORT_SCHEMA,
        "canonical": canonical(architecture),
        "validation": scores["validation"].accuracy,
        "test": scores["test"].accuracy,
        "details": {split: score.details() for split, score in scores.items()},
        "evaluator_version": EVALUATOR_VERSION,
        "seed_set": seed_set,
    }


def _write_train(mount: Path, profile: Profile, primitives: Sequence[str]) -> None:
    corpus = draw_corpus(profile, "train", PUBLIC_TRAIN_SEED)
    write_split(mount / "train", corpus, Manifest(profile.name, "train", tuple(primitives)))


def _profile() -> Profile:
    return PROFILES[profile_in_force(PROFILES)]
