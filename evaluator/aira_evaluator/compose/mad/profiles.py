"""The two profiles: `paper`, and `cpu`, the same six tasks and sixteen layers shrunk to one core and seconds.

docs/mad.md says what comes from the paper, what from MAD-lab, and what is our choice. Numbers of different
profiles are never compared. Not covered: budgets of a search, which are in the tasks' metadata.yaml.
"""

from collections.abc import Mapping
from dataclasses import dataclass

from aira_evaluator.compose.mad.copying import Compression, Memorization, SelectiveCopying
from aira_evaluator.compose.mad.recall import FuzzyInContextRecall, InContextRecall
from aira_evaluator.compose.mad.synthetic_task import SyntheticTask
from aira_kernels.sizes import BlockSizes

METRIC = "Accuracy"


@dataclass(frozen=True)
class MadProfile:
    """Everything that decides a score besides the architecture and the seeds."""

    name: str
    tasks: Mapping[str, SyntheticTask]
    sizes: BlockSizes
    train_examples: int
    validation_examples: int
    test_examples: int
    epochs: int
    batch_size: int
    learning_rate: float
    """AdamW's rate, constant. The decay rates are torch's defaults (0.9, 0.999), the weight decay is 0."""
    embedding_std: float
    """Standard deviation of the token embeddings at the start."""
    scored_epochs: int
    """The held-out splits are scored after each of so many epochs, the last ones; the score is the mean."""

    def is_scored(self, epoch: int) -> bool:
        """Whether the held-out splits are scored after this epoch; the first is 1."""
        return epoch > self.epochs - self.scored_epochs


PAPER = MadProfile(
    name="paper",
    tasks={
        "in-context-recall": InContextRecall(vocabulary=16, length=128),
        "noisy-in-context-recall": InContextRecall(vocabulary=32, length=128, noise_vocabulary=16, noise_fraction=0.2),
        "fuzzy-in-context-recall": FuzzyInContextRecall(vocabulary=16, length=128),
        "selective-copying": SelectiveCopying(vocabulary=16, length=256, copies=16),
        "compression": Compression(vocabulary=16, length=32),
        "memorization": Memorization(vocabulary=256, length=32),
    },
    sizes=BlockSizes(),
    train_examples=800,
    validation_examples=1280,
    test_examples=1280,
    epochs=200,
    batch_size=128,
    learning_rate=5e-4,
    embedding_std=0.02,
    scored_epochs=1,
)

CPU = MadProfile(
    name="cpu",
    tasks={
        "in-context-recall": InContextRecall(vocabulary=8, length=16, masked_loss=True),
        "noisy-in-context-recall": InContextRecall(
            vocabulary=12, length=16, noise_vocabulary=4, noise_fraction=0.2, masked_loss=True
        ),
        "fuzzy-in-context-recall": FuzzyInContextRecall(
            vocabulary=9, length=20, longest_key=2, longest_value=2, masked_loss=True
        ),
        "selective-copying": SelectiveCopying(vocabulary=8, length=20, copies=4),
        "compression": Compression(vocabulary=8, length=8),
        # Four times the paper's vocabulary: below it, any stack with a mixer knows the map by heart and none differ.
        "memorization": Memorization(vocabulary=1024, length=8),
    },
    # One head of 32: induction forms sooner than with two of 16 or four of 8, and costs less.
    sizes=BlockSizes(width=32, attention_head_dim=32, mamba_state=16),
    train_examples=800,
    validation_examples=320,
    test_examples=320,
    epochs=3,
    batch_size=16,
    learning_rate=3e-3,
    # So few steps cannot grow embeddings of 0.02 past what the first layers add to them.
    embedding_std=1.0,
    # Induction forms within a few dozen steps: when it does, not only whether, tells stacks apart.
    scored_epochs=3,
)

PROFILES: Mapping[str, MadProfile] = {profile.name: profile for profile in (PAPER, CPU)}
