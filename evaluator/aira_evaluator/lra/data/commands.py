"""`prepare.py` and `evaluate_prepare.py` of the six task folders, as functions.

Command line and exit statuses are those of AIRS-Bench: 0 done, 1 a failure, 2 a wrong command line. The profile and the
source of the data come from the environment (`AIRA_PROFILE`, default `paper`; `AIRA_DATA_SOURCE`, default `public`).
What differs between task folders (task, whether hyper-parameters may be set, hidden seeds) is passed in by the
folder's scripts. Not covered: scoring (`aira_evaluator.lra.commands`).
"""

import argparse
import os
import shutil
import sys
from collections.abc import Mapping, Sequence
from pathlib import Path

from aira_evaluator.lra.contract import MODULE_FILE, TaskName
from aira_evaluator.lra.data.build import (
    PUBLIC_TRAIN_SEED,
    PUBLIC_VALIDATION_SEED,
    Counted,
    HiddenSeeds,
    HiddenSplits,
    carve_hidden,
    carve_public,
    listops_hidden,
    listops_public,
    public_pools,
    synthetic_pool,
)
from aira_evaluator.lra.data.splits import SplitManifest, write_split
from aira_evaluator.lra.profiles import PROFILES, LraProfile
from aira_evaluator.manifests import DataError

SOURCES = ("public", "synthetic")
_SYNTHETIC_TRAIN_EXAMPLES = 25_000
"""Where a profile takes all the public train data there is."""


def prepare(task: TaskName, *, configurable: bool, arguments: Sequence[str] | None = None) -> int:
    """Write the public `train` and `validation` splits into the agent's data folder."""
    options = _options("Write the public splits.", arguments)
    try:
        _check_folders(options)
        profile, source = _settings(task)
        public, _ = _make(profile, source, options, hidden=None)
        for name, made in public.items():
            _write(options.agent_data_mount_dir / name, made, SplitManifest(
                profile.name, task, name, source, configurable, counts=made.counts))  # fmt: skip
    except (DataError, OSError) as error:
        return _failed("prepare", error)
    return 0


def evaluate_prepare(
    task: TaskName,
    *,
    configurable: bool,
    hidden: Mapping[str, HiddenSeeds],
    arguments: Sequence[str] | None = None,
) -> int:
    """Write the train split and the labelled hidden splits of every seed set, and copy the submission beside them.

    A hidden split of a seed set is `<agent data mount>/<split>_with_labels/<seed set>`. The submission is copied where
    `--agent-log-dir` is given; it must be there then.
    """
    options = _options("Write the labelled hidden splits.", arguments)
    mount: Path = options.agent_data_mount_dir
    try:
        _check_folders(options)
        profile, source = _settings(task)
        if options.agent_log_dir is not None:
            shutil.copyfile(options.agent_log_dir / MODULE_FILE, mount / MODULE_FILE, follow_symlinks=False)
        public, made = _make(profile, source, options, hidden)
        train = SplitManifest(profile.name, task, "train", source, configurable, counts=public["train"].counts)
        _write(mount / "train", public["train"], train)
        for (seed_set, split), part in made.items():
            manifest = SplitManifest(
                profile.name, task, split, source, configurable, seed_set, hidden[seed_set].training, part.counts
            )
            _write(mount / f"{split}_with_labels" / seed_set, part, manifest)
    except (DataError, OSError) as error:
        return _failed("evaluate_prepare", error)
    return 0


def _make(
    profile: LraProfile, source: str, options: argparse.Namespace, hidden: Mapping[str, HiddenSeeds] | None
) -> tuple[dict[str, Counted], HiddenSplits]:
    """Public splits, and hidden ones where seeds are given."""
    raw, scratch = options.global_shared_data_dir, options.agent_data_mount_dir
    if profile.task == "listops":
        workers, seen = len(os.sched_getaffinity(0)), set[bytes]()
        public = listops_public(profile, workers=workers, seen=seen)
        return public, listops_hidden(profile, hidden, workers=workers, seen=seen) if hidden else {}
    if source == "synthetic":
        return _synthetic(profile, scratch, hidden or {})
    pools = public_pools(profile.task, raw, scratch)
    public = carve_public(profile, pools.public, pools.empty.get("train", 0))
    return public, carve_hidden(profile, pools, hidden) if hidden else {}


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


def _write(folder: Path, made: Counted, manifest: SplitManifest) -> None:
    write_split(folder, made.split, manifest)
    counted = ", ".join(f"{number:,} {name.replace('_', ' ')}" for name, number in made.counts.items())
    where = f"{manifest.seed_set} {manifest.split}" if manifest.seed_set else manifest.split
    print(f"{where}: {len(made.split):,} examples" + (f" ({counted})" if counted else ""))


def _settings(task: TaskName) -> tuple[LraProfile, str]:
    name, source = os.environ.get("AIRA_PROFILE", "paper"), os.environ.get("AIRA_DATA_SOURCE", "public")
    if (name, task) not in PROFILES:
        known = ", ".join(sorted({profile for profile, _ in PROFILES}))
        raise DataError(f"AIRA_PROFILE is {name!r}, expected one of {known}")
    if source not in SOURCES:
        raise DataError(f"AIRA_DATA_SOURCE is {source!r}, expected one of {', '.join(SOURCES)}")
    return PROFILES[name, task], "generated" if task == "listops" else source


def _options(description: str, arguments: Sequence[str] | None) -> argparse.Namespace:
    parser = argparse.ArgumentParser(description=description)
    parser.add_argument("--global-shared-data-dir", type=Path, required=True, help="the public files")
    parser.add_argument("--agent-data-mount-dir", type=Path, required=True, help="where the splits are written")
    parser.add_argument("--agent-log-dir", type=Path, default=None, help="where the agent left its submission")
    return parser.parse_args(arguments)


def _check_folders(options: argparse.Namespace) -> None:
    for folder in (options.global_shared_data_dir, options.agent_data_mount_dir, options.agent_log_dir):
        if folder is not None and not folder.is_dir():
            raise DataError(f"{folder} is not an existing directory")


def _failed(command: str, error: Exception) -> int:
    print(f"{command}: {error}", file=sys.stderr)
    return 1
