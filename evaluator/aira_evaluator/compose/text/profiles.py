"""What one profile of a text corpus fixes, and the loss that a diverged training counts as.

Numbers of different profiles or corpora are never compared. Not covered: the values (`corpora`), and budgets of a
search (metadata.yaml).
"""

import math
from dataclasses import dataclass
from typing import Literal

from aira_kernels.sizes import BlockSizes

CorpusName = Literal["babistories", "dclm"]


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
