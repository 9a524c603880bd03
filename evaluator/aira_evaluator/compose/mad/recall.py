"""MAD's three recall tasks: associative recall from pairs shown earlier in the same sequence.

All are multi-query: every value whose key was shown before is scored, and the last pair always is such a probe.
Token ids: keys first, then values, then noise or padding. Shapes: N examples, S pair slots, K keys.
"""

from collections.abc import Iterator
from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

from aira_evaluator.compose.mad.synthetic_task import Backbone
from aira_evaluator.compose.training.examples import Examples, next_token_examples

Motif = tuple[int, ...]
"""A key or a value of fuzzy recall: its token ids in order."""


@dataclass(frozen=True)
class InContextRecall:
    """In-context recall, plain or with noise.

    A sequence is `length / 2` pairs of key and value; a key keeps its value within the sequence. The last pair
    repeats a key chosen uniformly among those shown. With noise, each slot before the last becomes two noise
    tokens with probability `noise_fraction`, except one slot drawn from all of them, the last included; a
    sequence left without any pair gets one in its first slot.
    """

    vocabulary: int = 16
    """All token ids, noise included."""
    length: int = 128
    """Tokens before the shift by one; even."""
    noise_vocabulary: int = 0
    noise_fraction: float = 0.0
    masked_loss: bool = False
    """Whether the loss counts the recalled values alone, as the score does, instead of every next token."""
    backbone: Backbone = "language_model"

    def __post_init__(self) -> None:
        if self.length % 2 or self.length < 4:
            raise ValueError(f"length must be even and at least 4, got {self.length}")
        if self.vocabulary - self.noise_vocabulary < 2 or self.noise_vocabulary < 0:
            raise ValueError(f"no keys and values left: {self.vocabulary} ids, {self.noise_vocabulary} of noise")
        if self.noise_fraction > 0 and self.noise_vocabulary == 0:
            raise ValueError("noise_fraction is positive but there are no noise ids")

    @property
    def model_length(self) -> int:
        """Positions of the sequences the model sees."""
        return self.length - 1

    def generate(self, examples: int, rng: np.random.Generator, *, probing: bool) -> Examples:
        """Draw examples; held-out and training sequences have one distribution here."""
        del probing
        informative = self.vocabulary - self.noise_vocabulary
        keys, slots = informative // 2, self.length // 2
        value_of_NK = rng.integers(keys, informative, (examples, keys))
        key_NS = rng.integers(0, keys, (examples, slots))
        noisy_NS = self._noise_slots(examples, slots, rng)
        shown_NSK = (key_NS[..., None] == np.arange(keys)) & ~noisy_NS[..., None]
        shown_NSK[:, -1] = False
        # Uniform among the keys shown: the largest of independent uniform scores, -1 for keys not shown.
        scores_NK = np.where(shown_NSK.any(axis=1), rng.random((examples, keys)), -1.0)
        key_NS[:, -1] = scores_NK.argmax(axis=1)
        # A value can be recalled where its key stood in an earlier slot: a running "or" over slots, read one slot back.
        seen_NSK = np.logical_or.accumulate(shown_NSK, axis=1)
        recalled_NS = np.zeros((examples, slots), dtype=np.bool_)
        recalled_NS[:, 1:] = np.take_along_axis(seen_NSK[:, :-1], key_NS[:, 1:, None], axis=2)[..., 0]
        recalled_NS &= ~noisy_NS

        pairs = np.stack((key_NS, np.take_along_axis(value_of_NK, key_NS, axis=1)), axis=-1)
        if self.noise_vocabulary:
            noise = rng.integers(informative, self.vocabulary, pairs.shape)
            pairs = np.where(noisy_NS[..., None], noise, pairs)
        scored = np.stack((np.zeros_like(recalled_NS), recalled_NS), axis=-1)
        return next_token_examples(
            pairs.reshape(examples, -1), scored.reshape(examples, -1), masked_loss=self.masked_loss
        )

    def _noise_slots(self, examples: int, slots: int, rng: np.random.Generator) -> NDArray[np.bool_]:
        if not self.noise_vocabulary:
            return np.zeros((examples, slots), dtype=np.bool_)
        noisy_NS = rng.random((examples, slots)) < self.noise_fraction
        noisy_NS[np.arange(examples), rng.integers(0, slots, examples)] = False
        noisy_NS[:, -1] = False
        noisy_NS[noisy_NS[:, :-1].all(axis=1), 0] = False
        return noisy_NS


