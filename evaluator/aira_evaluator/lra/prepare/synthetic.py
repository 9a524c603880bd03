"""Stand-ins for the IMDB reviews and the AAN pairs, in the same form, for machines that cannot download them.

Texts are words drawn from a fixed small lexicon. What decides a label is far apart and its order matters:

- Text: two marks, three times each in a row, their rows a third of the text or more apart, and a third mark anywhere.
  The class is which of the first two comes first. The words of a text do not tell it; their order does.
- Retrieval: three words in the first quarter of a document are one of four openings, three in its last quarter one of
  four closings. A pair matches where both agree; one that does not match differs in either or both.

Scores on these say nothing about the real tasks; data made from them is marked synthetic everywhere. Not covered:
natural language.
"""

import numpy as np

from aira_evaluator.lra.prepare.pools import PoolBuilder

_LETTERS = np.frombuffer(b"abcdefghijklmnoprstuvwy", np.uint8)
_LEXICON_WORDS = 400
_KINDS = 4
_REPETITIONS = 3
FIRST_MARK, SECOND_MARK, DISTRACTOR = b"qx", b"qz", b"xq"
OPENINGS = tuple(b"q%c" % letter for letter in b"aeio")
CLOSINGS = tuple(b"x%c" % letter for letter in b"aeio")


def add_texts(builder: PoolBuilder, count: int, length: int, rng: np.random.Generator) -> None:
    """Add `count` labelled texts of three quarters of `length` to `length` bytes; classes are balanced by chance."""
    lexicon = _lexicon()
    for _ in range(count):
        label = int(rng.integers(2))
        words = _words(lexicon, length, rng)
        # The marks stand a third of the text apart at least: no window of few words tells which comes first.
        early = int(rng.integers(0, len(words) // 2 - _REPETITIONS))
        late = int(rng.integers(early + len(words) // 3, len(words) - _REPETITIONS + 1))
        first, second = (SECOND_MARK, FIRST_MARK) if label else (FIRST_MARK, SECOND_MARK)
        anywhere = int(rng.integers(0, len(words) - _REPETITIONS + 1))
        for start, mark in ((anywhere, DISTRACTOR), (early, first), (late, second)):
            words[start : start + _REPETITIONS] = [mark] * _REPETITIONS
        builder.add([b" ".join(words)], label)


def add_pairs(builder: PoolBuilder, count: int, length: int, rng: np.random.Generator) -> None:
    """Add `count` labelled pairs of documents of three quarters of `length` to `length` bytes."""
    lexicon = _lexicon()
    for _ in range(count):
        label = int(rng.integers(2))
        first = int(rng.integers(_KINDS * _KINDS))
        # Of a pair that does not match, any other kind is as likely, so either half alone tells nothing.
        second = first if label else (first + int(rng.integers(1, _KINDS * _KINDS))) % (_KINDS * _KINDS)
        builder.add([_document(lexicon, kind, length, rng) for kind in (first, second)], label)


def _document(lexicon: list[bytes], kind: int, length: int, rng: np.random.Generator) -> bytes:
    words = _words(lexicon, length, rng)
    quarter = len(words) // 4
    for mark, start in ((OPENINGS[kind // _KINDS], 0), (CLOSINGS[kind % _KINDS], len(words) - quarter)):
        for place in rng.choice(quarter, _REPETITIONS, replace=False):
            words[start + int(place)] = mark
    return b" ".join(words)


def _lexicon() -> list[bytes]:
    """The same words in every split: a fixed seed."""
    rng = np.random.default_rng(20260515)
    return [rng.choice(_LETTERS, rng.integers(2, 7)).tobytes() for _ in range(_LEXICON_WORDS)]


def _words(lexicon: list[bytes], length: int, rng: np.random.Generator) -> list[bytes]:
    """Words that with single spaces fill at least three quarters of `length` bytes and at most `length`."""
    target = int(rng.integers(3 * length // 4, length + 1))
    words: list[bytes] = []
    size = -1
    for index in rng.integers(0, len(lexicon), target // 3 + 1):
        if size + 1 + len(lexicon[index]) > target:
            break
        words.append(lexicon[index])
        size += 1 + len(lexicon[index])
    return words
