"""Tokenizers as pretraining takes them: a file of Llama 3 or like it, or byte pairs of our own.

    tokenizer.model   lines of a token in base64 and its rank, as Meta publishes Llama 3's; read by `tiktoken`
    tokenizer.json    of the library `tokenizers`, as Hugging Face publishes it

Texts never yield special tokens, whatever they spell. Not covered: SentencePiece files, which Llama 2 has.
"""

import base64
import binascii
import hashlib
from collections.abc import Sequence
from pathlib import Path
from typing import Protocol

import numpy as np
import numpy.typing as npt
import tokenizers

from aira_evaluator.split_manifest import DataError
from aira_evaluator.text.contained import AnyTokens
from aira_evaluator.text.tokenizer import BytePairTokenizer

LLAMA3_SPLIT = (
    r"(?i:'s|'t|'re|'ve|'m|'ll|'d)|[^\r\n\p{L}\p{N}]?\p{L}+|\p{N}{1,3}"
    r"| ?[^\s\p{L}\p{N}]+[\r\n]*|\s*[\r\n]+|\s+(?!\S)|\s+"
)
"""Llama 3's pieces, which its `tokenizer.model` does not hold."""
LLAMA3_SPECIAL_TOKENS = 256
"""Behind the ranks; the first begins a text."""
LLAMA3_SHA256 = "82e9d31979e92ab929cd544440f129d9ecd797b69e327f80f17e1c50d5551b55"
"""Of the `tokenizer.model` of Llama 3 to 3.2."""
SEPARATORS = ("<|begin_of_text|>", "<|endoftext|>", "<s>")
"""Special tokens of which the first that a `tokenizer.json` has begins each document."""
OWN = "byte pairs of our own"


class Encoder(Protocol):
    """Makes token ids of texts."""

    name: str
    """For people."""
    sha256: str
    """Of its file; of our own, of vocabulary and merges."""
    vocabulary: int
    separator: int
    own: bool

    def encode(self, texts: Sequence[str]) -> list[AnyTokens]:
        """Return the ids of each text, without any special token."""


class OwnEncoder:
    """Byte pairs trained on the text itself."""

    name, own = OWN, True

    def __init__(self, folder: Path) -> None:
        """Read what `BytePairTokenizer.save` wrote."""
        self._model = BytePairTokenizer.from_directory(folder)
        self.sha256 = self._model.sha256
        self.vocabulary = self._model.get_vocab_size()
        self.separator = self._model.get_bos_token_id()

    def encode(self, texts: Sequence[str]) -> list[AnyTokens]:
        """Return the ids of each text."""
        return [*self._model.encode_documents(texts)]


class HuggingFaceEncoder:
    """A `tokenizer.json`, read by the library `tokenizers`."""

    own = False

    def __init__(self, path: Path) -> None:
        """Read the file.

        Raises:
            DataError: it is no tokenizer, or has no token that could begin a document.
        """
        self.sha256 = _hash(path)
        try:
            self._model = tokenizers.Tokenizer.from_file(str(path))
        except Exception as error:  # the library raises nothing narrower
            raise DataError(f"{path} is no tokenizer.json: {_line(error)}") from None
        self._model.encode_special_tokens = True
        self._model.no_truncation()
        self._model.no_padding()
        self.vocabulary = self._model.get_vocab_size(with_added_tokens=True)
        found = [number for token in SEPARATORS if (number := self._model.token_to_id(token)) is not None]
        if not found:
            raise DataError(f"{path} has none of {', '.join(SEPARATORS)}, one of which begins each document")
        self.separator = found[0]
        self.name = f"{path.name}, {self.vocabulary:,} ids"

    def encode(self, texts: Sequence[str]) -> list[AnyTokens]:
        """Return the ids of each text."""
        batch = self._model.encode_batch_fast(list(texts), add_special_tokens=False)
        return [np.array(found.ids, dtype=np.uint32) for found in batch]


class RankEncoder:
    """A `tokenizer.model` of ranks, cut into pieces as Llama 3's are."""

    own = False

    def __init__(self, path: Path) -> None:
        """Read the file.

        Raises:
            DataError: it is no file of ranks, or `tiktoken` is not installed.
        """
        try:
            import tiktoken
        except ImportError:
            raise DataError(f"{path.name} is read by tiktoken: pip install 'aira-bench[tokens]'") from None
        ranks, self.sha256 = _ranks(path), _hash(path)
        self._encoding = tiktoken.Encoding(path.name, pat_str=LLAMA3_SPLIT, mergeable_ranks=ranks, special_tokens={})
        self.vocabulary, self.separator = len(ranks) + LLAMA3_SPECIAL_TOKENS, len(ranks)
        whose = "Llama 3's" if self.sha256 == LLAMA3_SHA256 else "not Llama 3's file"
        self.name = f"{path.name}, {self.vocabulary:,} ids, {whose}"

    def encode(self, texts: Sequence[str]) -> list[AnyTokens]:
        """Return the ids of each text."""
        return [self._ids(text) for text in texts]

    def _ids(self, text: str) -> npt.NDArray[np.uint32]:
        return np.array(self._encoding.encode_ordinary(text), dtype=np.uint32)


def read_encoder(path: Path) -> Encoder:
    """Return the tokenizer of a file, `.json` or ranks.

    Raises:
        DataError: it cannot be read.
    """
    try:
        return HuggingFaceEncoder(path) if path.suffix == ".json" else RankEncoder(path)
    except OSError as error:
        raise DataError(f"{path}: {error.strerror or error}") from None


def _ranks(path: Path) -> dict[bytes, int]:
    ranks: dict[bytes, int] = {}
    for number, line in enumerate(path.read_bytes().splitlines(), start=1):
        try:
            token, rank = line.split()
            ranks[base64.b64decode(token, validate=True)] = int(rank)
        except (ValueError, binascii.Error):
            raise DataError(f"{path}, line {number}: expected a token in base64 and its rank") from None
    missing = sum(bytes([byte]) not in ranks for byte in range(256))
    if missing or sorted(ranks.values()) != list(range(len(ranks))):
        raise DataError(f"{path}: expected ranks from 0 on, each once, and all 256 bytes among their tokens")
    return ranks


def _hash(path: Path) -> str:
    with path.open("rb") as file:
        return hashlib.file_digest(file, "sha256").hexdigest()


def _line(error: Exception) -> str:
    return (str(error).splitlines() or [type(error).__name__])[0]
