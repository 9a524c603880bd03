"""The held-out documents of a corpus: drawn by hashes, kept out of training, and compared with it.

A document whose hash by the seed is below a share of all is a candidate, in whatever file it stands, and so is its
exact copy. Not covered: duplicates among held-out documents.
"""

from collections.abc import Iterator, Sequence
from dataclasses import dataclass, field
from pathlib import Path

import numpy as np

from aira_evaluator.pretrain.shards import Description, Ids, TokenFile, id_dtype
from aira_evaluator.split_manifest import DataError
from aira_evaluator.text.contained import AnyTokens, split_documents
from aira_evaluator.text.digests import digest, is_held_out, keyed_digest

CANDIDATES = 2
"""For each held-out document, since near duplicates of training text are dropped."""
MOST_SHARE = 0.1
"""Of all documents that may be candidates."""


@dataclass(frozen=True)
class Draw:
    """Which documents are candidates."""

    seed: int
    share: float

    @classmethod
    def of(cls, wanted: int, documents: int, seed: int) -> "Draw":
        """Return a draw that is expected to give enough candidates.

        Raises:
            DataError: they would be more than a tenth of the documents.
        """
        candidates = CANDIDATES * wanted
        if candidates > MOST_SHARE * documents:
            raise DataError(
                f"{wanted:,} held-out documents are drawn from {candidates:,} candidates, more than a tenth of the "
                f"{documents:,} documents there are; take more files, or --held-out "
                f"{int(MOST_SHARE * documents / CANDIDATES)} and another folder"
            )
        return cls(seed, candidates / documents)

    def hash_of(self, text: str) -> int | None:
        """Return the hash by which a document is drawn; None where it is for training."""
        drawn = keyed_digest(digest(text), str(self.seed).encode())
        return int.from_bytes(drawn, "big") if is_held_out(drawn, self.share) else None


@dataclass
class DrawnDocuments:
    """Candidates found in one file."""

    hashes: list[int] = field(default_factory=list)
    documents: list[AnyTokens] = field(default_factory=list)

    def add(self, drawn: int, ids: AnyTokens) -> None:
        """Keep a document and its hash."""
        self.hashes.append(drawn)
        self.documents.append(ids)

    def save(self, path: Path, counts: Ids) -> None:
        """Write them, with how often each id stands in the training tokens of the file."""
        ids = np.concatenate(self.documents) if self.documents else np.zeros(0, dtype=np.uint32)
        with path.open("wb") as out:
            np.savez_compressed(
                out, counts=counts, hashes=np.array(self.hashes, dtype=np.uint64), ids=ids,
                lengths=np.array([len(each) for each in self.documents], dtype=np.int64),
            )  # fmt: skip


def saved_counts(path: Path) -> Ids:
    """Return the counts that `DrawnDocuments.save` wrote."""
    with np.load(path, allow_pickle=False) as piece:
        found: Ids = piece["counts"]
        return found


def candidates_of(paths: Sequence[Path], vocabulary: int) -> list[AnyTokens]:
    """Return the candidates of all files that `DrawnDocuments.save` wrote, each once, in the order of their hashes.

    They have the type of the training tokens, with which they are compared.
    """
    found: dict[int, AnyTokens] = {}
    for path in paths:
        with np.load(path, allow_pickle=False) as piece:
            ends = np.cumsum(piece["lengths"])
            found |= dict(zip(piece["hashes"].tolist(), np.split(piece["ids"], ends[:-1]), strict=False))
    return [found[each].astype(id_dtype(vocabulary)) for each in sorted(found)]


def training_documents(folder: Path, file: TokenFile, about: Description) -> Iterator[AnyTokens]:
    """Yield the documents of a file of training tokens."""
    if file.tokens:
        stream = np.memmap(folder / file.file, id_dtype(about.vocabulary), "r", shape=(file.tokens,))
        yield from split_documents(stream, about.separator)
