"""From documents to splits that share no text: by hashes of content, exact and near duplicates left out and counted.

A document's digest, over its words without case or white space, decides whether it is held out: no secret, so that
the public train split can be made without any. Which hidden split a held-out document serves is decided by a keyed
hash whose key only `evaluate_prepare.py` has. Equal digests count once. A held-out document half of whose runs of 13
tokens stand in the train split, or in a hidden split before it, is dropped.

Not covered: paraphrases, and near duplicates inside one split.
"""

from collections.abc import Callable, Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass, field, replace
from itertools import islice
from pathlib import Path

import numpy as np

from aira_evaluator.compose.text.profiles import TextProfile
from aira_evaluator.compose.text.windows import TOKENS, Stream, StreamWriter, read_stream
from aira_evaluator.split_manifest import DataError
from aira_evaluator.task_scripts.hidden import seed_set_of
from aira_evaluator.text.contained import keep_fresh, split_documents
from aira_evaluator.text.digests import digest, is_held_out, keyed_digest
from aira_evaluator.text.tokenizer import GPT2_SPLIT, BytePairTokenizer

Documents = Callable[[], Iterator[str]]
"""All documents of a corpus, from the first, at every call."""

Part = tuple[str, str]
"""A hidden split: seed set and name."""

SPARE = 1.5
"""Held-out tokens collected for each that is needed, because near duplicates are dropped afterwards."""
_ENCODED_AT_ONCE = 256


@dataclass
class Counts:
    """How many documents were repeated, and how many held out, while a corpus was read."""

    exact_duplicates: int = 0
    held_out: int = 0


@dataclass(frozen=True)
class WrittenStream:
    """How many tokens and documents of a split were written, and the hash of the stream."""

    tokens: int
    documents: int
    sha256: str
    near_duplicates: int = 0


@dataclass(frozen=True)
class _Document:
    digest: bytes
    text: str
    held_out: bool


@dataclass
class HeldOut:
    """The documents collected for one hidden split so far, as token ids."""

    documents: list[Stream] = field(default_factory=list)
    tokens: int = 0

    def add(self, document: Stream) -> None:
        """Keep the encoded document for this split."""
        self.documents.append(document)
        self.tokens += len(document)


def hidden_part(document_digest: bytes, key: bytes, parts: Sequence[Part], *, sets_are_public: bool) -> Part:
    """Return which of the hidden splits a held-out document serves; the key is not public.

    Args:
        document_digest: of the document.
        key: decides.
        parts: the hidden splits.
        sets_are_public: the key decides within the seed set that the document serves under every key; else among all.
    """
    keyed = keyed_digest(document_digest, key)
    if sets_are_public:
        own = seed_set_of(document_digest, list(dict.fromkeys(seed_set for seed_set, _ in parts)))
        parts = [part for part in parts if part[0] == own]
    return parts[int.from_bytes(keyed, "big") % len(parts)]


def distinct(texts: Iterable[str], share: float, counts: Counts) -> Iterator[_Document]:
    """Documents with their digest, each once, empty ones left out."""
    seen: set[bytes] = set()
    for text in texts:
        if not text.strip():
            continue
        found = digest(text)
        if found in seen:
            counts.exact_duplicates += 1
            continue
        seen.add(found)
        held_out = is_held_out(found, share)
        counts.held_out += held_out
        yield _Document(found, text, held_out)


def train_tokenizer(documents: Documents, profile: TextProfile) -> BytePairTokenizer:
    """Return a byte-pair tokenizer of the public train documents alone.

    Raises:
        DataError: they do not have enough different pairs for the vocabulary.
    """
    texts = (
        document.text for document in distinct(documents(), profile.held_out_share, Counts()) if not document.held_out
    )
    tokenizer = BytePairTokenizer.train(islice(texts, profile.tokenizer_documents), profile.vocabulary, GPT2_SPLIT)
    if tokenizer.get_vocab_size() != profile.vocabulary:
        raise DataError(f"the text yields {tokenizer.get_vocab_size()} tokens, expected {profile.vocabulary}")
    return tokenizer


