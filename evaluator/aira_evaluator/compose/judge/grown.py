"""`evaluate.py` of the tasks of patterns: train a submitted pattern at toy widths, score its loss on hidden text.

No torch is imported before the scoring. Command line, report and exit statuses: `task_scripts.evaluating`.
"""

from collections.abc import Sequence
from pathlib import Path

from aira_contract.architectures import Architecture, SubmissionError
from aira_contract.files import ARCHITECTURE_FILE
from aira_contract.training_arithmetic import toy_parameters
from aira_contract.training_series import TrainingPoint
from aira_evaluator.compose.grown.tasks import PATTERN_TASKS, PatternTask
from aira_evaluator.compose.judge.text import read_splits, result
from aira_evaluator.compose.submission import read_submission
from aira_evaluator.compose.text.profiles import METRIC
from aira_evaluator.task_scripts.evaluating import EvaluateScript, EvaluationResult
from aira_evaluator.task_scripts.hidden import training_seed
from aira_evaluator.task_scripts.settings import seed_set_in_force

SCRIPT = EvaluateScript(
    "Train and score a submitted pattern.", METRIC, ARCHITECTURE_FILE, SubmissionError, kind="architecture"
)


def evaluate(task: str, primitives: Sequence[str], arguments: Sequence[str] | None = None) -> int:
    """Train the submitted pattern once, print its loss on the test split, and report both hidden losses.

    Args:
        task: which of `PATTERN_TASKS`.
        primitives: symbols that this task admits.
        arguments: the command line; None for the process's own.

    Returns:
        The exit status.
    """
    settings = PATTERN_TASKS[task]
    return SCRIPT.run(
        lambda asked: score(settings, _read(settings, asked.submission, primitives), asked.data), arguments
    )


def _read(task: PatternTask, path: Path, primitives: Sequence[str]) -> Architecture:
    architecture = read_submission(path, primitives, task.layers)
    task.check(architecture)
    return architecture


def score(task: PatternTask, architecture: Architecture, data: Path) -> EvaluationResult:
    """Train once and score both hidden splits, and the public validation split that agents claim a number on.

    Raises:
        DataError: the data is absent, damaged, or of another profile, or its parts do not belong together.
    """
    seed_set = seed_set_in_force()
    splits = read_splits(data, seed_set)

    from aira_evaluator.compose.grown.training import train_and_score
    from aira_evaluator.compose.training.devices import choose_device, make_deterministic

    make_deterministic()
    curve: list[TrainingPoint] = []
    profile, about = splits.profile, splits.about
    losses = train_and_score(
        task, architecture, profile.name, profile.vocabulary, profile.worst_loss, splits.train, splits.held_out,
        seed=training_seed(splits.training_seed), device=choose_device(), on_trained=curve.extend,
    )  # fmt: skip
    steps = task.steps(
        architecture, profile.name, windows=about.windows, length=profile.length, vocabulary=profile.vocabulary
    )
    described = {
        "corpus": about.corpus, "source": about.source, "train_windows": about.windows, "steps": steps,
        "parameters": toy_parameters(architecture),
    }  # fmt: skip
    return result(architecture, losses, described, curve, seed_set)
