"""Hidden token rows as the judge holds them, checked against the manifest they were made with.

Not covered: making them (`preparation`).
"""

import hashlib
import json
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
import numpy.typing as npt

from aira_evaluator.autoresearch.byte_lengths import ByteTableError, Lengths, read_byte_lengths
from aira_evaluator.manifests import DataError

SPLITS = ("validation", "test")
Rows = npt.NDArray[np.uint16]


@dataclass(frozen=True)
class HiddenRows:
    """All rows of all splits of one seed set, the splits one after the other.

    A row of T + 1 tokens is a window of T and, shifted by one, its T targets. Targets of no bytes (beginnings of
    documents) are predicted and not scored.
    """

    rows: Rows
    """[rows, T + 1]."""
    lengths: Lengths
    """Bytes of each token."""
    splits: Mapping[str, slice]
    """Which rows are whose."""

    @classmethod
    def join(cls, splits: Mapping[str, Rows], lengths: Lengths) -> "HiddenRows":
        """Put splits together.

        Raises:
            ValueError: rows of different lengths, no rows, or tokens that the table does not know.
        """
        shapes = {name: rows.shape for name, rows in splits.items()}
        if len({shape[1:] for shape in shapes.values()}) != 1 or any(len(shape) != 2 for shape in shapes.values()):
            raise ValueError(f"splits have different rows: {shapes}")
        if not all(rows.size and rows.shape[1] > 1 for rows in splits.values()):
            raise ValueError(f"a split has no rows: {shapes}")
        rows = np.concatenate(list(splits.values()))
        if rows.max() >= len(lengths):
            raise ValueError(f"token {rows.max()} is not in the table of {len(lengths)} byte lengths")
        places, start = {}, 0
        for name, part in splits.items():
            places[name] = slice(start, start + len(part))
            start += len(part)
        return cls(rows, lengths, places)

    @property
    def tokens(self) -> int:
        """Length T of a window."""
        return int(self.rows.shape[1]) - 1

    @property
    def vocabulary(self) -> int:
        """How many tokens there are."""
        return len(self.lengths)

    def windows(self, indices: Sequence[int] | npt.NDArray[np.int64]) -> npt.NDArray[np.int32]:
        """Inputs of some rows, int32 [n, T]."""
        return self.rows[indices, :-1].astype(np.int32)

    def targets(self, indices: Sequence[int] | npt.NDArray[np.int64]) -> npt.NDArray[np.int64]:
        """Targets of some rows, int64 [n, T]."""
        return self.rows[indices, 1:].astype(np.int64)

    def is_scored(self) -> npt.NDArray[np.bool_]:
        """Which targets count, [rows, T]."""
        return self.lengths[self.rows[:, 1:]] > 0

    def scored_bytes(self, split: str) -> int:
        """Bytes of a split's scored targets."""
        return int(self.lengths[self.rows[self.splits[split], 1:]].sum())


@dataclass(frozen=True)
class HiddenSet:
    """One seed set: its rows, and what only the judge may know of them."""

    rows: HiddenRows
    seed: int
    public_corpus: bool
    """The text can be read elsewhere in an agent's container."""


def read_hidden(data: Path, seed_set: str, profile: str) -> HiddenSet:
    """Read a seed set that `evaluate_prepare.py` wrote.

    Raises:
        DataError: files are missing, damaged, of another profile, or stand for another number of bytes than their text.
    """
    try:
        manifest = json.loads((data / seed_set / "manifest.json").read_text(encoding="ascii"))
        lengths = read_byte_lengths(data / "tokenizer")
        rows = {split: np.load(data / seed_set / f"{split}.npy", allow_pickle=False) for split in SPLITS}
    except (OSError, ValueError, ByteTableError) as error:
        raise DataError(f"hidden data of seed set {seed_set}: {error}") from error
    if manifest["profile"] != profile:
        raise DataError(f"the data is of profile {manifest['profile']}, AIRA_PROFILE asks for {profile}")
    hidden = _joined(rows, lengths)
    for split in SPLITS:
        _check_split(split, hidden, rows[split], manifest["splits"][split])
    return HiddenSet(hidden, int(manifest["seed"]), bool(manifest["public_corpus"]))


def _joined(rows: Mapping[str, Rows], lengths: Lengths) -> HiddenRows:
    try:
        return HiddenRows.join(rows, lengths)
    except ValueError as error:
        raise DataError(str(error)) from error


def _check_split(split: str, hidden: HiddenRows, rows: Rows, recorded: Mapping[str, Any]) -> None:
    if rows.dtype != np.uint16 or hashlib.sha256(rows.tobytes()).hexdigest() != recorded["sha256"]:
        raise DataError(f"the rows of {split} are not those that were made")
    if hidden.scored_bytes(split) != recorded["bytes"]:
        raise DataError(
            f"the targets of {split} stand for {hidden.scored_bytes(split)} bytes, their text has {recorded['bytes']}"
        )
