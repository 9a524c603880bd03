"""Writes folders of tokens: files as documents come, whole or absent, and the manifest last.

What is in a folder, and who reads it: `shards`. Not covered: making ids of text (`corpus`, `toy_tokens`).
"""

import hashlib
import json
import os
from collections.abc import Iterable, Iterator, Sequence
from dataclasses import asdict
from pathlib import Path
from types import TracebackType
from typing import Any, Self

import numpy as np
import numpy.typing as npt

from aira_evaluator.pretrain.shards import SCHEMA, Description, Ids, TokenFile, TokenManifest, id_dtype
from aira_evaluator.split_manifest import MANIFEST, DataError

SHARD_TOKENS = 100_000_000
_HELD_TOKENS = 1 << 20


class TokenWriter:
    """Writes documents to one file, which has its name once it is whole; as a context it leaves nothing half done.

    Args:
        path: of the file.
        about: of the tokens; each document gets their separator before it.
    """

    def __init__(self, path: Path, about: Description) -> None:
        self.tokens = 0
        self.documents = 0
        self.counts = np.zeros(about.vocabulary, dtype=np.int64)
        """How often each id was written to disk; all of them once `close` was called."""
        self._path, self._about, self._dtype = path, about, id_dtype(about.vocabulary)
        self._part = path.with_name(f".{path.name}.part")
        self._file = self._part.open("wb")
        self._digest = hashlib.sha256()
        self._held: list[Ids] = []
        self._held_tokens = 0

    def __enter__(self) -> Self:
        return self

    def __exit__(self, kind: type[BaseException] | None, error: BaseException | None, at: TracebackType | None) -> None:
        self._file.close()
        self._part.unlink(missing_ok=True)

    def append(self, document: npt.NDArray[Any]) -> None:
        """Write the separator and a document's ids.

        Raises:
            DataError: an id is not below the vocabulary.
        """
        ids = np.concatenate(([self._about.separator], document)).astype(np.int64)
        if ids.min() < 0 or ids.max() >= self._about.vocabulary:
            raise DataError(f"an id of {ids.max()}, expected ids below {self._about.vocabulary}")
        self._held.append(ids)
        self._held_tokens += len(ids)
        self.tokens += len(ids)
        self.documents += 1
        if self._held_tokens >= _HELD_TOKENS:
            self._write()

    def close(self) -> TokenFile:
        """Finish the file, and give it its name."""
        self._write()
        self._file.flush()
        os.fsync(self._file.fileno())
        self._file.close()
        self._part.replace(self._path)
        return TokenFile(self._path.name, self.tokens, self._digest.hexdigest())

    def _write(self) -> None:
        if not self._held:
            return
        ids = np.concatenate(self._held)
        self.counts += np.bincount(ids, minlength=self._about.vocabulary)
        data = ids.astype(self._dtype).tobytes()
        self._digest.update(data)
        self._file.write(data)
        self._held, self._held_tokens = [], 0


def write_tokens(
    folder: Path,
    about: Description,
    train: Iterable[npt.NDArray[Any]],
    validation: Iterable[npt.NDArray[Any]],
    *,
    shard_tokens: int = SHARD_TOKENS,
) -> TokenManifest:
    """Write documents' ids as files, and the manifest last.

    Raises:
        DataError: an id is not below the vocabulary.
    """
    folder.mkdir(parents=True, exist_ok=True)
    (folder / MANIFEST).unlink(missing_ok=True)
    counts, unused = (np.zeros(about.vocabulary, dtype=np.int64) for _ in range(2))
    written = tuple(_write_split(folder, "train", about, train, shard_tokens, counts))
    held_out = tuple(_write_split(folder, "validation", about, validation, shard_tokens, unused))
    return write_manifest(folder, about, written, held_out, counts)


def write_manifest(
    folder: Path, about: Description, train: Sequence[TokenFile], validation: Sequence[TokenFile], counts: Ids
) -> TokenManifest:
    """Write the manifest: from now on the folder is whole.

    Args:
        folder: has the files.
        about: of their tokens.
        train: files of training tokens.
        validation: files of held-out tokens.
        counts: of each id in the training tokens, shape (vocabulary,).
    """
    shares = counts[counts > 0] / max(1, counts.sum())
    entropy = float(-(shares * np.log(shares)).sum())
    manifest = TokenManifest(**asdict(about), unigram_entropy=entropy, train=tuple(train), validation=tuple(validation))
    part = folder / f".{MANIFEST}.part"
    part.write_text(json.dumps({"schema": SCHEMA, **asdict(manifest)}, indent=2) + "\n", encoding="ascii")
    part.replace(folder / MANIFEST)
    return manifest


def _write_split(
    folder: Path, split: str, about: Description, documents: Iterable[npt.NDArray[Any]], most: int, tally: Ids
) -> Iterator[TokenFile]:
    remaining, number = iter(documents), 0
    while (document := next(remaining, None)) is not None:
        with TokenWriter(folder / f"{split}-{number:05}.bin", about) as writer:
            writer.append(document)
            while writer.tokens < most and (document := next(remaining, None)) is not None:
                writer.append(document)
            yield writer.close()
        tally += writer.counts
        number += 1
