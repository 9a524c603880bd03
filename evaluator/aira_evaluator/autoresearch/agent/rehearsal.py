"""Loads a handed-over model as a predict container will, in a process without the script, and asks it for logits.

    python -m aira_evaluator.autoresearch.agent.rehearsal --handover handover.bin --tokens 256 --vocabulary 2048

The token ids are zeros, in one row and in three. Says in one line what would make an evaluation refuse the model.

Exit statuses: 0 it would be served, 2 it would not.

Not covered: whether its predictions are finite on real text, time, and memory at the judge's numbers of rows.
"""

import argparse
import sys
from collections.abc import Sequence
from pathlib import Path

import torch

from aira_contract.invocation import HANDOVER_OPTION
from aira_evaluator.autoresearch.handover.model_file import load
from aira_evaluator.autoresearch.predict.serving import NoLogits, logits_of

_ROWS = (1, 3)


class RehearsalError(Exception):
    """The model would not be served. The message is one line."""


def rehearse(handover: Path, tokens: int, vocabulary: int, device: torch.device) -> None:
    """Load the model and ask it. This executes code from the file.

    Raises:
        RehearsalError: it cannot be loaded, raises an exception, or returns no logits.
    """
    try:
        handed = load(handover, device)
    except Exception as error:  # whatever unpickling a script's objects raises
        raise RehearsalError(
            f"its model cannot be loaded in a process without the script ({_one_line(error)})"
        ) from error
    handed.ambience.settle()
    for rows in _ROWS:
        x = torch.zeros(rows, tokens, dtype=torch.int64, device=device)
        try:
            with handed.ambience.entered(device):
                logits_of(handed.model(x), rows, tokens, vocabulary)
        except NoLogits as error:
            raise RehearsalError(
                f"model(x) must return logits ({rows}, {tokens}, {vocabulary}) for x ({rows}, {tokens}); {error}"
            ) from error
        except Exception as error:  # whatever a model raises
            raise RehearsalError(
                f"the loaded model(x) raised {_one_line(error)} for int64 x ({rows}, {tokens})"
            ) from error


def _one_line(error: Exception) -> str:
    return " ".join(f"{type(error).__name__}: {error}".split())


def main(arguments: Sequence[str] | None = None) -> int:
    """Run the command line; return the exit status."""
    parser = argparse.ArgumentParser(prog="rehearsal", description="Load a handed-over model and ask it for logits.")
    parser.add_argument(HANDOVER_OPTION, type=Path, required=True)
    parser.add_argument("--tokens", type=int, required=True, help="of a row")
    parser.add_argument("--vocabulary", type=int, required=True)
    options = parser.parse_args(arguments)
    device = torch.device("cuda" if torch.cuda.is_available() else "cpu")
    try:
        rehearse(options.handover, options.tokens, options.vocabulary, device)
    except RehearsalError as error:
        print(error)
        return 2
    return 0


if __name__ == "__main__":
    sys.exit(main())
