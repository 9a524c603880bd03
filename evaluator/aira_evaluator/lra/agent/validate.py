"""An agent's own validation of its `model.py`: the judge's code, trained on public train, scored on public validation.

    python -m aira_evaluator.lra.validate --model model.py --data ./data

The number is comparable between modules of one data folder, and close to the judge's, which trains on the same
examples and scores hidden ones. It costs what an evaluation costs. Here the module runs in the caller's process, so a
number from here proves nothing to anybody else.
"""

import argparse
import sys
import time
from collections.abc import Sequence
from pathlib import Path

from aira_contract.claims import claim_text
from aira_contract.containers import DATA
from aira_contract.files import CLAIM_FILE, MODULE_FILE
from aira_contract.invocation import CPU, CUDA
from aira_evaluator.lra.contract.bundle import Bundle
from aira_evaluator.lra.contract.hyperparameters import ConstantsError, read_hyperparameters
from aira_evaluator.lra.contract.profiles import METRIC, PROFILES
from aira_evaluator.lra.contract.refusal import RefusedError
from aira_evaluator.lra.contract.splits import read_split
from aira_evaluator.lra.contract.submission import CONTRACTS
from aira_evaluator.split_manifest import DataError


def validate(model: Path, data: Path, *, seed: int = 0) -> tuple[float, list[str]]:
    """Train a module on the public train split and score it on the public validation split.

    Args:
        model: the `model.py`.
        data: the task's data folder, which holds `train` and `validation`.
        seed: of initial weights, order of examples and dropout.

    Returns:
        Accuracy in [0, 1], and the flags the judge would raise.

    Raises:
        ConstantsError: a constant of a configurable task is out of range or no literal.
        DataError: the data cannot be read.
        RefusedError: the module breaks the contract. What the module itself raises passes through.
    """
    from aira_evaluator.lra.fit.tracing import TraceRequest, load_module_class, trace
    from aira_evaluator.lra.training.limits import JudgeLimits
    from aira_evaluator.lra.training.module_score import Splits, score_module

    started_s = time.monotonic()
    train, manifest = read_split(data / "train")
    held_out, _ = read_split(data / "validation")
    profile, contract = PROFILES[manifest.profile, manifest.task], CONTRACTS[manifest.task]
    chosen = profile.defaults
    if manifest.configurable:
        source = model.read_text(encoding="utf-8")
        chosen = read_hyperparameters(source, profile.defaults, profile.ranges, profile.max_train_tokens)
    platform = _platform()
    request = TraceRequest(contract, chosen, profile.eval_batch_size, platform)
    graphs = dict(trace(load_module_class(model, contract.class_name), request))
    score = score_module(
        Bundle(platform, chosen, graphs), profile, Splits(train, held_out, held_out),
        seed=seed, limits=JudgeLimits(), started_s=started_s, note=lambda text: print(text, flush=True),
    )  # fmt: skip
    return score.validation, score.flags


def _platform() -> str:
    import jax

    return CPU if jax.default_backend() == "cpu" else CUDA


def main(arguments: Sequence[str] | None = None) -> int:
    """Command line: print the number and write it to `validation.json`."""
    parser = argparse.ArgumentParser(prog="python -m aira_evaluator.lra.validate", description=__doc__)
    parser.add_argument("--model", type=Path, default=Path(MODULE_FILE))
    parser.add_argument("--data", type=Path, default=Path(DATA), help="the task's data folder")
    parser.add_argument("--seed", type=int, default=0, help="seed of the training")
    parser.add_argument("--output", type=Path, default=Path(CLAIM_FILE), help="where to write the number")
    options = parser.parse_args(arguments)
    try:
        value, flags = validate(options.model, options.data, seed=options.seed)
    except (ConstantsError, DataError, RefusedError, OSError, UnicodeDecodeError) as error:
        print(f"validate: {error}", file=sys.stderr)
        return 2
    options.output.write_text(claim_text(METRIC, value), encoding="ascii")
    print(f"{METRIC} {value:.4f}" + (f" (flags: {', '.join(flags)})" if flags else ""))
    return 0


if __name__ == "__main__":
    sys.exit(main())
