"""An agent's own validation of an architecture: the judge's code, trained on public train, scored on public validation.

    python -m aira_evaluator.compose.validate --architecture "AMAMAMAM AMAMAMAM" --data ./data

The number is comparable between architectures of one data folder, and up to the luck of one training with the judge's,
which trains on the same examples and reports its score on these rows beside those on hidden ones.
"""

import argparse
import sys
from collections.abc import Sequence
from pathlib import Path

from aira_contract.architectures import SubmissionError, parse_architecture
from aira_contract.claims import claim_text
from aira_contract.containers import DATA
from aira_contract.files import CLAIM_FILE
from aira_evaluator.compose.grown.tasks import is_pattern_task, read_pattern_task
from aira_evaluator.compose.mad import profiles as mad
from aira_evaluator.compose.mad.splits import read_split
from aira_evaluator.compose.text import profiles as text
from aira_evaluator.compose.text.windows import Windows, is_text_split, read_text_split, text_profile
from aira_evaluator.split_manifest import DataError

_TRAIN_SHARE = 0.7
"""Where a corpus ended with the train split, which then is divided."""


def metric(data: Path) -> str:
    """Name of the number that `validate` returns for a data folder."""
    return text.METRIC if is_text_split(data / "train") else mad.METRIC


def validate(architecture: str, data: Path, *, seed: int = 0) -> float:
    """Train on the public train split and score on the public validation split.

    Args:
        architecture: either spelling of the grammar.
        data: the task's data folder, which holds `train` and `validation`.
        seed: decides initial weights and the order of examples.

    Returns:
        MAD tasks: mean accuracy over the six tasks, in [0, 1]. Others: loss in nats a token, lower is better. Where
        there is no text for a validation split, the first 70 % of the train windows are trained on and of the rest at
        most as many scored as a hidden split has.

    Raises:
        SubmissionError: the architecture cannot be read.
        DataError: the data cannot be read.
    """
    if is_pattern_task(data):
        return _validate_pattern(architecture, data, seed)
    if is_text_split(data / "train"):
        return _validate_text(architecture, data, seed)
    corpus, manifest = read_split(data / "train")
    held_out, _ = read_split(data / "validation")
    symbols = parse_architecture(architecture, manifest.primitives)

    from aira_evaluator.compose.mad.split_scores import train_and_score
    from aira_evaluator.compose.training.devices import choose_device, make_deterministic

    make_deterministic()
    scores = train_and_score(
        symbols, mad.PROFILES[manifest.profile], corpus, {"validation": held_out}, seed=seed, device=choose_device()
    )
    return scores["validation"].accuracy


def _validate_text(architecture: str, data: Path, seed: int) -> float:
    windows, manifest = read_text_split(data / "train")
    symbols = parse_architecture(architecture, manifest.primitives)

    from aira_evaluator.compose.text.text_losses import train_and_score
    from aira_evaluator.compose.training.devices import choose_device, make_deterministic

    profile = text_profile(manifest)
    fit, rest = _divided(windows, data, profile.hidden_windows)
    make_deterministic()
    losses = train_and_score(symbols, profile, fit, {"validation": rest}, seed=seed, device=choose_device())
    return losses["validation"].loss


def _divided(windows: Windows, data: Path, most: int) -> tuple[Windows, Windows]:
    """What is trained on and what is scored, of the public data."""
    if is_text_split(data / "validation"):
        return windows, read_text_split(data / "validation")[0]
    cut = round(_TRAIN_SHARE * len(windows))
    return windows.part(0, cut), windows.part(cut, min(len(windows), cut + most))


def _validate_pattern(architecture: str, data: Path, seed: int) -> float:
    task = read_pattern_task(data)
    windows, manifest = read_text_split(data / "train")
    symbols = parse_architecture(architecture, manifest.primitives, task.layers)
    task.check(symbols)

    from aira_evaluator.compose.grown.training import train_and_score
    from aira_evaluator.compose.training.devices import choose_device, make_deterministic

    profile = text_profile(manifest)
    fit, rest = _divided(windows, data, profile.hidden_windows)
    make_deterministic()
    losses = train_and_score(
        task, symbols, profile.name, profile.vocabulary, profile.worst_loss, fit, {"validation": rest}, seed=seed,
        device=choose_device(),
    )  # fmt: skip
    return losses["validation"].loss


def main(arguments: Sequence[str] | None = None) -> int:
    """Command line: print the number and write it to `validation.json`."""
    parser = argparse.ArgumentParser(prog="python -m aira_evaluator.compose.validate", description=__doc__)
    parser.add_argument("--architecture", required=True, help="for example AMAMAMAMAMAMAMAM or mA,M,mA,M,...")
    parser.add_argument("--data", type=Path, default=Path(DATA), help="the task's data folder")
    parser.add_argument("--seed", type=int, default=0, help="seed of the training")
    parser.add_argument("--output", type=Path, default=Path(CLAIM_FILE), help="where to write the number")
    options = parser.parse_args(arguments)
    try:
        value = validate(options.architecture, options.data, seed=options.seed)
    except (SubmissionError, DataError) as error:
        print(f"validate: {error}", file=sys.stderr)
        return 2
    options.output.write_text(claim_text(metric(options.data), value), encoding="ascii")
    print(f"{metric(options.data)} {value:.4f}")
    return 0


if __name__ == "__main__":
    sys.exit(main())
