"""`prepare.py` and `evaluate_prepare.py` of the six task folders, as functions.

What differs between task folders (task, whether hyperparameters may be set, hidden seeds) is passed in by the
folder's scripts. Command line, settings and exit statuses: `task_scripts.preparing`. Not covered: scoring
(`lra.judge.evaluate`).
"""

import os
from collections.abc import Mapping, Sequence
from pathlib import Path

from aira_contract.files import MODULE_FILE
from aira_evaluator.lra.contract.profiles import NAMES, PROFILES, LraProfile
from aira_evaluator.lra.contract.splits import SplitManifest, write_split
from aira_evaluator.lra.contract.submission import TaskName
from aira_evaluator.lra.prepare.build import (
    PUBLIC_TRAIN_SEED,
    PUBLIC_VALIDATION_SEED,
    Counted,
    HiddenSplits,
    carve_hidden,
    carve_public,
    listops_hidden,
    listops_public,
    public_pools,
    synthetic_pool,
)
from aira_evaluator.task_scripts.hidden import HiddenSeeds, hidden_folder, seeds_in_force
from aira_evaluator.task_scripts.preparing import evaluate_prepare_script, prepare_script
from aira_evaluator.task_scripts.settings import hidden_key_in_force, profile_in_force, source_in_force

_SYNTHETIC_TRAIN_EXAMPLES = 25_000
"""Where a profile takes all the public train data there is."""


def prepare(task: TaskName, *, configurable: bool, arguments: Sequence[str] | None = None) -> int:
    """Write the public `train` and `validation` splits into the agent's data folder."""

    def write(raw: Path, mount: Path) -> None:
        profile, source = _settings(task)
        public, _ = _make(profile, source, raw, mount, hidden=None)
        _write_public(mount, public, profile, source, configurable=configurable)

    return prepare_script("Write the public splits.", write, arguments)


def evaluate_prepare(
    task: TaskName,
    *,
    configurable: bool,
    hidden: Mapping[str, HiddenSeeds],
    arguments: Sequence[str] | None = None,
) -> int:
    """Write the public splits and the labelled hidden ones of every seed set, and copy the submission beside them.

    A hidden split of a seed set is `<agent data mount>/<split>_with_labels/<seed set>`.
    """

    def write(raw: Path, mount: Path) -> None:
        profile, source = _settings(task)
        seeds = seeds_in_force(hidden)
        public, made = _make(profile, source, raw, mount, seeds)
        _write_public(mount, public, profile, source, configurable=configurable)
        for (seed_set, split), part in made.items():
            manifest = SplitManifest(
                profile.name, task, split, source, configurable, seed_set, seeds[seed_set].training, part.counts
            )
            _write(hidden_folder(mount, split, seed_set), part, manifest)

    return evaluate_prepare_script("Write the labelled hidden splits.", MODULE_FILE, write, arguments)


def _make(
    profile: LraProfile, source: str, raw: Path, scratch: Path, hidden: Mapping[str, HiddenSeeds] | None
) -> tuple[dict[str, Counted], HiddenSplits]:
    """Public splits, and hidden ones where seeds are given."""
    if profile.task == "listops":
        workers, seen = len(os.sched_getaffinity(0)), set[bytes]()
        public = listops_public(profile, workers=workers, seen=seen)
        return public, listops_hidden(profile, hidden, workers=workers, seen=seen) if hidden else {}
    if source == "synthetic":
        return _synthetic(profile, scratch, hidden or {})
    pools = public_pools(profile.task, raw, scratch)
    public = carve_public(profile, pools.public, pools.empty.get("train", 0))
    keyed = hidden_key_in_force() is not None
    return public, carve_hidden(profile, pools, hidden, sets_are_public=keyed) if hidden else {}


def _synthetic(
    profile: LraProfile, scratch: Path, hidden: Mapping[str, HiddenSeeds]
) -> tuple[dict[str, Counted], HiddenSplits]:
    sizes = profile.sizes

    def made(count: int, seed: int) -> Counted:
        return Counted(synthetic_pool(profile, count, seed, scratch), {})

    public = {
        "train": made(sizes.train or _SYNTHETIC_TRAIN_EXAMPLES, PUBLIC_TRAIN_SEED),
        "validation": made(sizes.validation, PUBLIC_VALIDATION_SEED),
    }
    splits: HiddenSplits = {}
    for seed_set, seeds in hidden.items():
        splits[seed_set, "validation"] = made(sizes.hidden_validation, seeds.validation)
        splits[seed_set, "test"] = made(sizes.hidden_test, seeds.test)
    return public, splits


def _write_public(
    mount: Path, public: Mapping[str, Counted], profile: LraProfile, source: str, *, configurable: bool
) -> None:
    for name, made in public.items():
        manifest = SplitManifest(profile.name, profile.task, name, source, configurable, counts=made.counts)
        _write(mount / name, made, manifest)


def _write(folder: Path, made: Counted, manifest: SplitManifest) -> None:
    write_split(folder, made.split, manifest)
    counted = ", ".join(f"{number:,} {name.replace('_', ' ')}" for name, number in made.counts.items())
    where = f"{manifest.seed_set} {manifest.split}" if manifest.seed_set else manifest.split
    print(f"{where}: {len(made.split):,} examples" + (f" ({counted})" if counted else ""))


def _settings(task: TaskName) -> tuple[LraProfile, str]:
    name, source = profile_in_force(NAMES), source_in_force()
    return PROFILES[name, task], "generated" if task == "listops" else source
