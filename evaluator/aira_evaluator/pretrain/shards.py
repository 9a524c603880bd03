"""Tokens on disk: files of plain numbers with a manifest, and which of them a step reads.

    manifest.json            `TokenManifest`: written last, so that a folder with one is whole
    train-00000.bin, ...     token ids, little-endian, 2 bytes each where the vocabulary allows, else 4; no header
    validation-00000.bin     held-out documents

A document begins with the `separator`; documents follow each other without gaps. A sequence of L inputs is L + 1 ids of
one file; the next begins L ids later. What is left of a file at its end is not read. In each epoch every sequence comes
once, in an order that seed and epoch alone decide: step s reads the same sequences however many ranks there are, and a
resumed training goes on with the next ones. Not covered: making tokens of text, masks at borders of documents.
"""

import hashlib
import json
from collections.abc import Iterable, Sequence
from dataclasses import dataclass, field, fields
from functools import lru_cache
from pathlib import Path
from typing import Any, Literal, TypeVar

import numpy as np
import numpy.typing as npt

from aira_evaluator.split_manifest import MANIFEST, DataError

SCHEMA = 1
SMALL_BYTES = 1 << 30
"""Folders up to this size have their hashes checked at every start; larger ones by `TokenFolder.check_hashes`."""
_READ_BYTES = 1 << 24

Entry = TypeVar("Entry", "TokenFile", "TokenManifest")
Split = Literal["train", "validation"]
Ids = npt.NDArray[np.int64]


@dataclass(frozen=True)
class TokenFile:
    """One file of tokens."""

    file: str
    tokens: int
    sha256: str


@dataclass(frozen=True)
class Description:
    """What a writer of tokens knows of them beforehand."""

    name: str
    source: str
    """Where the text comes from, for people."""
    synthetic: bool
    """Whether it stands in for a public set: losses on it say nothing about that set."""
    tokenizer: str
    tokenizer_sha256: str
    vocabulary: int
    """All ids are below it."""
    separator: int
    own_tokenizer: bool = field(default=False, kw_only=True)
    """Whether it was trained for these tokens: losses on them compare with no others."""


@dataclass(frozen=True)
class TokenManifest(Description):
    """What a folder of tokens holds."""

    unigram_entropy: float
    """Nats a token of the training ids' frequencies: the loss of a model that knows nothing else."""
    train: tuple[TokenFile, ...]
    validation: tuple[TokenFile, ...]


def id_dtype(vocabulary: int) -> np.dtype[Any]:
    """Return the type that ids of a vocabulary have on disk."""
    return np.dtype("<u2" if vocabulary <= 1 << 16 else "<u4")


class TokenFolder:
    """A folder of tokens, mapped into memory.

    Raises:
        DataError: the manifest cannot be read, or a file is absent or has another size, in a small folder another hash.
    """

    def __init__(self, folder: Path) -> None:
        self.folder = folder
        try:
            text = (folder / MANIFEST).read_bytes()
        except OSError as error:
            raise DataError(f"{folder / MANIFEST}: {error.strerror or error}") from None
        self.sha256 = hashlib.sha256(text).hexdigest()
        self.manifest = _read_manifest(text, folder / MANIFEST)
        self._dtype = id_dtype(self.manifest.vocabulary)
        shards = (*self.manifest.train, *self.manifest.validation)
        for shard in shards:
            path, expected = folder / shard.file, shard.tokens * self._dtype.itemsize
            found = path.stat().st_size if path.is_file() else None
            if found != expected:
                raise DataError(f"{path}: {'absent' if found is None else f'{found} bytes'}, expected {expected} bytes")
        if sum(shard.tokens for shard in shards) * self._dtype.itemsize <= SMALL_BYTES:
            self.check_hashes()

    def check_hashes(self) -> None:
        """Read every file once.

        Raises:
            DataError: a file is not the one that the manifest names.
        """
        for shard in (*self.manifest.train, *self.manifest.validation):
            if _hash(self.folder / shard.file) != shard.sha256:
                raise DataError(
                    f"{self.folder / shard.file}: not the file that {MANIFEST} names; make the tokens again"
                )

    def sequences(self, split: Split, length: int) -> "TokenSequences":
        """Return the sequences of one split, each of `length` inputs.

        Raises:
            DataError: there is none of that length.
        """
        shards = self.manifest.train if split == "train" else self.manifest.validation
        maps = [
            np.memmap(self.folder / shard.file, self._dtype, "r", shape=(shard.tokens,))
            for shard in shards
            if shard.tokens
        ]
        found = TokenSequences(maps, length, self.manifest.vocabulary)
        if not len(found):
            raise DataError(f"{self.folder}: no {split} sequence of {length} tokens")
        return found


