"""`evaluate.py` of the Autoresearch tasks: judge the model that predict containers serve, and report.

The host has run the submission against its outside clock before, left what it recorded in `./data/fit.json`, and will
start the predict containers while this runs. `train.py` is neither read nor run here. Command line (besides
`--socket-volume`), report and exit statuses: `task_scripts.evaluating`; settings: `task_scripts.settings`.
"""

from collections.abc import Mapping, Sequence
from dataclasses import asdict
from pathlib import Path

import numpy as np

from aira_contract.containers import SOCKET_VOLUME
from aira_contract.files import FIT_FILE, SCRIPT_FILE
from aira_contract.invocation import SOCKET_VOLUME_OPTION
from aira_contract.reports import PUBLIC
from aira_contract.training_record import TrainingRecord
from aira_evaluator.autoresearch.contract.byte_lengths import byte_table_sha256
from aira_evaluator.autoresearch.contract.hidden_rows import HiddenSet, SplitRows, read_hidden, read_public
from aira_evaluator.autoresearch.contract.profiles import PROFILES
from aira_evaluator.autoresearch.judge.judging import Judgement, PublicQuestions, judge
from aira_evaluator.autoresearch.judge.questions import Questions, draw_questions
from aira_evaluator.autoresearch.judge.rules import RULES
from aira_evaluator.autoresearch.wire.connection import PredictorFailed
from aira_evaluator.split_manifest import DataError
from aira_evaluator.task_scripts.evaluating import EvaluateScript, EvaluationRequest, EvaluationResult, PathOption
from aira_evaluator.task_scripts.settings import profile_in_force, seed_set_in_force

METRIC = "BPB"
_SOCKETS = PathOption(SOCKET_VOLUME_OPTION, Path(SOCKET_VOLUME), "folder for the predictors' sockets")
SCRIPT = EvaluateScript(
    "Judge a served model.",
    METRIC,
    SCRIPT_FILE,
    PredictorFailed,
    refused_as="{file}: error",
    options=(_SOCKETS,),
    kind="script",
)
"""The submission's file is named in messages and never read."""


def evaluate(arguments: Sequence[str] | None = None) -> int:
    """Judge one served model, print its test score, and report both hidden scores and the public one; return the exit
    status.
    """
    return SCRIPT.run(_scored, arguments)


def _scored(asked: EvaluationRequest) -> EvaluationResult:
    folder = asked.paths[_SOCKETS.flag]
    assert folder is not None  # it has a default
    return score(asked.data, folder)


def score(data: Path, socket_volume: Path) -> EvaluationResult:
    """Ask the served model what it says of hidden text, and then of the public rows it claims a number on; score that.

    Args:
        data: hidden rows, public ones, and the host's record of the training.
        socket_volume: the folder for the sockets of predict containers.

    Raises:
        PredictorFailed: the model gave no usable answer.
        DataError: hidden data or the host's record is missing or damaged.
        TimeoutError: a predict container did not come up.
    """
    profile, seed_set = profile_in_force(RULES), seed_set_in_force()
    if not socket_volume.is_dir():
        raise DataError(
            f"there is no folder {socket_volume} to meet predictors in: this task is scored by `aira-bench run`, "
            "which serves the trained model from containers of its own"
        )
    fit, hidden, public = _read_fit(data / FIT_FILE), read_hidden(data, seed_set, profile), read_public(data, profile)
    sizes = PROFILES[profile]
    questions = questions_of(fit, hidden, sizes.questions[seed_set])
    openly = PublicQuestions(public, _drawn(fit, hidden, public.rows, sizes.public_questions))
    containers = 1 + max(int(asked.container.max()) for asked in questions.values())
    if len(fit.sockets) < containers:
        raise DataError(
            f"the data needs {containers} predict containers, the task's metadata.yaml has {len(fit.sockets)}"
        )
    sockets = [socket_volume / name for name in fit.sockets]
    rng = np.random.default_rng()
    found = judge(sockets, hidden, questions, RULES[profile], rng, fit.serving_s, fit.stretch, openly)
    return _evaluated(fit, hidden, questions, found, seed_set)


def questions_of(fit: TrainingRecord, hidden: HiddenSet, count: int) -> dict[str, Questions]:
    """What one hand-over is asked about each split, `count` questions, on the machine that `fit` was recorded on."""
    return {name: _drawn(fit, hidden, split, count) for name, split in hidden.splits.items()}


def _drawn(fit: TrainingRecord, hidden: HiddenSet, rows: SplitRows, count: int) -> Questions:
    return draw_questions(rows, bytes.fromhex(fit.draw_secret) + hidden.secret, fit.handover_sha256, count)


def _evaluated(
    fit: TrainingRecord, hidden: HiddenSet, questions: Mapping[str, Questions], found: Judgement, seed_set: str
) -> EvaluationResult:
    validation, test = found.splits["validation"], found.splits["test"]
    return EvaluationResult(
        validation.bpb,
        test.bpb,
        seed_set,
        details={
            **{name: asdict(result) for name, result in found.splits.items()},
            PUBLIC: None if found.public is None else asdict(found.public),
            "rows_asked": {name: len(np.unique(asked.row)) for name, asked in questions.items()},
            "window_step": found.window_step,
            "claimed_less_trusted": None if fit.claimed is None else fit.claimed - validation.bpb,
            "seconds": {**fit.seconds, **found.seconds},
            "handover_sha256": fit.handover_sha256,
            "byte_table_sha256": byte_table_sha256(hidden.splits["test"].lengths),
            "public_corpus": hidden.public_corpus,
        },
        public=None if found.public is None else found.public.bpb,
        more={
            "public_standard_error": None if found.public is None else found.public.standard_error,
            "validation_standard_error": validation.standard_error,
            "test_standard_error": test.standard_error,
            "claimed": fit.claimed,
            "flags": list(found.flags),
        },
    )


def _read_fit(path: Path) -> TrainingRecord:
    try:
        return TrainingRecord.from_json(path.read_bytes())
    except FileNotFoundError as error:
        raise DataError(f"there is no {path}: this task is scored by `aira-bench run`") from error
    except ValueError as error:
        raise DataError(f"{path} is not the host's record of a training: {error!r}") from error
