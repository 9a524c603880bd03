"""`evaluate.py` of all Compose task folders: arguments, the submission, the printed result.

Command line, printed result and exit statuses are those of AIRS-Bench, besides `--report-file`. No torch is imported
here.

Exit statuses: 0 done, 1 a failure of the evaluation (folders, data, settings), 2 a wrong command line or an
unreadable submission. Not covered: data and training, which the tasks bring, and the other scripts
(`aira_evaluator.task_scripts.preparing`).
"""

import argparse
import json
import os
import stat
import sys
import time
from collections.abc import Callable, Sequence
from pathlib import Path

from aira_evaluator.split_manifest import DataError
from aira_evaluator.task_scripts.preparing import failed
from aira_kernels.architecture import MAX_SUBMISSION_BYTES, Architecture, SubmissionError, parse_submission

SUBMISSION = "submission.csv"
RESULT_MARKER = "--- EVALUATION RESULT ---"
REPORT_SCHEMA = 1

Report = dict[str, object]


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
