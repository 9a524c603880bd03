"""What the preparing scripts of all task folders share: arguments, folders, the submission's copy, settings, failures.

Command line and exit statuses are those of AIRS-Bench. The profile and the seed set come from the environment
(`AIRA_PROFILE`, default `paper`; `AIRA_SEED_SET`, default `search`), and so does the source of the data where a task
has two (`AIRA_DATA_SOURCE`, default `public`). Nothing heavy is imported here.

Exit statuses: 0 done, 1 a failure (folders, data, settings), 2 a wrong command line. Not covered: which data is
written, and `evaluate.py`.
"""

import argparse
import os
import shutil
import sys
from collections.abc import Callable, Iterable, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Literal

from aira_evaluator.split_manifest import DataError

SEED_SETS = ("search", "final")
SOURCES = ("public", "synthetic")
HiddenSplit = Literal["validation", "test"]
Write = Callable[[Path, Path], None]
"""Called with the folder of raw data and the one to write to; may raise DataError or OSError."""


@dataclass(frozen=True)
class HiddenSeeds:
    """One seed set: the seeds that agents must not know."""

    validation: int
    test: int
    training: int
    """Of the judge's initial weights, order of examples and whatever else it draws."""

    def by_split(self) -> dict[HiddenSplit, int]:
        """The seeds of the hidden data."""
        return {"validation": self.validation, "test": self.test}


def prepare_script(description: str, write: Write, arguments: Sequence[str] | None = None) -> int:
    """Body of `prepare.py`: call `write`.

    Returns:
        The exit status; a failure is one line on stderr.
    """
    options = _folder_options(description, arguments)
    try:
        _check_folders(options)
        write(options.global_shared_data_dir, options.agent_data_mount_dir)
    except (DataError, OSError) as error:
        return failed("prepare", error)
    return 0


def evaluate_prepare_script(
    description: str, submission: str, write: Write, arguments: Sequence[str] | None = None
) -> int:
    """Body of `evaluate_prepare.py`: call `write` and copy the file `submission` beside what it wrote.

    It is copied where `--agent-log-dir` is given, and must be there then; a link is copied as a link.

    Returns:
        The exit status; a failure is one line on stderr.
    """
    options = _folder_options(description, arguments)
    mount: Path = options.agent_data_mount_dir
    try:
        _check_folders(options)
        if options.agent_log_dir is not None:
            shutil.copyfile(options.agent_log_dir / submission, mount / submission, follow_symlinks=False)
        write(options.global_shared_data_dir, mount)
    except (DataError, OSError) as error:
        return failed("evaluate_prepare", error)
    return 0


def profile_in_force(known: Iterable[str]) -> str:
    """`AIRA_PROFILE`.

    Raises:
        DataError: it is not among `known`.
    """
    name, names = os.environ.get("AIRA_PROFILE", "paper"), list(known)
    if name not in names:
        raise DataError(f"AIRA_PROFILE is {name!r}, expected one of {', '.join(names)}")
    return name


def source_in_force() -> str:
    """`AIRA_DATA_SOURCE`: `public` raw data, or a generated stand-in for it.

    Raises:
        DataError: there is no such source.
    """
    name = os.environ.get("AIRA_DATA_SOURCE", SOURCES[0])
    if name not in SOURCES:
        raise DataError(f"AIRA_DATA_SOURCE is {name!r}, expected one of {', '.join(SOURCES)}")
    return name


def seed_set_in_force() -> str:
    """`AIRA_SEED_SET`.

    Raises:
        DataError: there is no such seed set.
    """
    name = os.environ.get("AIRA_SEED_SET", SEED_SETS[0])
    if name not in SEED_SETS:
        raise DataError(f"AIRA_SEED_SET is {name!r}, expected one of {', '.join(SEED_SETS)}")
    return name


def hidden_folder(data: Path, split: str, seed_set: str) -> Path:
    """Where a hidden split of a seed set lies."""
    return data / f"{split}_with_labels" / seed_set


def failed(command: str, error: Exception) -> int:
    """Print one line; return exit status 1."""
    print(f"{command}: {error}", file=sys.stderr)
    return 1


def _folder_options(description: str, arguments: Sequence[str] | None) -> argparse.Namespace:
    parser = argparse.ArgumentParser(description=description)
    parser.add_argument("--global-shared-data-dir", type=Path, required=True, help="raw data, where there is any")
    parser.add_argument("--agent-data-mount-dir", type=Path, required=True, help="where the data is written")
    parser.add_argument("--agent-log-dir", type=Path, default=None, help="where the agent left its submission")
    return parser.parse_args(arguments)


def _check_folders(options: argparse.Namespace) -> None:
    for folder in (options.global_shared_data_dir, options.agent_data_mount_dir, options.agent_log_dir):
        if folder is not None and not folder.is_dir():
            raise DataError(f"{folder} is not an existing directory")
