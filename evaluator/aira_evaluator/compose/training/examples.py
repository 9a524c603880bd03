"""Examples of a token task: sequences with a label at every position, one for the loss and one for the score.

Shapes: N examples, L positions. Not covered: drawing them (`mad`).
"""

from dataclasses import dataclass, fields

import numpy as np
from numpy.typing import NDArray

Tokens = NDArray[np.int16]

IGNORED = -100
"""Label of a position that counts neither in the loss nor in the score."""


@dataclass(frozen=True)
class Examples:
    """Sequences with two sets of labels, all three of shape (N, L)."""

    inputs: Tokens
    targets: Tokens
    """Labels of the training loss."""
    scored: Tokens
    """Labels of the score. They differ from `targets` in recall tasks that train on every next token: scored are the
    recalled values alone."""

    def __post_init__(self) -> None:
        for field in fields(self):
            array = getattr(self, field.name)
            if array.ndim != 2 or array.shape != self.inputs.shape or array.dtype != np.int16:
                raise ValueError(f"{field.name}: {array.dtype} {array.shape}, expected int16 {self.inputs.shape}")

    def __len__(self) -> int:
        return len(self.inputs)

    def take(self, indices: NDArray[np.intp]) -> "Examples":
        """Return the examples at `indices`, in that order."""
        return Examples(self.inputs[indices], self.targets[indices], self.scored[indices])


Corpus = dict[str, Examples]
"""One split of all tasks, by task name."""


def next_token_examples(
    sequence_NL: NDArray[np.int64], scored_NL: NDArray[np.bool_], *, masked_loss: bool = False
) -> Examples:
    """Shift sequences of length L into inputs and labels of length L - 1.

    Args:
        sequence_NL: token ids.
        scored_NL: True where the token itself is to be recalled.
        masked_loss: train on those tokens alone, too.
    """
    following = sequence_NL[:, 1:].astype(np.int16)
    scored = np.where(scored_NL[:, 1:], following, np.int16(IGNORED))
    return Examples(
        inputs=sequence_NL[:, :-1].astype(np.int16), targets=scored if masked_loss else following, scored=scored
    )