def write_public(
    documents: Documents, tokenizer: BytePairTokenizer, profile: TextProfile, folders: Mapping[str, Path]
) -> tuple[dict[str, WrittenStream], Counts]:
    """Write the streams of the public splits: the first train documents, until each has enough windows, or they end.

    Args:
        documents: the corpus.
        tokenizer: trained on it.
        profile: sizes.
        folders: of `train` and, which takes the documents after it, of `validation`; they exist.

    Returns:
        What was written, by split, and what was counted until the train split was whole.
    """
    counts = Counts()
    texts = (
        document.text for document in distinct(documents(), profile.held_out_share, counts) if not document.held_out
    )
    encoded = _encoded(texts, tokenizer)
    train = _write_first(encoded, folders["train"], profile.train_windows * profile.length + 1)
    counted = replace(counts)
    validation = _write_first(encoded, folders["validation"], profile.hidden_windows * profile.length + 1)
    return {"train": train, "validation": validation}, counted


def _write_first(documents: Iterator[Stream], folder: Path, limit: int) -> WrittenStream:
    """Write as many documents as `limit` tokens take."""
    with (folder / TOKENS).open("wb") as file:
        writer = StreamWriter(file, limit)
        while not writer.full and (document := next(documents, None)) is not None:
            writer.append(document)
    return WrittenStream(writer.tokens, writer.documents, writer.sha256)


def write_hidden(
    documents: Documents,
    tokenizer: BytePairTokenizer,
    profile: TextProfile,
    train: Path,
    folders: Mapping[Part, Path],
    key: bytes,
    *,
    sets_are_public: bool = False,
) -> dict[Part, WrittenStream]:
    """Write the streams of all hidden splits.

    Args:
        documents: the corpus.
        tokenizer: that of the train split.
        profile: sizes.
        train: the train split's stream, from which hidden documents must differ.
        folders: where each hidden split goes; they exist.
        key: decides which document serves which split.
        sets_are_public: it decides within seed sets alone (`hidden_part`).

    Raises:
        DataError: too few documents are left for a split.
    """
    wanted = profile.hidden_windows * profile.length + 1

    def part_of(document_digest: bytes) -> Part:
        return hidden_part(document_digest, key, list(folders), sets_are_public=sets_are_public)

    held_out = _collect(documents, tokenizer, profile, list(folders), part_of, SPARE * wanted)
    kept = keep_fresh(
        {part: found.documents for part, found in held_out.items()},
        split_documents(read_stream(train), tokenizer.get_bos_token_id()),
    )
    return {
        part: _write(kept[part], folders[part], wanted, len(found.documents) - len(kept[part]), part, profile)
        for part, found in held_out.items()
    }


def _collect(
    documents: Documents,
    tokenizer: BytePairTokenizer,
    profile: TextProfile,
    parts: list[Part],
    part_of: Callable[[bytes], Part],
    enough: float,
) -> dict[Part, HeldOut]:
    """Held-out documents of every part, until each has `enough` tokens or the corpus ends."""
    found = {part: HeldOut() for part in parts}
    held = (document for document in distinct(documents(), profile.held_out_share, Counts()) if document.held_out)
    while chunk := list(islice(held, _ENCODED_AT_ONCE)):
        encoded = _encoded((document.text for document in chunk), tokenizer)
        for document, tokens in zip(chunk, encoded, strict=True):
            found[part_of(document.digest)].add(tokens[1:])
        if all(part.tokens >= enough for part in found.values()):
            break
    return found


def _write(
    kept: list[Stream], folder: Path, wanted: int, dropped: int, part: Part, profile: TextProfile
) -> WrittenStream:
    mark = np.array([profile.vocabulary - 1], dtype=np.uint16)
    with (folder / TOKENS).open("wb") as file:
        writer = StreamWriter(file, wanted)
        for document in kept:
            writer.append(np.concatenate([mark, document]))
            if writer.full:
                break
    if not writer.full:
        have = max(writer.tokens - 1, 0) // profile.length
        raise DataError(
            f"the text gives {have} windows for {' '.join(part)}, expected {profile.hidden_windows} "
            f"({dropped} of {dropped + len(kept)} documents were near duplicates)"
        )
    return WrittenStream(writer.tokens, writer.documents, writer.sha256, dropped)


def _encoded(texts: Iterable[str], tokenizer: BytePairTokenizer) -> Iterator[Stream]:
    """Each text's mark and tokens."""
    mark = np.array([tokenizer.get_bos_token_id()], dtype=np.uint16)
    remaining = iter(texts)
    while chunk := list(islice(remaining, _ENCODED_AT_ONCE)):
        for tokens in tokenizer.encode_documents(chunk):
            yield np.concatenate([mark, tokens])
