"""The byte-pair tokenizer of tasks with text: trained once on public train text, saved as JSON, never pickled.

Byte-level BPE by the `tokenizers` library, inside the pieces that a regular expression cuts text into. All 256 bytes
are tokens, so every text can be encoded and comes back unchanged. The beginning-of-document token is not known to the
library at all: it is the id after its last one, so no text, whatever it spells, can produce it.

Training is deterministic: the alphabet is given in sorted order, and equal counts are decided by the ids of a pair.
A token's length in bytes is read from its merge bytes. Decoding a token to text instead would count every fragment
of a character as the three bytes of U+FFFD.
"""

import hashlib
from collections.abc import Iterable, Sequence
from functools import cached_property
from pathlib import Path
from typing import Self

import numpy as np
import numpy.typing as npt
import tokenizers
from tokenizers import decoders, models, pre_tokenizers, trainers

GPT2_SPLIT = r"'s|'t|'re|'ve|'m|'ll|'d| ?\p{L}+| ?\p{N}+| ?[^\s\p{L}\p{N}]+|\s+(?!\S)|\s+"
"""GPT-2's pieces (Radford et al., 2019): a word, a number or other signs, each with one space before it."""
GPT4_SPLIT = (
    r"'(?i:[sdmt]|ll|ve|re)|[^\r\n\p{L}\p{N}]?+\p{L}+|\p{N}{1,2}"
    r"| ?[^\s\p{L}\p{N}]++[\r\n]*|\s*[\r\n]|\s+(?!\S)|\s+"
)
"""GPT-4's pieces, with two digits at most where GPT-4 has three, as the public reference of Autoresearch has them.

A contraction's end in any case; a word with one sign before it, of whatever kind; one or two digits; other signs with
the line ends behind them; white space up to a line end.
"""
TOKENIZER_FILE = "tokenizer.json"
BYTES_FILE = "token_bytes.npy"
Tokens = npt.NDArray[np.uint16]


def byte_alphabet() -> dict[str, int]:
    """Return the byte each character of a byte-level token stands for.

    Printable Latin-1 characters stand for themselves, all other bytes, in order, for the characters from U+0100 on
    (Radford et al., 2019).
    """
    printable = [*range(0x21, 0x7F), *range(0xA1, 0xAD), *range(0xAE, 0x100)]
    others = [byte for byte in range(256) if byte not in set(printable)]
    return {chr(byte): byte for byte in printable} | {chr(256 + index): byte for index, byte in enumerate(others)}


class BytePairTokenizer:
    """Text to token ids and back. The methods are those that scripts in the public reference's style call."""

    def __init__(self, model: tokenizers.Tokenizer) -> None:
        """Wrap a byte-level BPE model."""
        self._model = model

    @classmethod
    def train(cls, texts: Iterable[str], vocabulary: int, split: str) -> "BytePairTokenizer":
        """Train on `texts` until there are `vocabulary` tokens, the beginning-of-document token included.

        Args:
            texts: what pairs of bytes are counted in.
            vocabulary: number of tokens.
            split: a regular expression of pieces that no token reaches across, `GPT2_SPLIT` or `GPT4_SPLIT`.
        """
        model = tokenizers.Tokenizer(models.BPE())
        pieces = pre_tokenizers.Split(tokenizers.Regex(split), behavior="isolated")
        alphabet = pre_tokenizers.ByteLevel(add_prefix_space=False, use_regex=False)
        model.pre_tokenizer = pre_tokenizers.Sequence([pieces, alphabet])
        model.decoder = decoders.ByteLevel()
        trainer = trainers.BpeTrainer(
            vocab_size=vocabulary - 1, initial_alphabet=sorted(byte_alphabet()), special_tokens=[], show_progress=False
        )
        model.train_from_iterator(texts, trainer)
        return cls(model)

    @classmethod
    def from_directory(cls, folder: Path | str) -> Self:
        """Load the tokenizer from a folder's `tokenizer.json`."""
        return cls(tokenizers.Tokenizer.from_file(str(Path(folder) / TOKENIZER_FILE)))

    def save(self, folder: Path) -> None:
        """Write `tokenizer.json` and `token_bytes.npy` (int32, one length a token)."""
        folder.mkdir(parents=True, exist_ok=True)
        (folder / TOKENIZER_FILE).write_text(self._model.to_str(pretty=True) + "\n", encoding="utf-8")
        np.save(folder / BYTES_FILE, self.byte_lengths())

    @cached_property
    def sha256(self) -> str:
        """Hash of the vocabulary and its merges."""
        return hashlib.sha256(self._model.to_str().encode()).hexdigest()

    def get_vocab_size(self) -> int:
        """Return how many token ids there are, the beginning-of-document token included."""
        return self._model.get_vocab_size() + 1

    def get_bos_token_id(self) -> int:
        """Return the id that begins every document: the last one."""
        return self._model.get_vocab_size()

    def encode(self, text: str | Sequence[str], prepend: int | None = None) -> list[int] | list[list[int]]:
        """Token ids of a text, or of each text of a list, with the id `prepend` before them if given."""
        first = [] if prepend is None else [prepend]
        if isinstance(text, str):
            return first + self._model.encode(text, add_special_tokens=False).ids
        return [first + found.ids for found in self._model.encode_batch_fast(list(text), add_special_tokens=False)]

    def encode_documents(self, texts: Sequence[str]) -> list[Tokens]:
        """Token ids of each text as uint16, without any special token."""
        batch = self._model.encode_batch_fast(list(texts), add_special_tokens=False)
        return [np.array(found.ids, dtype=np.uint16) for found in batch]

    def decode(self, ids: Sequence[int]) -> str:
        """Return the text of token ids; the beginning-of-document token is left out.

        Ids that do not end on a character's border come out with U+FFFD there.
        """
        return b"".join(self.bytes_by_id[index] for index in ids).decode("utf-8", "replace")

    def byte_lengths(self) -> npt.NDArray[np.int32]:
        """Bytes each token stands for, shape (vocabulary,); 0 for the beginning-of-document token."""
        return np.array([len(piece) for piece in self.bytes_by_id], dtype=np.int32)

    @cached_property
    def ids_by_bytes(self) -> dict[bytes, int]:
        """The id of each token by the bytes it stands for; the beginning-of-document token stands for none."""
        return {piece: index for index, piece in enumerate(self.bytes_by_id) if piece}

    @cached_property
    def bytes_by_id(self) -> list[bytes]:
        """The bytes that each token stands for; none for the beginning-of-document token."""
        alphabet = byte_alphabet()
        pieces = [b""] * self.get_vocab_size()
        for piece, index in self._model.get_vocab().items():
            pieces[index] = bytes(alphabet[character] for character in piece)
        return pieces
