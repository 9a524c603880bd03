"""The profiles of the two text corpora, and the loss that a diverged training counts as.

Sizes are explained in docs/text_tasks.md. Numbers of different profiles or corpora are never compared. Not covered:
the files of a corpus (`prepare.corpora`), and budgets of a search (metadata.yaml).
"""

import math
from collections.abc import Mapping
from dataclasses import dataclass
from typing import Literal

from aira_kernels.sizes import BlockSizes

METRIC = "Loss"
CorpusName = Literal["babistories", "dclm"]
_CPU_SIZES = BlockSizes(width=32, attention_head_dim=16, mamba_state=16)


@dataclass(frozen=True)
class TextProfile:
    """Everything that decides a loss besides the architecture, the text and the seeds."""

    name: str
    sizes: BlockSizes
    vocabulary: int
    """Tokens of the tokenizer, the mark before each document included."""
    length: int
    """Positions of a window, each of which predicts the next token."""
    train_windows: int
    """At most so many; a corpus may hold fewer, which manifest and report tell."""
    hidden_windows: int
    """Of validation, and of test; exactly so many."""
    held_out_share: float
    """Share of the documents that no train split ever holds; all hidden splits are taken from them."""
    epochs: int
    batch_size: int
    learning_rate: float
    """AdamW's rate, constant. The decay rates are torch's defaults (0.9, 0.999), the weight decay is 0."""
    tokenizer_documents: int
    """The tokenizer learns from the first so many documents of the train split."""
    synthetic_documents: int
    """How many the stand-in has."""

    @property
    def worst_loss(self) -> float:
        """What a diverged training counts as, and the most any loss counts as: twice that of a uniform guess."""
        return worst_loss(self.vocabulary)


def worst_loss(vocabulary: int) -> float:
    """Twice the natural logarithm of the number of tokens."""
    return 2.0 * math.log(vocabulary)


def _paper(
    *,
    vocabulary: int,
    train_windows: int,
    held_out_share: float,
    epochs: int,
    batch_size: int,
    synthetic_documents: int,
) -> TextProfile:
    return TextProfile(
        name="paper", sizes=BlockSizes(), vocabulary=vocabulary, length=512, train_windows=train_windows,
        hidden_windows=9275, held_out_share=held_out_share, epochs=epochs, batch_size=batch_size, learning_rate=5e-4,
        tokenizer_documents=100_000, synthetic_documents=synthetic_documents,
    )  # fmt: skip


def _cpu(learning_rate: float) -> TextProfile:
    return TextProfile(
        name="cpu", sizes=_CPU_SIZES, vocabulary=512, length=64, train_windows=4096, hidden_windows=384,
        held_out_share=0.4, epochs=1, batch_size=16, learning_rate=learning_rate, tokenizer_documents=2000,
        synthetic_documents=6000,
    )  # fmt: skip


PROFILES: Mapping[str, Mapping[str, TextProfile]] = {
    "babistories": {
        "paper": _paper(
            vocabulary=4096,
            train_windows=927_158,
            held_out_share=0.05,
            epochs=1,
            batch_size=128,
            synthetic_documents=3_200_000,
        ),
        "cpu": _cpu(learning_rate=5e-3),
    },
    "dclm": {
        "paper": _paper(
            vocabulary=8192,
            train_windows=10_000,
            held_out_share=0.4,
            epochs=4,
            batch_size=32,
            synthetic_documents=400_000,
        ),
        # At 5e-3 the seeds' noise is as large as the differences between stacks.
        "cpu": _cpu(learning_rate=3e-3),
    },
}
"""By name of the corpus, then of the profile."""
