"""`evaluate.py` of the MAD task folders: train a submitted architecture, score it on hidden splits.

No torch is imported before the scoring. Command line, report and exit statuses: `task_scripts.evaluating`.
"""

from collections.abc import Sequence
from pathlib import Path

from aira_contract.architectures import Architecture, SubmissionError, canonical
from aira_contract.files import ARCHITECTURE_FILE
from aira_contract.reports import PUBLIC
from aira_contract.training_series import TrainingPoint, series_of
from aira_evaluator.compose.mad.profiles import METRIC, PROFILES
from aira_evaluator.compose.mad.splits import read_split
from aira_evaluator.compose.submission import read_submission
from aira_evaluator.split_manifest import DataError
from aira_evaluator.task_scripts.evaluating import EvaluateScript, EvaluationResult
from aira_evaluator.task_scripts.hidden import hidden_folder, training_seed
from aira_evaluator.task_scripts.settings import profile_in_force, seed_set_in_force

SCRIPT = EvaluateScript(
    "Train and score a submitted architecture.", METRIC, ARCHITECTURE_FILE, SubmissionError, kind="architecture"
)


def evaluate(primitives: Sequence[str], arguments: Sequence[str] | None = None) -> int:
    """Train the submitted architecture once, print its test score, and report both hidden scores and the public one.

    Reads `./data/train`, `./data/validation` and, of the seed set in force, `./data/validation_with_labels` and
    `./data/test_with_labels`.

    Args:
        primitives: symbols that this task admits.
        arguments: the command line; None for the process's own.

    Returns:
        The exit status.
    """
    return SCRIPT.run(lambda asked: score(read_submission(asked.submission, primitives), asked.data), arguments)


def score(architecture: Architecture, data: Path) -> EvaluationResult:
    """Train once and score both hidden splits, and the public validation split that agents claim a number on.

    Raises:
        DataError: the data is absent, damaged, or of another profile.
    """
    profile, seed_set = PROFILES[profile_in_force(PROFILES)], seed_set_in_force()
    train_corpus, _ = read_split(data / "train")
    public_corpus, _ = read_split(data / "validation")
    validation_corpus, _ = read_split(hidden_folder(data, "validation", seed_set))
    test_corpus, manifest = read_split(hidden_folder(data, "test", seed_set))
    if manifest.profile != profile.name:
        raise DataError(f"the data is of profile {manifest.profile}, AIRA_PROFILE asks for {profile.name}")
    if manifest.training_seed is None:
        raise DataError("the hidden test split names no training seed; run evaluate_prepare.py again")

    from aira_evaluator.compose.mad.split_scores import train_and_score
    from aira_evaluator.compose.training.devices import choose_device, make_deterministic

    make_deterministic()
    curve: list[TrainingPoint] = []
    scores = train_and_score(
        architecture,
        profile,
        train_corpus,
        {"validation": validation_corpus, "test": test_corpus, PUBLIC: public_corpus},
        seed=training_seed(manifest.training_seed),
        device=choose_device(),
        on_task=lambda name: print(f"training on {name}", flush=True),
        on_trained=curve.extend,
    )
    return EvaluationResult(
        scores["validation"].accuracy,
        scores["test"].accuracy,
        seed_set,
        details={split: score.details() for split, score in scores.items()},
        canonical=canonical(architecture),
        public=scores[PUBLIC].accuracy,
        series=series_of(curve),
    )
