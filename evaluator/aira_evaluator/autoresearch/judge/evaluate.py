"""`evaluate.py` of the Autoresearch tasks: judge the model that predict containers serve, and report.

The host has run the submission against its outside clock before, left what it recorded in `./data/fit.json`, and will
start the predict containers while this runs. `train.py` is neither read nor run here.

Command line, printed result and exit statuses are those of AIRS-Bench, besides `--report-file` and `--meeting`. Profile
and seed set come from the environment (`AIRA_PROFILE`, default `paper`; `AIRA_SEED_SET`, default `search`).

Exit statuses: 0 a score was printed, 1 a failure of the evaluation, 2 the submission has no valid score.
"""

import argparse
import json
import sys
import time
from collections.abc import Mapping, Sequence
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import Any

import numpy as np

from aira_evaluator import EVALUATOR_VERSION
from aira_evaluator.autoresearch.contract.byte_lengths import byte_table_sha256
from aira_evaluator.autoresearch.contract.hidden_rows import HiddenSet, read_hidden
from aira_evaluator.autoresearch.contract.profiles import PROFILES
from aira_evaluator.autoresearch.judge.judging import Judgement, judge
from aira_evaluator.autoresearch.judge.questions import Questions, draw_questions
from aira_evaluator.autoresearch.judge.rules import RULES
from aira_evaluator.autoresearch.wire.connection import PredictorFailed
from aira_evaluator.split_manifest import DataError
from aira_evaluator.task_scripts.preparing import profile_in_force, seed_set_in_force

METRIC = "BPB"
RESULT_MARKER = "--- EVALUATION RESULT ---"
REPORT_SCHEMA = 1
FIT_FILE = "fit.json"
_SCRIPT = "train.py"


@dataclass(frozen=True)
class Fit:
    """What the host recorded of the training."""

    handover_sha256: str
    draw_secret: str
    """Of the machine, hexadecimal, besides the seed set's: that one is published with the task."""
    claimed: float | None
    serving_s: float
    """After which the host ends a predict container."""
    sockets: Sequence[str]
    """Names in the meeting folder, one for each predict container that the host will start; known to it alone."""
    seconds: Mapping[str, float | None]


def evaluate(arguments: Sequence[str] | None = None) -> int:
    """Judge one served model, print its test score, and report both hidden scores."""
    parser = argparse.ArgumentParser(description="Judge a served model.")
    parser.add_argument("--submission-file", type=Path, default=Path(_SCRIPT), help="named in messages, never read")
    parser.add_argument("--report-file", type=Path, default=None, help="also write a JSON report there")
    parser.add_argument("--meeting", type=Path, default=Path("/meeting"), help="folder for the predictors' sockets")
    options = parser.parse_args(arguments)
    started_s = time.monotonic()
    try:
        report = score(Path("data"), options.meeting)
    except PredictorFailed as error:
        print(f"{options.submission_file.name}: error: {error}", file=sys.stderr)
        return 2
    except (DataError, OSError) as error:
        print(f"evaluate: {error}", file=sys.stderr)
        return 1
    report["seconds"] = round(time.monotonic() - started_s, 3)
    if options.report_file is not None:
        options.report_file.write_text(json.dumps(report, indent=2, allow_nan=False) + "\n", encoding="ascii")
    print(RESULT_MARKER)
    print(json.dumps({METRIC: report["test"]}, indent=2, allow_nan=False))
    return 0


def score(data: Path, meeting: Path) -> dict[str, Any]:
    """The report but for its `seconds`.

    Raises:
        PredictorFailed: the model gave no usable answer.
        DataError: hidden data or the host's record is missing or damaged.
        TimeoutError: a predict container did not come up.
    """
    profile, seed_set = profile_in_force(RULES), seed_set_in_force()
    if not meeting.is_dir():
        raise DataError(
            f"there is no folder {meeting} to meet predictors in: this task is scored by `aira-bench run`, "
            "which serves the trained model from containers of its own"
        )
    fit, hidden = _read_fit(data / FIT_FILE), read_hidden(data, seed_set, profile)
    questions = questions_of(fit, hidden, PROFILES[profile].questions[seed_set])
    containers = 1 + max(int(asked.container.max()) for asked in questions.values())
    if len(fit.sockets) < containers:
        raise DataError(
            f"the data needs {containers} predict containers, the task's metadata.yaml has {len(fit.sockets)}"
        )
    sockets = [meeting / name for name in fit.sockets]
    found = judge(sockets, hidden, questions, RULES[profile], np.random.default_rng(), fit.serving_s)
    return _report(fit, hidden, questions, found, seed_set)


def questions_of(fit: Fit, hidden: HiddenSet, count: int) -> dict[str, Questions]:
    """What one hand-over is asked about each split, `count` questions, on the machine that `fit` was recorded on."""
    secret = bytes.fromhex(fit.draw_secret) + hidden.secret
    return {name: draw_questions(split, secret, fit.handover_sha256, count) for name, split in hidden.splits.items()}


def _report(
    fit: Fit, hidden: HiddenSet, questions: Mapping[str, Questions], found: Judgement, seed_set: str
) -> dict[str, Any]:
    validation, test = found.splits["validation"], found.splits["test"]
    return {
        "schema": REPORT_SCHEMA,
        "validation": validation.bpb,
        "test": test.bpb,
        "validation_standard_error": validation.standard_error,
        "test_standard_error": test.standard_error,
        "claimed": fit.claimed,
        "flags": list(found.flags),
        "details": {
            **{name: asdict(result) for name, result in found.splits.items()},
            "rows_asked": {name: len(np.unique(asked.row)) for name, asked in questions.items()},
            "window_step": found.window_step,
            "claimed_less_trusted": None if fit.claimed is None else fit.claimed - validation.bpb,
            "seconds": {**fit.seconds, **found.seconds},
            "handover_sha256": fit.handover_sha256,
            "byte_table_sha256": byte_table_sha256(hidden.splits["test"].lengths),
            "public_corpus": hidden.public_corpus,
        },
        "evaluator_version": EVALUATOR_VERSION,
        "seed_set": seed_set,
    }


def _read_fit(path: Path) -> Fit:
    try:
        return Fit(**json.loads(path.read_text(encoding="ascii")))
    except FileNotFoundError as error:
        raise DataError(f"there is no {path}: this task is scored by `aira-bench run`") from error
    except (ValueError, TypeError) as error:
        raise DataError(f"{path} is not the host's record of a training: {error!r}") from error