@dataclass(frozen=True)
class FuzzyInContextRecall:
    """In-context recall with keys and values of 1 to 3 tokens, ordered and without repetition inside one.

    One probe pair is inserted once, at the first pair boundary past a random index, and repeated at the end. Held-out
    sequences use keys of the largest size only. Sequences are padded on the left; the padding is a target of a loss on
    every next token.
    """

    vocabulary: int = 16
    """All token ids; the last one is padding, the others are halved into keys and values."""
    length: int = 128
    """Positions the model sees."""
    longest_key: int = 3
    longest_value: int = 3
    masked_loss: bool = False
    """As in `InContextRecall`."""
    backbone: Backbone = "language_model"

    def __post_init__(self) -> None:
        keys, values = self._ids()
        if len(keys) < self.longest_key or len(values) < self.longest_value:
            raise ValueError(f"{self.vocabulary} ids are too few for motifs of {self.longest_key} tokens")
        if self.length < 3 * (self.longest_key + self.longest_value) + 1:
            raise ValueError(f"length {self.length} cannot hold a probe, its repetition and another pair")

    @property
    def model_length(self) -> int:
        """Positions of the sequences the model sees."""
        return self.length

    def generate(self, examples: int, rng: np.random.Generator, *, probing: bool) -> Examples:
        """Draw examples; with `probing` every key has the largest size."""
        padding = self.vocabulary - 1
        sequence = np.full((examples, self.length + 1), padding, dtype=np.int64)
        scored = np.zeros(sequence.shape, dtype=np.bool_)
        for row in range(examples):
            tokens, marks = self._draw(rng, probing)
            sequence[row, -len(tokens) :] = tokens
            scored[row, -len(tokens) :] = marks
        return next_token_examples(sequence, scored, masked_loss=self.masked_loss)

    def _ids(self) -> tuple[range, range]:
        half = (self.vocabulary - 1) // 2
        return range(half), range(half, self.vocabulary - 1)

    def _draw(self, rng: np.random.Generator, probing: bool) -> tuple[list[int], list[bool]]:
        """One sequence before padding, and which of its tokens are recalled."""
        longest_pair = self.longest_key + self.longest_value
        # One more than the most pairs a sequence can hold; the first is the probe.
        pairs = self._draw_pairs(self.length // 2 + 2, rng, probing)
        probe = next(pairs)
        probe_size = len(probe[0]) + len(probe[1])
        limit = self.length - probe_size - longest_pair
        insert_past = int(rng.integers(0, limit - longest_pair))
        value_of = dict([probe])
        seen: set[Motif] = set()
        tokens: list[int] = []
        marks: list[bool] = []

        def show(key: Motif) -> None:
            value = value_of[key]
            tokens.extend(key + value)
            marks.extend([False] * len(key) + [key in seen] * len(value))
            seen.add(key)

        probe_inserted = False
        while len(tokens) < limit:
            if len(tokens) > insert_past and not probe_inserted:
                show(probe[0])
                probe_inserted = True
            else:
                key, fresh_value = next(pairs)
                value_of.setdefault(key, fresh_value)
                show(key)
        show(probe[0])
        return tokens, marks

    def _draw_pairs(self, count: int, rng: np.random.Generator, probing: bool) -> Iterator[tuple[Motif, Motif]]:
        keys, values = self._ids()
        shortest_key = self.longest_key if probing else 1
        return zip(
            _draw_motifs(keys, shortest_key, self.longest_key, count, rng),
            _draw_motifs(values, 1, self.longest_value, count, rng),
            strict=True,
        )


def _draw_motifs(ids: range, shortest: int, longest: int, count: int, rng: np.random.Generator) -> list[Motif]:
    """Draw ordered tuples of distinct ids, their size uniform and then the tuple uniform of that size."""
    # Sorting uniform scores permutes the ids uniformly; a prefix of a permutation is a draw without repetition.
    order = np.argsort(rng.random((count, len(ids))), axis=1)[:, :longest] + ids.start
    sizes = rng.integers(shortest, longest + 1, count).tolist()
    return [tuple(row[:size]) for row, size in zip(order.tolist(), sizes, strict=True)]
