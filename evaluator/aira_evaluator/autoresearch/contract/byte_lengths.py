"""The judge's own table of how many bytes each token stands for: the denominator of bits per byte.

Lengths come from the merge bytes of `tokenizer.json`, read here as plain JSON, and must agree with the table that the
tokenizer's maker left beside it. Decoding tokens to text instead would count every fragment of a character as the
three bytes of U+FFFD, which lowers a score without any better prediction.

Not covered: whether the tokenizer is a good one, and encoding (`tokenizer`).
"""

import hashlib
import json
from pathlib import Path

import numpy as np
import numpy.typing as npt

from aira_evaluator.text.tokenizer import BYTES_FILE, TOKENIZER_FILE, byte_alphabet

Lengths = npt.NDArray[np.int64]


class ByteTableError(Exception):
    """The tokenizer's files contradict each other."""


def read_byte_lengths(folder: Path) -> Lengths:
    """Bytes of each token, int64 of shape (vocabulary,); 0 for the beginning-of-document token, which is the last id.

    Raises:
        ByteTableError: ids are not consecutive, a token is no byte sequence, or the stored table says otherwise.
        OSError: a file cannot be read.
    """
    try:
        vocabulary: dict[str, int] = json.loads((folder / TOKENIZER_FILE).read_bytes())["model"]["vocab"]
        ids = set(vocabulary.values())
    except (ValueError, KeyError, TypeError, AttributeError) as error:
        raise ByteTableError(f"{TOKENIZER_FILE} holds no vocabulary ({error!r})") from error
    if ids != set(range(len(vocabulary))):
        raise ByteTableError(f"{TOKENIZER_FILE}: ids are not 0 to {len(vocabulary) - 1}")
    alphabet = byte_alphabet()
    lengths = np.zeros(len(vocabulary) + 1, dtype=np.int64)
    for token, index in vocabulary.items():
        if not set(token) <= alphabet.keys():
            raise ByteTableError(f"{TOKENIZER_FILE}: token {index} is no sequence of bytes")
        lengths[index] = len(token)  # one character of the alphabet stands for one byte
    stored = np.load(folder / BYTES_FILE, allow_pickle=False)
    if stored.shape != lengths.shape or not np.array_equal(stored, lengths):
        raise ByteTableError(f"{BYTES_FILE} is not what the merges of {TOKENIZER_FILE} say")
    return lengths


def byte_table_sha256(lengths: Lengths) -> str:
    """Hash of a table, for score records."""
    return hashlib.sha256(np.ascontiguousarray(lengths, dtype="<i8").tobytes()).hexdigest()
