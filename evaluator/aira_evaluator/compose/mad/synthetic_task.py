"""What a synthetic token task is: sequences in, labels out, drawn from a generator that the caller passes.

The six tasks are those of MAD (Poli et al. 2024, "Mechanistic Design and Scaling of Hybrid Architectures"); they live
in `recall` and `copying`. Not covered: difficulty sweeps; each task object is one setting.
"""

from typing import Literal, Protocol

import numpy as np

from aira_evaluator.compose.training.examples import Examples

Backbone = Literal["language_model", "autoencoder"]


class SyntheticTask(Protocol):
    """One task at one setting."""

    @property
    def vocabulary(self) -> int:
        """Number of token ids, special ones included."""
        ...

    @property
    def model_length(self) -> int:
        """Positions of the sequences the model sees."""
        ...

    @property
    def backbone(self) -> Backbone:
        """Which of the two models is trained on it."""
        ...

    def generate(self, examples: int, rng: np.random.Generator, *, probing: bool) -> Examples:
        """Draw examples. `probing` asks for the held-out distribution where a task has one of its own."""
        ...
