"""MAD's three tasks without recall from context: selective copying, compression, memorization.

Labels are the same for training and for the score in all three. Shapes: N examples, L positions, C content
tokens.
"""

from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

from aira_evaluator.compose.mad.synthetic_task import Backbone
from aira_evaluator.compose.training.examples import IGNORED, Examples

MEMORIZATION_MAP_SEED = 12345
"""MAD-lab's seed. The map from key to value is what training examples teach; it is no secret."""


@dataclass(frozen=True)
class SelectiveCopying:
    """Copy content tokens, in order, past blanks scattered among them.

    Layout: content with `length - 2 copies - 1` blanks, the copy token, `copies` blanks on which the content is due.
    Each blank falls before a content token chosen uniformly, so never after the last one.
    """

    vocabulary: int = 16
    """Content ids, then the blank, then the copy token."""
    length: int = 256
    copies: int = 16
    backbone: Backbone = "language_model"

    def __post_init__(self) -> None:
        if self.vocabulary < 3 or self.copies < 1 or self.length < 2 * self.copies + 1:
            raise ValueError(f"{self.length} positions cannot hold {self.copies} tokens twice and a copy token")

    @property
    def model_length(self) -> int:
        """Positions of the sequences the model sees."""
        return self.length

    def generate(self, examples: int, rng: np.random.Generator, *, probing: bool) -> Examples:
        """Draw examples; held-out and training sequences have one distribution."""
        del probing
        blank, copy = self.vocabulary - 2, self.vocabulary - 1
        blanks = self.length - 2 * self.copies - 1
        content_NC = rng.integers(0, blank, (examples, self.copies))
        follower = rng.integers(0, self.copies, (examples, blanks))
        # Content token c stands behind the c tokens and all blanks drawn for tokens up to itself.
        blanks_up_to_NC = (follower[:, None, :] <= np.arange(self.copies)[:, None]).sum(axis=2)
        inputs = np.full((examples, self.length), blank, dtype=np.int64)
        np.put_along_axis(inputs, np.arange(self.copies) + blanks_up_to_NC, content_NC, axis=1)
        inputs[:, -self.copies - 1] = copy
        targets = np.full_like(inputs, IGNORED)
        targets[:, -self.copies :] = content_NC
        return _same_labels(inputs, targets)


@dataclass(frozen=True)
class Compression:
    """Reproduce a random sequence from the encoding of its last position, a compression token."""

    vocabulary: int = 16
    """Content ids, then the compression token."""
    length: int = 32
    backbone: Backbone = "autoencoder"

    @property
    def model_length(self) -> int:
        """Positions of the sequences the model sees."""
        return self.length

    def generate(self, examples: int, rng: np.random.Generator, *, probing: bool) -> Examples:
        """Draw examples; held-out and training sequences have one distribution."""
        del probing
        inputs = rng.integers(0, self.vocabulary - 1, (examples, self.length))
        inputs[:, -1] = self.vocabulary - 1
        return _same_labels(inputs, inputs)


@dataclass(frozen=True)
class Memorization:
    """Recall the value of a key from a map that is the same in every sequence.

    Layout: key, insert token, key, insert token ...; the value is due at each insert token. Ids: keys, then
    values, then the insert token.
    """

    vocabulary: int = 256
    length: int = 32
    backbone: Backbone = "language_model"

    def __post_init__(self) -> None:
        if self.length % 2 or self.vocabulary < 3:
            raise ValueError(f"length must be even and the vocabulary at least 3, got {self}")

    @property
    def model_length(self) -> int:
        """Positions of the sequences the model sees."""
        return self.length

    def value_of_key(self) -> NDArray[np.int64]:
        """Return the map: entry k is the value of key k; 127 pairs at a vocabulary of 256."""
        insert = self.vocabulary - 1
        values = np.arange(insert // 2, insert)
        np.random.default_rng(MEMORIZATION_MAP_SEED).shuffle(values)
        return values[: insert // 2]

    def generate(self, examples: int, rng: np.random.Generator, *, probing: bool) -> Examples:
        """Draw examples; held-out and training sequences have one distribution."""
        del probing
        value_of = self.value_of_key()
        keys = rng.integers(0, len(value_of), (examples, self.length // 2))
        inputs = np.full((examples, self.length), self.vocabulary - 1, dtype=np.int64)
        inputs[:, 0::2] = keys
        targets = np.full_like(inputs, IGNORED)
        targets[:, 1::2] = value_of[keys]
        return _same_labels(inputs, targets)


def _same_labels(inputs: NDArray[np.int64], targets: NDArray[np.int64]) -> Examples:
    labels = targets.astype(np.int16)
    return Examples(inputs.astype(np.int16), labels, labels)
