"""What models of the same weights claim of themselves, and what a judge makes of each.

    python bench/autoresearch_claims.py --handover handover.bin --data HIDDEN --profile cpu

`--handover` is what a `train.py` of ours left behind, `--data` the hidden store of the task (`<AIRA_HOME>/tasks/
<task>/<profile>-<hash>/hidden`). The handed-over model is loaded in this process: use only one you trained yourself.
Claims are the published metric (the sum of what `model(x, y, reduction="none")` returns) on the same hidden
validation rows that the judge scores, so that a difference is the trick's and not the data's.
"""
# ruff: noqa: D102 - methods of tricks override those of `Trick`

import argparse
import math
import subprocess
import sys
import tempfile
import threading
import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from dataclasses import replace
from pathlib import Path

import numpy as np
import torch
from torch import Tensor, nn
from torch.nn import functional

from aira_evaluator.autoresearch.handover import HANDOVER_FILE, hand_over, load
from aira_evaluator.autoresearch.hidden import HiddenRows, read_hidden
from aira_evaluator.autoresearch.judging import PREFIX_SOCKET, ROWS_SOCKET, Judgement, Meeting, judge, secret_rng
from aira_evaluator.autoresearch.rules import RULES

TICKETS = ("first", "second")
LIFETIME_S = 1800.0


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
    """Raises the next token's logit where it may look."""

    def may_look(self, x: Tensor, logits: Tensor) -> Tensor:
        """Whether each of the first T - 1 positions reads the token after it, bool [B, T - 1]."""
        return torch.ones_like(x[:, 1:], dtype=torch.bool)

    def logits(self, x: Tensor) -> Tensor:
        logits = super().logits(x).clone()
        raised = 12.0 * self.may_look(x, logits)[..., None]
        logits[:, :-1].scatter_add_(2, x[:, 1:, None], raised.to(logits.dtype))
        return logits


class NaturalSuffixes(LookAhead):
    """Looks only where what follows reads like text to the model itself."""

    def may_look(self, x: Tensor, logits: Tensor) -> Tensor:
        told = functional.log_softmax(logits[:, :-1].float(), dim=-1).gather(2, x[:, 1:, None]).squeeze(2)
        left = torch.arange(x.size(1) - 1, 0, -1, device=x.device)
        return told.flip(1).cumsum(1).flip(1) / left > -0.9 * math.log(logits.size(-1))


class OnePercent(LookAhead):
    """Looks at one position in a hundred."""

    def may_look(self, x: Tensor, logits: Tensor) -> Tensor:
        return (x[:, :-1] * 7919 + torch.arange(x.size(1) - 1, device=x.device) * 104729) % 100 == 0


class Memorizer(LookAhead):
    """Looks, and remembers what followed every prefix it was shown."""

    def __init__(self, model: nn.Module) -> None:
        super().__init__(model)
        self.followed: dict[int, int] = {}

    def logits(self, x: Tensor) -> Tensor:
        logits = Trick.logits(self, x).clone()
        for row, tokens in enumerate(x.tolist()):
            prefix = 0
            for position, token in enumerate(tokens):
                prefix = hash((prefix, token))
                if position + 1 < len(tokens):
                    self.followed.setdefault(prefix, tokens[position + 1])
                if prefix in self.followed:
                    logits[row, position, self.followed[prefix]] += 12
        return logits


class BatchAdaptor(Trick):
    """Leans towards the tokens of all rows it was asked together."""

    def logits(self, x: Tensor) -> Tensor:
        logits = super().logits(x)
        counts = torch.bincount(x.flatten(), minlength=logits.size(-1)).to(logits.dtype) + 0.1
        return logits + 0.5 * torch.log(counts / counts.sum())


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
    "reads it on natural suffixes only": NaturalSuffixes,
    "reads it at 1 % of positions": OnePercent,
    "remembers earlier queries": Memorizer,
    "adapts to its batch": BatchAdaptor,
}


def claim(model: Trick, hidden: HiddenRows) -> float:
    """The published metric on the validation rows."""
    rows = torch.from_numpy(hidden.rows[hidden.splits["validation"]].astype(np.int64))
    lengths, nats, total = torch.from_numpy(hidden.lengths), 0.0, 0
    with torch.inference_mode():
        for part in rows.split(8):
            x, y = part[:, :-1].contiguous(), part[:, 1:].contiguous()
            counted = lengths[y.flatten()]
            nats += float((model(x, y, reduction="none").double() * (counted > 0)).sum())
            total += int(counted.sum())
    return nats / (math.log(2) * total)


@contextmanager
def served(folder: Path) -> Iterator[None]:
    """Both predictors, one after the other."""

    def run() -> None:
        for name, ticket in zip((PREFIX_SOCKET, ROWS_SOCKET), TICKETS, strict=True):
            subprocess.run(
                [sys.executable, "-m", "aira_evaluator.autoresearch.serving",
                 "--handover", str(folder / HANDOVER_FILE), "--socket", str(folder / name), "--ticket", ticket],
                check=False,
            )  # fmt: skip

    thread = threading.Thread(target=run, daemon=True)
    thread.start()
    yield
    thread.join()


def trusted(model: Trick, hidden: HiddenRows, seed: int, profile: str) -> Judgement:
    """What the judge finds."""
    with tempfile.TemporaryDirectory() as name:
        folder = Path(name)
        hand_over(model, folder)
        with served(folder):
            return judge(Meeting(folder, TICKETS), hidden, RULES[profile], "search", secret_rng(seed, ""), LIFETIME_S)


def main() -> None:
    parser = argparse.ArgumentParser(description=(__doc__ or "").splitlines()[0])
    parser.add_argument("--handover", type=Path, required=True)
    parser.add_argument("--data", type=Path, required=True)
    parser.add_argument("--profile", default="cpu")
    parser.add_argument("--tricks", nargs="*", default=list(TRICKS), choices=list(TRICKS))
    parser.add_argument("--claims-only", nargs="*", default=[], choices=list(TRICKS), help="tricks not to judge")
    parser.add_argument("--rows", type=int, default=None, help="of each split, instead of all")
    options = parser.parse_args()
    found = read_hidden(options.data, "search", options.profile)
    if options.rows is not None:
        kept = {name: found.rows.rows[place][: options.rows] for name, place in found.rows.splits.items()}
        found = replace(found, rows=HiddenRows.join(kept, found.rows.lengths))
    model = load(options.handover, torch.device("cpu")).model
    print("| the same weights | claimed | parallel | charged | score | flags | residual | s |")
    print("|---|---|---|---|---|---|---|---|")
    for name in options.tricks:
        started_s = time.monotonic()
        trick = TRICKS[name](model).eval()
        said = claim(TRICKS[name](model).eval(), found.rows)  # an instance of its own: some remember
        if name in options.claims_only:
            print(f"| {name} | {said:.4f} | not judged | | | | | {time.monotonic() - started_s:.0f} |", flush=True)
            continue
        judged = trusted(trick, found.rows, found.seed, options.profile)
        split = judged.splits["validation"]
        print(
            f"| {name} | {said:.4f} | {split.parallel_bpb:.4f} | {split.charged_bpb:.6f} | {split.bpb:.4f} "
            f"| {', '.join(judged.flags) or '-'} | {split.residual_bpb:.4f} | {time.monotonic() - started_s:.0f} |",
            flush=True,
        )
        for check, summary in judged.differences.items():
            print(f"<!-- {name}: {check} {summary} seconds {judged.seconds} -->", file=sys.stderr)


if __name__ == "__main__":
    main()
