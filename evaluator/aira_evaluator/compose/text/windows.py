"""A split of text as it lies on disk: one stream of token ids, cut into windows, and a manifest.

    tokens.bin       uint16, little-endian; each document is its mark and then its tokens
    manifest.json    what the stream is; written last
    tokenizer.json   beside the public train split

Window i of length L predicts tokens i L + 1 .. i L + L, each from those before it in the window: every token but the
first of the stream is predicted once. Files are mapped, not read. Not covered: drawing splits (`prepare.splitting`).
"""

import hashlib
from dataclasses import dataclass, field
from pathlib import Path
from typing import BinaryIO

import numpy as np
from numpy.typing import NDArray

from aira_evaluator.compose.text.profiles import PROFILES, TextProfile
from aira_evaluator.split_manifest import DataError, read_manifest, write_manifest

TOKENS = "tokens.bin"
_SCHEMA = 1
_DTYPE = np.dtype("<u2")
Stream = NDArray[np.uint16]


@dataclass(frozen=True)
class TextManifest:
    """What `manifest.json` says of a split of text."""

    corpus: str
    profile: str
    split: str
    primitives: tuple[str, ...]
    """Symbols the task admits."""
    source: str
    """`public`, or `synthetic` for a generated stand-in."""
    vocabulary: int
    length: int
    windows: int
    tokens: int
    tokens_sha256: str
    tokenizer_sha256: str
    documents: int
    counts: dict[str, int] = field(default_factory=dict)
    """What was left out while the split was drawn."""
    seed_set: str | None = None
    """`search` or `final` for hidden splits, None for public ones."""
    training_seed: int | None = None
    """Seed of the judge's training; only beside hidden data."""

    @property
    def belongs_to(self) -> tuple[str, ...]:
        """Equal for splits made together: corpus, profile, source, tokenizer."""
        return self.corpus, self.profile, self.source, self.tokenizer_sha256


@dataclass(frozen=True)
class Windows:
    """The windows of a split, or some of them in a row."""

    stream: Stream
    length: int
    first: int
    count: int

    def __len__(self) -> int:
        return self.count

    def part(self, start: int, stop: int) -> "Windows":
        """Return the windows from `start` to the one before `stop`.

        Raises:
            ValueError: there are no such windows.
        """
        if not 0 <= start <= stop <= self.count:
            raise ValueError(f"no windows {start} to {stop} among {self.count}")
        return Windows(self.stream, self.length, self.first + start, stop - start)

    def tokens(self) -> Stream:
        """Return all tokens of these windows, one more than they predict."""
        return self.stream[self.first * self.length : (self.first + self.count) * self.length + 1]


class StreamWriter:
    """Appends documents to a stream until it is full, hashing what it writes."""

    def __init__(self, file: BinaryIO, limit: int) -> None:
        """Write at most `limit` tokens."""
        self._file, self._limit = file, limit
        self._digest = hashlib.sha256()
        self.tokens = self.documents = 0

    @property
    def full(self) -> bool:
        """Whether the stream holds as many tokens as were asked for."""
        return self.tokens >= self._limit

    @property
    def sha256(self) -> str:
        """SHA-256 of the bytes written so far, hexadecimal."""
        return self._digest.hexdigest()

    def append(self, document: Stream) -> None:
        """Add a document; what is beyond the limit is left out."""
        part = document[: self._limit - self.tokens].astype(_DTYPE).tobytes()
        self._file.write(part)
        self._digest.update(part)
        self.tokens += len(part) // _DTYPE.itemsize
        self.documents += bool(part)


def write_text_manifest(folder: Path, manifest: TextManifest) -> None:
    """Write `manifest.json`: from now on the split is whole."""
    write_manifest(folder, manifest, _SCHEMA)


def is_text_split(folder: Path) -> bool:
    """Whether a folder holds a split of text rather than of the MAD tasks."""
    return (folder / TOKENS).exists()


def read_text_split(folder: Path) -> tuple[Windows, TextManifest]:
    """Map a split and check its size against its manifest.

    Raises:
        DataError: naming the file and what is wrong with it.
    """
    manifest = read_manifest(folder, TextManifest, _SCHEMA)
    stream = _map(folder / TOKENS, manifest)
    return Windows(stream, manifest.length, 0, manifest.windows), manifest


def _map(path: Path, manifest: TextManifest) -> Stream:
    try:
        size = path.stat().st_size
    except OSError as error:
        raise DataError(f"{path}: {error.strerror or error}") from None
    if size != manifest.tokens * _DTYPE.itemsize or manifest.windows * manifest.length >= manifest.tokens:
        raise DataError(f"{path}: {size} bytes, expected {manifest.tokens} tokens of {_DTYPE.itemsize} bytes")
    return read_stream(path)


def read_stream(path: Path) -> Stream:
    """Map a stream without looking at its manifest."""
    stream: Stream = np.memmap(path, _DTYPE, mode="r")
    return stream


def text_profile(manifest: TextManifest) -> TextProfile:
    """Return the profile a split was made for.

    Raises:
        DataError: there is none of that name, or its sizes have changed since.
    """
    profile = PROFILES.get(manifest.corpus, {}).get(manifest.profile)
    if profile is None:
        raise DataError(f"no profile {manifest.profile!r} of a corpus {manifest.corpus!r} is known")
    if (profile.vocabulary, profile.length) != (manifest.vocabulary, manifest.length):
        raise DataError(
            f"the data has {manifest.vocabulary} tokens and windows of {manifest.length}, "
            f"expected {profile.vocabulary} and {profile.length}; prepare it again"
        )
    return profile
