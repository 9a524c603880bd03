"""What the scripts of all Compose task folders share: arguments, folders, the submission, the printed result.

Command line, printed result and exit statuses are those of AIRS-Bench; `evaluate` also takes `--report-file`.
The profile and the seed set come from the environment (`AIRA_PROFILE`, default `paper`; `AIRA_SEED_SET`,
default `search`). No torch is imported here.

Exit statuses: 0 done, 1 a failure of the evaluation (folders, data, settings), 2 a wrong command line or an
unreadable submission. Not covered: data and training, which the tasks bring.
"""

import argparse
import json
import os
import shutil
import stat
import sys
import time
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path

from aira_evaluator.compose.splits import DataError, SplitName
from aira_kernels.architecture import MAX_SUBMISSION_BYTES, Architecture, SubmissionError, parse_submission

SUBMISSION = "submission.csv"
RESULT_MARKER = "--- EVALUATION RESULT ---"
REPORT_SCHEMA = 1
SEED_SETS = ("search", "final")

Report = dict[str, object]


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


def prepare_script(
    description: str, write: Callable[[Path, Path], None], arguments: Sequence[str] | None = None
) -> int:
    """Body of `prepare.py`: call `write(raw data, agent data mount)`.

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
    description: str, write: Callable[[Path, Path], None], arguments: Sequence[str] | None = None
) -> int:
    """Body of `evaluate_prepare.py`: call `write(raw data, mount)` and copy the submission beside what it wrote.

    The submission is copied where `--agent-log-dir` is given; it must be there then.

    Returns:
        The exit status; a failure is one line on stderr.
    """
    options = _folder_options(description, arguments)
    mount: Path = options.agent_data_mount_dir
    try:
        _check_folders(options)
        if options.agent_log_dir is not None:
            shutil.copyfile(options.agent_log_dir / SUBMISSION, mount / SUBMISSION, follow_symlinks=False)
        write(options.global_shared_data_dir, mount)
    except (DataError, OSError) as error:
        return failed("evaluate_prepare", error)
    return 0


def evaluate_script(
    metric: str,
    primitives: Sequence[str],
    score: Callable[[Architecture, Path], Report],
    arguments: Sequence[str] | None = None,
) -> int:
    """Body of `evaluate.py`: read the submission, call `score(architecture, data folder)`, print and report.

    Args:
        metric: name under which the report's `test` is printed.
        primitives: admitted symbols.
        score: trains and scores; returns the report but for its `seconds`.
        arguments: the command line; None for the process's own.

    Returns:
        The exit status.
    """
    parser = argparse.ArgumentParser(description="Train and score a submitted architecture.")
    parser.add_argument("--submission-file", type=Path, default=Path(SUBMISSION))
    parser.add_argument("--report-file", type=Path, default=None, help="also write a JSON report there")
    options = parser.parse_args(arguments)
    started_s = time.monotonic()
    try:
        architecture = read_submission(options.submission_file, primitives)
    except SubmissionError as error:
        print(f"{options.submission_file.name}: {error}", file=sys.stderr)
        return 2
    try:
        report = score(architecture, Path("data"))
    except (DataError, OSError) as error:
        return failed("evaluate", error)
    report["seconds"] = round(time.monotonic() - started_s, 3)
    if options.report_file is not None:
        options.report_file.write_text(json.dumps(report, indent=2, allow_nan=False) + "\n", encoding="ascii")
    print(RESULT_MARKER)
    print(json.dumps({metric: report["test"]}, indent=2, allow_nan=False))
    return 0


def read_submission(path: Path, primitives: Sequence[str]) -> Architecture:
    """Read and parse a submission.

    Raises:
        SubmissionError: it is no regular file, or not an architecture of `primitives`.
    """
    try:
        with path.open("rb") as file:
            if not stat.S_ISREG(os.fstat(file.fileno()).st_mode):
                raise SubmissionError("not a regular file")
            data = file.read(MAX_SUBMISSION_BYTES + 1)
    except OSError as error:
        raise SubmissionError(f"cannot be read: {error.strerror}") from None
    return parse_submission(data, primitives)


def hidden_folder(data: Path, split: SplitName, seed_set: str) -> Path:
    """Where a hidden split of a seed set lies.

    Raises:
        DataError: there is no such seed set.
    """
    if seed_set not in SEED_SETS:
        raise DataError(f"AIRA_SEED_SET is {seed_set!r}, expected one of {', '.join(SEED_SETS)}")
    return data / f"{split}_with_labels" / seed_set


def seed_set_in_force() -> str:
    """`AIRA_SEED_SET`."""
    return os.environ.get("AIRA_SEED_SET", "search")


def profile_in_force(known: Mapping[str, object]) -> str:
    """`AIRA_PROFILE`.

    Raises:
        DataError: it is not among `known`.
    """
    name = os.environ.get("AIRA_PROFILE", "paper")
    if name not in known:
        raise DataError(f"AIRA_PROFILE is {name!r}, expected one of {', '.join(known)}")
    return name


def failed(command: str, error: Exception) -> int:
    """Print one line; return exit status 1."""
    print(f"{command}: {error}", file=sys.stderr)
    return 1


def _folder_options(description: str, arguments: Sequence[str] | None) -> argparse.Namespace:
    parser = argparse.ArgumentParser(description=description)
    parser.add_argument("--global-shared-data-dir", type=Path, required=True, help="raw data")
    parser.add_argument("--agent-data-mount-dir", type=Path, required=True, help="where the splits are written")
    parser.add_argument("--agent-log-dir", type=Path, default=None, help="where the agent left its submission")
    return parser.parse_args(arguments)


def _check_folders(options: argparse.Namespace) -> None:
    folders = (options.global_shared_data_dir, options.agent_data_mount_dir, options.agent_log_dir)
    for folder in folders:
        if folder is not None and not folder.is_dir():
            raise DataError(f"{folder} is not an existing directory")
