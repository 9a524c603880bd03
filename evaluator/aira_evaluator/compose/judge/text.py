"""`evaluate.py` of the text tasks' folders: train a submitted architecture, score its loss on hidden splits.

No torch is imported before the scoring. Command line, report and exit statuses: `task_scripts.evaluating`.
"""

from collections.abc import Mapping, Sequence
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import TYPE_CHECKING

from aira_contract.architectures import Architecture, SubmissionError, canonical
from aira_contract.files import ARCHITECTURE_FILE
from aira_contract.reports import PUBLIC
from aira_contract.training_series import TrainingPoint, series_of
from aira_evaluator.compose.submission import read_submission
from aira_evaluator.compose.text.profiles import METRIC, PROFILES, TextProfile
from aira_evaluator.compose.text.windows import TextManifest, Windows, is_text_split, read_text_split, text_profile
from aira_evaluator.split_manifest import DataError
from aira_evaluator.task_scripts.evaluating import EvaluateScript, EvaluationResult
from aira_evaluator.task_scripts.hidden import hidden_folder, training_seed
from aira_evaluator.task_scripts.settings import profile_in_force, seed_set_in_force

if TYPE_CHECKING:
    from aira_evaluator.compose.text.text_losses import TextLoss

SCRIPT = EvaluateScript(
    "Train and score a submitted architecture.", METRIC, ARCHITECTURE_FILE, SubmissionError, kind="architecture"
)


def evaluate(primitives: Sequence[str], arguments: Sequence[str] | None = None) -> int:
    """Train the submitted architecture once, print its loss on the test split, and report both hidden losses and, where
    there is a public validation split, the loss on that.

    Args:
        primitives: symbols that this task admits.
        arguments: the command line; None for the process's own.

    Returns:
        The exit status.
    """
    return SCRIPT.run(lambda asked: score(read_submission(asked.submission, primitives), asked.data), arguments)


@dataclass(frozen=True)
class TextSplits:
    """The text of one evaluation, checked to belong together."""

    about: TextManifest
    """Of the train split."""
    profile: TextProfile
    train: Windows
    held_out: Mapping[str, Windows]
    """Both hidden splits and, where there is one, the public validation split."""
    training_seed: int
    """As recorded beside the hidden test split."""


def read_splits(data: Path, seed_set: str) -> TextSplits:
    """Read the public splits and the hidden ones of a seed set.

    Raises:
        DataError: the data is absent, damaged, or of another profile, or its parts do not belong together.
    """
    train, about = read_text_split(data / "train")
    validation, validation_about = read_text_split(hidden_folder(data, "validation", seed_set))
    test, test_about = read_text_split(hidden_folder(data, "test", seed_set))
    profile = text_profile(about)
    if profile.name != profile_in_force(PROFILES[about.corpus]):
        raise DataError(f"the data is of profile {profile.name}, AIRA_PROFILE asks for another")
    held_out = {"validation": validation, "test": test}
    others = [validation_about, test_about]
    if is_text_split(data / "validation"):
        held_out[PUBLIC], public_about = read_text_split(data / "validation")
        others.append(public_about)
    for other in others:
        if other.belongs_to != about.belongs_to:
            kind = "public" if other.seed_set is None else "hidden"
            raise DataError(f"the {kind} {other.split} split is not of this train split; prepare the data again")
    if test_about.training_seed is None:
        raise DataError("the hidden test split names no training seed; run evaluate_prepare.py again")
    return TextSplits(about, profile, train, held_out, test_about.training_seed)


def score(architecture: Architecture, data: Path) -> EvaluationResult:
    """Train once and score both hidden splits, and the public validation split that agents claim a number on.

    Raises:
        DataError: the data is absent, damaged, or of another profile, or its parts do not belong together.
    """
    seed_set = seed_set_in_force()
    splits = read_splits(data, seed_set)
    about = splits.about

    from aira_evaluator.compose.text.text_losses import train_and_score
    from aira_evaluator.compose.training.devices import choose_device, make_deterministic

    make_deterministic()
    curve: list[TrainingPoint] = []
    losses = train_and_score(
        architecture,
        splits.profile,
        splits.train,
        splits.held_out,
        seed=training_seed(splits.training_seed),
        device=choose_device(),
        on_trained=curve.extend,
    )
    described = {"corpus": about.corpus, "source": about.source, "train_windows": about.windows}
    return result(architecture, losses, described, curve, seed_set)


def result(
    architecture: Architecture,
    losses: Mapping[str, "TextLoss"],
    data: Mapping[str, object],
    curve: Sequence[TrainingPoint],
    seed_set: str,
) -> EvaluationResult:
    """Return what the judge reports of one training: the losses by split, what its data were, and its curve."""
    return EvaluationResult(
        losses["validation"].loss,
        losses["test"].loss,
        seed_set,
        details={"data": data, **{split: asdict(loss) for split, loss in losses.items()}},
        canonical=canonical(architecture),
        public=losses[PUBLIC].loss if PUBLIC in losses else None,
        series=series_of(curve),
    )
