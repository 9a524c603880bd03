"""The bodies of every `prepare.py` and `evaluate_prepare.py`: arguments, folders, the submission's copy, failures.

Command line and exit statuses are those of AIRS-Bench. Nothing heavy is imported here.

Exit statuses: 0 done, 1 a failure (folders, data, settings), 2 a wrong command line. Not covered: which data is
written, settings (`settings`), and `evaluate.py` (`evaluating`).
"""

import argparse
import shutil
from collections.abc import Callable, Sequence
from pathlib import Path

from aira_contract.invocation import LOGS_OPTION, MOUNT_OPTION, RAW_OPTION
from aira_evaluator.split_manifest import DataError
from aira_evaluator.task_scripts.failing import failed

Write = Callable[[Path, Path], None]
"""Called with the folder of raw data and the one to write to; may raise DataError or OSError."""


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


def _folder_options(description: str, arguments: Sequence[str] | None) -> argparse.Namespace:
    parser = argparse.ArgumentParser(description=description)
    parser.add_argument(RAW_OPTION, type=Path, required=True, help="raw data, where there is any")
    parser.add_argument(MOUNT_OPTION, type=Path, required=True, help="where the data is written")
    parser.add_argument(LOGS_OPTION, type=Path, default=None, help="where the agent left its submission")
    return parser.parse_args(arguments)


def _check_folders(options: argparse.Namespace) -> None:
    for folder in (options.global_shared_data_dir, options.agent_data_mount_dir, options.agent_log_dir):
        if folder is not None and not folder.is_dir():
            raise DataError(f"{folder} is not an existing directory")
