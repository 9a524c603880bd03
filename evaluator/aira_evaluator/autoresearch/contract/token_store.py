"""Tokenized documents on disk: one flat uint16 array a shard, and where each document begins.

    <folder>/<shard>.tokens.npy    all documents, one behind the other, without beginning-of-document tokens
    <folder>/<shard>.offsets.npy   int64, one entry a document and one more: document i is tokens[o[i]:o[i+1]]

Both are read by memory map, so a reader's memory does not grow with the corpus.
"""

from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from pathlib import Path

import numpy as np
import numpy.typing as npt

from aira_evaluator.text.tokenizer import Tokens


def write_shard(folder: Path, name: str, documents: Sequence[Tokens]) -> None:
    """Write the documents of one shard as two arrays, tokens end to end and where each document begins."""
    folder.mkdir(parents=True, exist_ok=True)
    offsets = np.zeros(len(documents) + 1, dtype=np.int64)
    np.cumsum([len(tokens) for tokens in documents], out=offsets[1:])
    flat = np.concatenate(documents) if documents else np.zeros(0, dtype=np.uint16)
    np.save(folder / f"{name}.tokens.npy", flat)
    np.save(folder / f"{name}.offsets.npy", offsets)


@dataclass(frozen=True)
class TokenShard:
    """The documents of one shard, mapped from its two files and never read whole."""

    tokens: Tokens
    offsets: npt.NDArray[np.int64]

    @classmethod
    def open(cls, folder: Path, name: str) -> "TokenShard":
        """Map the two arrays of a shard.

        Raises:
            OSError: a file is missing.
            ValueError: a file is not such an array.
        """
        tokens = np.load(folder / f"{name}.tokens.npy", mmap_mode="r")
        offsets = np.load(folder / f"{name}.offsets.npy", mmap_mode="r")
        if tokens.dtype != np.uint16 or offsets.dtype != np.int64 or offsets[-1] != len(tokens):
            raise ValueError(f"{folder / name}: tokens and offsets do not belong together")
        return cls(tokens.view(np.ndarray), offsets.view(np.ndarray))  # slices of plain arrays are cheaper

    def __len__(self) -> int:
        return len(self.offsets) - 1

    def documents(self) -> Iterator[Tokens]:
        """Yield every document of the shard as token ids, in the order they were written."""
        for index in range(len(self)):
            yield self.tokens[self.offsets[index] : self.offsets[index + 1]]


def open_split(folder: Path) -> list[TokenShard]:
    """Return all shards of a split folder, by name.

    Raises:
        FileNotFoundError: there are none.
    """
    names = sorted(path.name.removesuffix(".tokens.npy") for path in folder.glob("*.tokens.npy"))
    if not names:
        raise FileNotFoundError(f"no token shards in {folder}")
    return [TokenShard.open(folder, name) for name in names]
