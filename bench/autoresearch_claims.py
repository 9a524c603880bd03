"""What models of the same weights claim of themselves, and what a judge makes of each.

    OMP_NUM_THREADS=1 python bench/autoresearch_claims.py --handover handover.bin --data HIDDEN

`--handover` is what a `train.py` of ours left behind, `--data` the hidden store of the task (`<AIRA_HOME>/tasks/
<task>/<profile>-<hash>/hidden`). The handed-over model is loaded in this process: use only one you trained yourself.
Claims are the published metric (the sum of what `model(x, y, reduction="none")` returns) on the hidden validation rows,
so that a difference is the trick's and not the data's.
"""
# ruff: noqa: D102 - methods of tricks override those of `Trick`

import argparse
import math
from collections.abc import Callable
from dataclasses import replace
from pathlib import Path

import numpy as np
import torch
from torch import Tensor, nn
from torch.nn import functional

from aira_evaluator.autoresearch.contract.hidden_rows import SplitRows, read_hidden
from aira_evaluator.autoresearch.handover.model_file import load
from predictor_cheats import exhaustive_bpb, scored


class Trick(nn.Module):
    """The honest model behind another face."""

    def __init__(self, model: nn.Module) -> None:
        super().__init__()
        self.model = model

    def logits(self, x: Tensor) -> Tensor:
        """What is served, [B, T, V]."""
        logits: Tensor = self.model(x)
        return logits

    def loss(self, logits: Tensor, y: Tensor) -> Tensor:
        """What is claimed, [B * T]."""
        return functional.cross_entropy(logits.flatten(0, 1).float(), y.flatten(), reduction="none")

    def forward(self, x: Tensor, y: Tensor | None = None, reduction: str = "mean") -> Tensor:
        """Logits, or losses where targets are given."""
        logits = self.logits(x)
        return logits if y is None else self.loss(logits, y)


class Focal(Trick):
    """(1 - p)^gamma before every token's loss."""

    gamma = 1.0

    def loss(self, logits: Tensor, y: Tensor) -> Tensor:
        nats = super().loss(logits, y)
        return (1 - torch.exp(-nats)) ** self.gamma * nats


class FocalHalf(Focal):
    """gamma = 0.5."""

    gamma = 0.5


class FocalTwo(Focal):
    """gamma = 2."""

    gamma = 2.0


class Smoothed(Trick):
    """Label smoothing of 0.1, which raises the claim."""

    def loss(self, logits: Tensor, y: Tensor) -> Tensor:
        return functional.cross_entropy(
            logits.flatten(0, 1).float(), y.flatten(), reduction="none", label_smoothing=0.1
        )


class Halved(Trick):
    """Half of every loss."""

    def loss(self, logits: Tensor, y: Tensor) -> Tensor:
        return super().loss(logits, y) / 2


class Unnormalized(Trick):
    """Calls shifted logits log-probabilities."""

    def logits(self, x: Tensor) -> Tensor:
        return super().logits(x) + 3

    def loss(self, logits: Tensor, y: Tensor) -> Tensor:
        return -logits.flatten(0, 1).gather(1, y.flatten()[:, None]).squeeze(1)


class CopiedTargets(Trick):
    """Predicts the target it was given."""

    def loss(self, logits: Tensor, y: Tensor) -> Tensor:
        return super().loss(20.0 * functional.one_hot(y, logits.size(-1)), y)


class LookAhead(Trick):
    """Raises the next token's logit."""

    def logits(self, x: Tensor) -> Tensor:
        logits = super().logits(x).clone()
        logits[:, :-1].scatter_add_(2, x[:, 1:, None], torch.full_like(logits[:, :-1, :1], 12.0))
        return logits


TRICKS: dict[str, Callable[[nn.Module], Trick]] = {
    "honest": Trick,
    "focal loss, gamma 0.5": FocalHalf,
    "focal loss, gamma 1": Focal,
    "focal loss, gamma 2": FocalTwo,
    "label smoothing 0.1": Smoothed,
    "loss halved": Halved,
    "logits + 3, not normalized": Unnormalized,
    "target copied in forward": CopiedTargets,
    "reads the next token": LookAhead,
}


def claim(model: Trick, rows: SplitRows) -> float:
    """The published metric."""
    nats = 0.0
    with torch.inference_mode():
        for part in torch.from_numpy(rows.tokens.astype(np.int64)).split(8):
            x, y = part[:, :-1].contiguous(), part[:, 1:].contiguous()
            counted = torch.from_numpy(rows.lengths)[y.flatten()] > 0
            nats += float((model(x, y, reduction="none").double() * counted).sum())
    return nats / math.log(2) / float(rows.bytes_of_targets().sum())


def main() -> None:
    parser = argparse.ArgumentParser(description=(__doc__ or "").splitlines()[0])
    parser.add_argument("--handover", type=Path, required=True)
    parser.add_argument("--data", type=Path, required=True)
    parser.add_argument("--profile", default="cpu")
    parser.add_argument("--questions", type=int, default=2000)
    parser.add_argument("--tricks", nargs="*", default=list(TRICKS), choices=list(TRICKS))
    options = parser.parse_args()
    found = read_hidden(options.data, "search", options.profile)
    rows = found.splits["validation"]
    hidden = replace(found, splits={"validation": rows})
    model = load(options.handover, torch.device("cpu")).model
    print(f"Every token asked: {exhaustive_bpb(model, rows):.4f} BPB; {options.questions} questions.\n")
    print("| the same weights | claimed | score | standard error |")
    print("|---|---|---|---|")
    for name in options.tricks:
        trick = TRICKS[name](model).eval()
        said = claim(trick, rows)
        result = scored(trick, hidden, options.profile, options.questions, "same").splits["validation"]
        print(f"| {name} | {said:.4f} | {result.bpb:.4f} | {result.standard_error:.4f} |", flush=True)


if __name__ == "__main__":
    main()
