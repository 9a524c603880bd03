"""Near duplicates: found when similar, left alone when not, classes as a slow exact search finds them."""

import random

import numpy as np
from hypothesis import given, settings
from hypothesis import strategies as st

from aira_evaluator.text.similar import SIMILARITY, near_duplicate_classes, shingle_hashes, similarity

WORDS = [f"{a}{b}ing" for a in "bcdfglmprst" for b in ("a", "e", "i", "o", "u")]


def essay(rng: random.Random, words: int = 200) -> list[str]:
    return [rng.choice(WORDS) for _ in range(words)]


def edited(rng: random.Random, words: list[str], changes: int) -> list[str]:
    copy = list(words)
    for place in rng.sample(range(len(copy)), changes):
        copy[place] = rng.choice(WORDS)
    return copy


def classes_of(texts: list[bytes]) -> list[int]:
    return [int(number) for number in near_duplicate_classes(len(texts), lambda index: texts[index])]


def exact_classes(texts: list[bytes]) -> list[int]:
    """Connected components over all pairs, by a flood from each smallest index."""
    hashes = [shingle_hashes(text) for text in texts]
    found = list(range(len(texts)))
    for _ in texts:
        for i in range(len(texts)):
            for j in range(i):
                if similarity(hashes[i], hashes[j]) >= SIMILARITY:
                    found[i] = found[j] = min(found[i], found[j])
    return found


@settings(max_examples=15, deadline=None)
@given(st.integers(0, 2**32))
def test_classes_are_those_of_an_exact_search(seed: int) -> None:
    """Edits are few or many, since banding finds pairs far above the threshold for certain, and at it only mostly."""
    rng = random.Random(seed)
    originals = [essay(rng) for _ in range(4)]
    copies = [edited(rng, rng.choice(originals), rng.choice((0, 1, 2, 60))) for _ in range(8)]
    texts = [" ".join(words).encode() for words in [*originals, *copies]]
    assert classes_of(texts) == exact_classes(texts)


def test_case_and_spacing_do_not_hide_a_copy() -> None:
    text = " ".join(essay(random.Random(1)))
    assert classes_of([text.encode(), text.upper().replace(" ", " \r\n\t").encode(), b"another text"]) == [0, 0, 2]


def test_the_smallest_index_names_the_class_in_any_order() -> None:
    text = b"a text that is long enough to have shingles"
    assert classes_of([b"x" * 40, text, b"y" * 40, text, text]) == [0, 1, 2, 1, 1]


def test_texts_shorter_than_a_shingle_are_compared_whole() -> None:
    assert classes_of([b"ab", b"ac", b"AB ", b""]) == [0, 1, 0, 3]
    assert near_duplicate_classes(0, lambda index: b"").shape == (0,)


def test_a_crowd_of_one_class_is_joined_and_does_not_swallow_others() -> None:
    rng = random.Random(2)
    base = essay(rng)
    texts = [" ".join(edited(rng, base, 1)).encode() for _ in range(60)] + [" ".join(essay(rng)).encode()]
    assert classes_of(texts) == [0] * 60 + [60]


def test_most_pairs_at_the_threshold_are_found() -> None:
    """Banding alone would find a pair of similarity 0.8 with probability 0.9998; here pairs of 0.80 to 0.86."""
    rng = random.Random(3)
    found, wanted = 0, 0
    for _ in range(60):
        words = essay(rng)
        pair = [" ".join(words).encode(), " ".join(edited(rng, words, 8)).encode()]
        if 0.80 <= similarity(*(shingle_hashes(text) for text in pair)) < 0.86:
            wanted += 1
            found += classes_of(pair) == [0, 0]
    assert wanted > 20
    assert found >= wanted - 1


def test_a_similarity_is_shared_over_all() -> None:
    first, second = np.array([1, 2, 3, 4], np.uint64), np.array([3, 4, 5], np.uint64)
    assert similarity(first, second) == 2 / 5