class TokenSequences:
    """TokenSequences of equal length, numbered through all files."""

    def __init__(self, files: Sequence[npt.NDArray[Any]], length: int, vocabulary: int) -> None:
        self._files, self._length, self._vocabulary = files, length, vocabulary
        self._ends = np.cumsum([(len(file) - 1) // length for file in files])

    def __len__(self) -> int:
        return int(self._ends[-1]) if len(self._ends) else 0

    def read(self, numbers: Iterable[int]) -> Ids:
        """Return sequences by their numbers, shape (how many, length + 1).

        Raises:
            DataError: an id is not below the vocabulary.
        """
        rows = []
        for number in numbers:
            file = int(np.searchsorted(self._ends, number, side="right"))
            begin = (number - (int(self._ends[file - 1]) if file else 0)) * self._length
            rows.append(np.asarray(self._files[file][begin : begin + self._length + 1], dtype=np.int64))
        ids = np.stack(rows)
        if ids.max() >= self._vocabulary:
            raise DataError(f"an id of {ids.max()} in tokens of a vocabulary of {self._vocabulary}")
        return ids


def step_numbers(sequences: int, step: int, step_sequences: int, seed: int) -> list[int]:
    """Return the numbers of the sequences that a step reads, counted from step 0; epochs follow each other."""
    first = step * step_sequences
    return [
        int(_order(sequences, seed, position // sequences)[position % sequences])
        for position in range(first, first + step_sequences)
    ]


@lru_cache(maxsize=2)
def _order(count: int, seed: int, epoch: int) -> npt.NDArray[np.int64]:
    """A permutation by hashes of the numbers, the same under every release of numpy, as `permutation` need not be."""
    key = int.from_bytes(hashlib.sha256(f"{seed}/{epoch}".encode()).digest()[:8], "little")
    with np.errstate(over="ignore"):
        # The mixing function of SplitMix64 (Steele, Lea and Flood 2014): one to one, so no two hashes are equal.
        mixed = np.arange(count, dtype=np.uint64) * np.uint64(0x9E3779B97F4A7C15) + np.uint64(key)
        mixed = (mixed ^ (mixed >> np.uint64(30))) * np.uint64(0xBF58476D1CE4E5B9)
        mixed = (mixed ^ (mixed >> np.uint64(27))) * np.uint64(0x94D049BB133111EB)
        mixed ^= mixed >> np.uint64(31)
    return np.argsort(mixed, kind="stable")


def _hash(path: Path) -> str:
    digest = hashlib.sha256()
    with path.open("rb") as file:
        while chunk := file.read(_READ_BYTES):
            digest.update(chunk)
    return digest.hexdigest()


def _read_manifest(text: bytes, path: Path) -> TokenManifest:
    try:
        entries: dict[str, Any] = json.loads(text)
        if entries.pop("schema") != SCHEMA:
            raise DataError(f"{path}: expected schema {SCHEMA}; make the tokens again")
        for split in ("train", "validation"):
            entries[split] = tuple(_typed(TokenFile(**shard)) for shard in entries[split])
        manifest = _typed(TokenManifest(**entries))
    except (ValueError, KeyError, TypeError, AttributeError, RecursionError) as error:
        raise DataError(f"{path}: not a manifest of tokens: {error}") from None
    names = [shard.file for shard in (*manifest.train, *manifest.validation)]
    if any(Path(name).name != name for name in names) or len(set(names)) != len(names):
        raise DataError(f"{path}: names of files are plain and differ, found {', '.join(names)}")
    return manifest


def _typed(entry: Entry) -> Entry:
    """Return it as it is, if its values have the types of its fields."""
    for each in fields(entry):
        if isinstance(each.type, type) and type(getattr(entry, each.name)) is not each.type:
            raise TypeError(f"{each.name} is no {each.type.__name__}")
    return entry
