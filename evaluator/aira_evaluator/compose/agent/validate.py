"""An agent's own validation of an architecture: the judge's code on a 70:30 split of the public train data.

    python -m aira_evaluator.compose.validate --architecture "AMAMAMAM AMAMAMAM" --data ./data

The number is comparable between architectures of one data folder, not with the judge's: that one trains on all
examples, scores on hidden ones, and in fuzzy recall scores on keys of the largest size only.
"""

import argparse
import sys
from collections.abc import Sequence
from pathlib import Path

from aira_contract.architectures import SubmissionError, parse_architecture
from aira_contract.claims import claim_text
from aira_contract.containers import DATA
from aira_contract.files import CLAIM_FILE
from aira_evaluator.compose.mad import profiles as mad
from aira_evaluator.compose.mad.splits import read_split
from aira_evaluator.compose.text import profiles as text
from aira_evaluator.compose.text.windows import is_text_split, read_text_split, text_profile
from aira_evaluator.split_manifest import DataError

TRAIN_SHARE = 0.7


def metric(data: Path) -> str:
    """Name of the number that `validate` returns for a data folder."""
    return text.METRIC if is_text_split(data / "train") else mad.METRIC


def validate(architecture: str, data: Path, *, seed: int = 0) -> float:
    """Train on the first 70 % of the public train data and score on the rest.

    Args:
        architecture: either spelling of the grammar.
        data: the task's data folder, which holds `train`.
        seed: decides initial weights and the order of examples.

    Returns:
        MAD tasks: mean accuracy over the six tasks, in [0, 1]. Text tasks: loss in nats a token, lower is better,
        over at most as many windows as a hidden split has.

    Raises:
        SubmissionError: the architecture cannot be read.
        DataError: the data cannot be read.
    """
    if is_text_split(data / "train"):
        return _validate_text(architecture, data, seed)
    corpus, manifest = read_split(data / "train")
    symbols = parse_architecture(architecture, manifest.primitives)

    import numpy as np

    from aira_evaluator.compose.mad.split_scores import train_and_score
    from aira_evaluator.compose.training.devices import choose_device, make_deterministic

    fit, rest = {}, {}
    for name, examples in corpus.items():
        cut = round(TRAIN_SHARE * len(examples))
        fit[name] = examples.take(np.arange(cut))
        rest[name] = examples.take(np.arange(cut, len(examples)))
    make_deterministic()
    scores = train_and_score(
        symbols, mad.PROFILES[manifest.profile], fit, {"validation": rest}, seed=seed, device=choose_device()
    )
    return scores["validation"].accuracy


def _validate_text(architecture: str, data: Path, seed: int) -> float:
    windows, manifest = read_text_split(data / "train")
    symbols = parse_architecture(architecture, manifest.primitives)

    from aira_evaluator.compose.text.text_losses import train_and_score
    from aira_evaluator.compose.training.devices import choose_device, make_deterministic

    profile = text_profile(manifest)
    cut = round(TRAIN_SHARE * len(windows))
    rest = windows.part(cut, min(len(windows), cut + profile.hidden_windows))
    make_deterministic()
    losses = train_and_score(
        symbols, profile, windows.part(0, cut), {"validation": rest}, seed=seed, device=choose_device()
    )
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
