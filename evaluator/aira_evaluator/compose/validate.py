"""An agent's own validation of an architecture: the judge's code on a 70:30 split of the public train data.

    python -m aira_evaluator.compose.validate --architecture "AMAMAMAM AMAMAMAM" --data ./data

The number is comparable between architectures of one data folder, not with the judge's: that one trains on all
examples, scores on hidden ones, and in fuzzy recall scores on keys of the largest size only.
"""

import argparse
import json
import sys
from collections.abc import Sequence
from pathlib import Path

from aira_evaluator.compose.profiles import PROFILES
from aira_evaluator.compose.splits import DataError, read_split
from aira_kernels.architecture import SubmissionError, parse_architecture

METRIC = "Accuracy"
TRAIN_SHARE = 0.7


def validate(architecture: str, data: Path, *, seed: int = 0) -> float:
    """Train on the first 70 % of the public train data and score on the rest.

    Args:
        architecture: either spelling of the grammar.
        data: the task's data folder, which holds `train`.
        seed: decides initial weights and the order of examples.

    Returns:
        Mean accuracy over the six tasks, in [0, 1].

    Raises:
        SubmissionError: the architecture cannot be read.
        DataError: the data cannot be read.
    """
    import numpy as np

    from aira_evaluator.compose.scoring import choose_device, make_deterministic, train_and_score

    corpus, manifest = read_split(data / "train")
    symbols = parse_architecture(architecture, manifest.primitives)
    fit, rest = {}, {}
    for name, examples in corpus.items():
        cut = round(TRAIN_SHARE * len(examples))
        fit[name] = examples.take(np.arange(cut))
        rest[name] = examples.take(np.arange(cut, len(examples)))
    make_deterministic()
    scores = train_and_score(
        symbols, PROFILES[manifest.profile], fit, {"validation": rest}, seed=seed, device=choose_device()
    )
    return scores["validation"].accuracy


def main(arguments: Sequence[str] | None = None) -> int:
    """Command line: print the number and write it to `validation.json`."""
    parser = argparse.ArgumentParser(prog="python -m aira_evaluator.compose.validate", description=__doc__)
    parser.add_argument("--architecture", required=True, help="for example AMAMAMAMAMAMAMAM or mA,M,mA,M,...")
    parser.add_argument("--data", type=Path, default=Path("data"), help="the task's data folder")
    parser.add_argument("--seed", type=int, default=0, help="seed of the training")
    parser.add_argument("--output", type=Path, default=Path("validation.json"), help="where to write the number")
    options = parser.parse_args(arguments)
    try:
        value = validate(options.architecture, options.data, seed=options.seed)
    except (SubmissionError, DataError) as error:
        print(f"validate: {error}", file=sys.stderr)
        return 2
    options.output.write_text(json.dumps({"metric": METRIC, "value": value}) + "\n", encoding="ascii")
    print(f"{METRIC} {value:.4f}")
    return 0


if __name__ == "__main__":
    sys.exit(main())
