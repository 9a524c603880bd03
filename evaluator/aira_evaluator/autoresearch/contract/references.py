"""What our own language models say of every hidden target: the auxiliary variables of the estimator.

Not covered: making them (`reference_models`).
"""

from dataclasses import dataclass

import numpy as np
import numpy.typing as npt

Floats = npt.NDArray[np.float64]
Stored = npt.NDArray[np.float16]


@dataclass(frozen=True)
class References:
    """What every reference model says of every target of one split, with its means."""

    values: Stored
    """[rows, T, references]; may be mapped from a file. Nats, and for the last one entropy."""
    mean: Floats
    """[1 + references]: of 1 and each reference, over the scored targets."""
    targets: int
    """Scored ones of the split."""
    bytes: int
    """Bytes of text that the scored targets stand for."""

    @classmethod
    def of(cls, values: Stored, bytes_of_targets: npt.NDArray[np.int64]) -> "References":
        """Summarize values [rows, T, references]; targets [rows, T] without bytes are not scored."""
        scored = bytes_of_targets > 0
        total, count = np.zeros(values.shape[2]), 0
        for row, counted in zip(values, scored, strict=True):  # a row at a time: the whole may be larger than memory
            total += row[counted].sum(axis=0, dtype=np.float64)
            count += int(counted.sum())
        return cls(values, np.r_[1.0, total / max(count, 1)], count, int(bytes_of_targets.sum()))

    def at(self, row: npt.NDArray[np.int64], position: npt.NDArray[np.int64]) -> Floats:
        """1 and each reference at some targets, [n, 1 + references]; positions as in `Questions`."""
        # Targets are counted from 1, as target p is predicted from the p tokens before it.
        found = self.values[row, position - 1].astype(np.float64)
        return np.column_stack([np.ones(len(found)), found])
