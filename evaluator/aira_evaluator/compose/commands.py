"""The three scripts of a MAD task folder, as functions: `prepare`, `evaluate_prepare`, `evaluate`.

Command line, printed result and exit statuses are those of AIRS-Bench; `evaluate` also takes `--report-file`.
The profile and the seed set come from the environment (`AIRA_PROFILE`, default `paper`; `AIRA_SEED_SET`,
default `search`). What differs between task folders (primitives, hidden seeds) is passed in by the folder's
scripts. No torch is imported before the scoring.

Exit statuses: 0 done, 1 a failure of the evaluation (folders, data, settings), 2 a wrong command line or an
unreadable submission.
"""

import argparse
import json
import os
import shutil
import stat
import sys
import time
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path

from aira_evaluator import EVALUATOR_VERSION
from aira_evaluator.compose.profiles import PROFILES, Profile
from aira_evaluator.compose.splits import (
    PUBLIC_TRAIN_SEED,
    DataError,
    Manifest,
    SplitName,
    draw_corpus,
    read_split,
    write_split,
)
from aira_kernels.architecture import (
    MAX_SUBMISSION_BYTES,
    Architecture,
    SubmissionError,
    canonical,
    parse_submission,
)

METRIC = "Accuracy"
SUBMISSION = "submission.csv"
RESULT_MARKER = "--- EVALUATION RESULT ---"
REPORT_SCHEMA = 1
SEED_SETS = ("search", "final")


@dataclass(frozen=True)
class HiddenSeeds:
    """One seed set: the seeds that agents must not know."""

    validation: int
    test: int
    training: int
    """Of the judge's initial weights and order of examples."""

    def by_split(self) -> dict[SplitName, int]:
        """The seeds of the hidden data."""
        return {"validation": self.validation, "test": self.test}


def prepare(primitives: Sequence[str], arguments: Sequence[str] | None = None) -> int:
    """Write the public train split to `<agent data mount>/train`."""
    options = _folder_options("Write the public train split.", arguments)
    try:
        _check_folders(options)
        _write_train(options.agent_data_mount_dir, _profile(), primitives)
    except (DataError, OSError) as error:
        return _failed("prepare", error)
    return 0


def evaluate_prepare(
    primitives: Sequence[str], hidden: Mapping[str, HiddenSeeds], arguments: Sequence[str] | None = None
) -> int:
    """Write the train split and the labelled hidden splits of every seed set, and copy the submission beside them.

    A hidden split of a seed set is `<agent data mount>/<split>_with_labels/<seed set>`. The submission is copied where
    `--agent-log-dir` is given; it must be there then.
    """
    options = _folder_options("Write the labelled hidden splits.", arguments)
    mount: Path = options.agent_data_mount_dir
    try:
        _check_folders(options)
        profile = _profile()
        if options.agent_log_dir is not None:
            shutil.copyfile(options.agent_log_dir / SUBMISSION, mount / SUBMISSION, follow_symlinks=False)
        _write_train(mount, profile, primitives)
        for seed_set, seeds in hidden.items():
            for split, seed in seeds.by_split().items():
                manifest = Manifest(profile.name, split, tuple(primitives), seed_set, seeds.training)
                write_split(_hidden_folder(mount, split, seed_set), draw_corpus(profile, split, seed), manifest)
    except (DataError, OSError) as error:
        return _failed("evaluate_prepare", error)
    return 0


def evaluate(primitives: Sequence[str], arguments: Sequence[str] | None = None) -> int:
    """Train the submitted architecture once, print its test score, and report both hidden scores.

    Reads `./data/train` and, of the seed set in force, `./data/validation_with_labels` and `./data/test_with_labels`.
    """
    parser = argparse.ArgumentParser(description="Train and score a submitted architecture.")
    parser.add_argument("--submission-file", type=Path, default=Path(SUBMISSION))
    parser.add_argument("--report-file", type=Path, default=None, help="also write a JSON report there")
    options = parser.parse_args(arguments)
    started_s = time.monotonic()
    try:
        architecture = _read_submission(options.submission_file, primitives)
    except SubmissionError as error:
        print(f"{options.submission_file.name}: {error}", file=sys.stderr)
        return 2
    try:
        report = _score(architecture, Path("data"))
    except (DataError, OSError) as error:
        return _failed("evaluate", error)
    report["seconds"] = round(time.monotonic() - started_s, 3)
    if options.report_file is not None:
        options.report_file.write_text(json.dumps(report, indent=2) + "\n", encoding="ascii")
    print(RESULT_MARKER)
    print(json.dumps({METRIC: report["test"]}, indent=2))
    return 0


def _score(architecture: Architecture, data: Path) -> dict[str, object]:
    profile, seed_set = _profile(), os.environ.get("AIRA_SEED_SET", "search")
    train_corpus, _ = read_split(data / "train")
    validation_corpus, _ = read_split(_hidden_folder(data, "validation", seed_set))
    test_corpus, manifest = read_split(_hidden_folder(data, "test", seed_set))
    if manifest.profile != profile.name:
        raise DataError(f"the data is of profile {manifest.profile}, AIRA_PROFILE asks for {profile.name}")
    if manifest.training_seed is None:
        raise DataError("the hidden test split names no training seed; run evaluate_prepare.py again")

    from aira_evaluator.compose.scoring import choose_device, make_deterministic, train_and_score

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


def _read_submission(path: Path, primitives: Sequence[str]) -> Architecture:
    try:
        with path.open("rb") as file:
            if not stat.S_ISREG(os.fstat(file.fileno()).st_mode):
                raise SubmissionError("not a regular file")
            data = file.read(MAX_SUBMISSION_BYTES + 1)
    except OSError as error:
        raise SubmissionError(f"cannot be read: {error.strerror}") from None
    return parse_submission(data, primitives)


def _hidden_folder(data: Path, split: SplitName, seed_set: str) -> Path:
    if seed_set not in SEED_SETS:
        raise DataError(f"AIRA_SEED_SET is {seed_set!r}, expected one of {', '.join(SEED_SETS)}")
    return data / f"{split}_with_labels" / seed_set


def _write_train(mount: Path, profile: Profile, primitives: Sequence[str]) -> None:
    corpus = draw_corpus(profile, "train", PUBLIC_TRAIN_SEED)
    write_split(mount / "train", corpus, Manifest(profile.name, "train", tuple(primitives)))


def _profile() -> Profile:
    name = os.environ.get("AIRA_PROFILE", "paper")
    if name not in PROFILES:
        raise DataError(f"AIRA_PROFILE is {name!r}, expected one of {', '.join(PROFILES)}")
    return PROFILES[name]


def _folder_options(description: str, arguments: Sequence[str] | None) -> argparse.Namespace:
    parser = argparse.ArgumentParser(description=description)
    parser.add_argument("--global-shared-data-dir", type=Path, required=True, help="raw data; none is needed here")
    parser.add_argument("--agent-data-mount-dir", type=Path, required=True, help="where the splits are written")
    parser.add_argument("--agent-log-dir", type=Path, default=None, help="where the agent left its submission")
    return parser.parse_args(arguments)


def _check_folders(options: argparse.Namespace) -> None:
    folders = (options.global_shared_data_dir, options.agent_data_mount_dir, options.agent_log_dir)
    for folder in folders:
        if folder is not None and not folder.is_dir():
            raise DataError(f"{folder} is not an existing directory")


def _failed(command: str, error: Exception) -> int:
    print(f"{command}: {error}", file=sys.stderr)
    return 1
