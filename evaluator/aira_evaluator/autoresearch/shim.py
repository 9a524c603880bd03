"""What a train.py may import. Read-only: a changed copy changes nothing that counts.

    from prepare import MAX_SEQ_LEN, TIME_BUDGET, Tokenizer, make_dataloader, evaluate_bpb

Data lies in ./data (or in the folder that AIRA_DATA names). The names are those of the public reference of this task,
so scripts in its style run unchanged. There is no data preparation here, and nothing of the trusted score: a separate
judge measures that, on hidden text, with its own tokenizer, from the logits of the model that `evaluate_bpb` hands
over.
"""

import json
import math
import os
from collections.abc import Iterator
from pathlib import Path
from typing import Any, Literal, Self

import numpy as np
import torch
from torch import nn

from aira_evaluator.autoresearch import handover
from aira_evaluator.autoresearch.packing import WAITING, pack
from aira_evaluator.autoresearch.token_store import open_split
from aira_evaluator.text import tokenizer as tokenization

DATA_DIR = Path(os.environ.get("AIRA_DATA", "data")).resolve()
TOKENIZER_DIR = DATA_DIR / "tokenizer"
_MANIFEST: dict[str, Any] = json.loads((DATA_DIR / "manifest.json").read_text(encoding="ascii"))

MAX_SEQ_LEN: int = _MANIFEST["sequence_length"]
"""Tokens of a row. The judge asks for logits of windows up to this long."""
TIME_BUDGET: float = float(os.environ.get("AIRA_TIME_BUDGET_S", _MANIFEST["time_budget_s"]))
"""Seconds of training. The clock that counts is outside: it adds one start-up allowance, then kills the process."""
EVAL_TOKENS: int = _MANIFEST["validation_tokens"]
"""Targets that `evaluate_bpb` averages over."""
VOCAB_SIZE: int = _MANIFEST["vocabulary"]
DEVICE = torch.device("cuda" if torch.cuda.is_available() else "cpu")
CLAIM_FILE = Path("validation.json")
BEGAN_FILE = Path("training_began")
"""Made with the first training batch, so that the host can tell start-up from training by the kernel's clock."""


class Tokenizer(tokenization.Tokenizer):
    """Text to token ids and back: `encode`, `decode`, `get_vocab_size`, `get_bos_token_id`."""

    @classmethod
    def from_directory(cls, folder: Path | str = TOKENIZER_DIR) -> Self:
        """The tokenizer the data was made with."""
        return super().from_directory(folder)


def get_token_bytes(device: str | torch.device = "cpu") -> torch.Tensor:
    """Bytes of text each token stands for, int32 [vocabulary]; 0 for the beginning-of-document token."""
    return torch.from_numpy(np.load(TOKENIZER_DIR / tokenization.BYTES_FILE)).to(device)


def make_dataloader(
    tokenizer: Tokenizer, B: int, T: int, split: Literal["train", "val"], buffer_size: int = WAITING
) -> Iterator[tuple[torch.Tensor, torch.Tensor, int]]:
    """Endless batches (inputs, targets, epoch), int64 [B, T] on the device; targets are the inputs one token later.

    Rows begin with the beginning-of-document token, are packed by best fit from whole documents, hold no padding, and
    crop at most their last document.

    Args:
        tokenizer: the tokenizer of `Tokenizer.from_directory`; the documents are stored as its tokens.
        B: rows of a batch.
        T: tokens of a row; need not be `MAX_SEQ_LEN`.
        split: which documents.
        buffer_size: documents held ready; more crop less.
    """
    if split not in ("train", "val"):
        raise ValueError(f"split is {split!r}, expected 'train' or 'val'")
    if tokenizer.get_vocab_size() != VOCAB_SIZE:
        raise ValueError(f"the tokenizer has {tokenizer.get_vocab_size()} tokens, the data was made with {VOCAB_SIZE}")
    documents = _Documents(split)
    rows = pack(documents, T + 1, tokenizer.get_bos_token_id(), buffer_size)
    while True:
        batch = torch.from_numpy(np.stack([next(rows) for _ in range(B)]).astype(np.int64))
        if DEVICE.type == "cuda":
            batch = batch.pin_memory()
        batch = batch.to(DEVICE, non_blocking=True)
        if split == "train" and not BEGAN_FILE.exists():
            BEGAN_FILE.touch()
        yield batch[:, :-1].contiguous(), batch[:, 1:].contiguous(), documents.epoch


@torch.no_grad()
def evaluate_bpb(model: nn.Module, tokenizer: Tokenizer, batch_size: int) -> float:
    """Hand the model over to the judge, and return the bits per byte it claims for itself on the public val split.

    The claim sums what `model(x, y, reduction="none")` returns over targets that stand for at least one byte, as the
    public reference does. It is shown beside the trusted score and decides nothing. May be called again while
    training goes on; the last model handed over before the deadline counts.

    Args:
        model: called as above here; the judge calls `model(x)`, which returns logits [batch, length, vocabulary].
        tokenizer: the tokenizer of `Tokenizer.from_directory`.
        batch_size: rows of a batch.
    """
    handover.hand_over(model)
    token_bytes = get_token_bytes(DEVICE)
    nats, byte_count = 0.0, 0
    batches = make_dataloader(tokenizer, batch_size, MAX_SEQ_LEN, "val")
    for _ in range(max(1, EVAL_TOKENS // (batch_size * MAX_SEQ_LEN))):
        x, y, _ = next(batches)
        losses = model(x, y, reduction="none").reshape(-1).double()
        counted = token_bytes[y.reshape(-1)]
        nats += float((losses * (counted > 0)).sum())
        byte_count += int(counted.sum())
    claimed = nats / (math.log(2) * byte_count)
    if math.isfinite(claimed):
        CLAIM_FILE.write_text(json.dumps({"metric": "BPB", "value": claimed}) + "\n", encoding="ascii")
    return claimed


class _Documents:
    """The documents of a split, over and over; `epoch` counts from 1."""

    def __init__(self, split: str) -> None:
        self._shards = open_split(DATA_DIR / split)
        self.epoch = 1

    def __iter__(self) -> Iterator[tokenization.Tokens]:
        while True:
            for shard in self._shards:
                yield from shard.documents()
            self.epoch += 1
