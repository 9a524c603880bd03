"""Classes of nearly equal texts, for the Long Range Arena: MinHash over byte shingles, candidates verified exactly.

A text's shingles are its windows of 12 bytes after lower-casing ASCII and collapsing white space. Two texts are near
duplicates where the Jaccard similarity of their shingle sets is at least 0.8; classes are the connected components.
64 minima in 16 bands of 4 bring a pair of similarity 0.8 to verification with probability 0.9998, one of 0.5 with
0.64. Texts are hashed one at a time; kept are 256 bytes a text.

Why not `contained`: an example of Retrieval is a pair of documents, and pairs repeat where both documents do, in either
order. That needs classes of all documents, those inside one pool included, and texts here are bytes, not tokens.

Not covered: paraphrases, and one text inside a much longer one, whose similarity is low.
"""

import re
from collections.abc import Callable

import numpy as np
from numpy.typing import NDArray

SIMILARITY = 0.8
_SHINGLE = 12
_MINIMA = 64
_BANDS = 16
_MOST_REPRESENTATIVES = 8
_BASE = np.uint64(0x100000001B3)
_SPACE = re.compile(rb"\s+")
_Hashes = NDArray[np.uint64]


def near_duplicate_classes(
    count: int,
    text: Callable[[int], bytes],
    *,
    progress: Callable[[int], None] = lambda done: None,
) -> NDArray[np.int64]:
    """Return the class of each of `count` texts: the smallest index among its near duplicates.

    Args:
        count: number of texts.
        text: gives the text of an index; called again for candidates.
        progress: called with the number of texts hashed so far.
    """
    classes = np.arange(count)
    signatures = np.empty((count, _MINIMA), np.uint32)
    multipliers = np.random.default_rng(0).integers(0, 2**63, _MINIMA, dtype=np.uint64) * np.uint64(2) + np.uint64(1)
    for index in range(count):
        signatures[index] = _signature(shingle_hashes(text(index)), multipliers)
        progress(index + 1)

    def root(index: int) -> int:
        # Union-find with path halving; joining towards the smaller index makes the root the smallest of its class.
        while classes[index] != index:
            classes[index] = classes[classes[index]]
            index = int(classes[index])
        return index

    # Locality-sensitive hashing by bands (Broder 1997; Leskovec, Rajaraman and Ullman, "Mining of Massive Datasets",
    # 3.4): two minima agree with probability s, so some band of r agrees with 1 - (1 - s^r)^b.
    rows = _MINIMA // _BANDS
    for band in range(_BANDS):
        for members in _equal_rows(signatures[:, band * rows : (band + 1) * rows]):
            _merge(members, text, root, classes)
    return np.array([root(index) for index in range(count)], np.int64)


def shingle_hashes(text: bytes) -> _Hashes:
    """Distinct 64-bit hashes of a text's shingles; a text shorter than a shingle is one shingle."""
    normal = _SPACE.sub(b" ", text).strip().lower().ljust(_SHINGLE, b"\0")
    codes = np.frombuffer(normal, np.uint8).astype(np.uint64)
    windows = len(codes) - _SHINGLE + 1
    hashed = np.zeros(windows, np.uint64)
    for place in range(_SHINGLE):
        # A polynomial in the bytes, modulo 2^64, for all windows at once.
        hashed = hashed * _BASE + codes[place : place + windows]
    # Finish as splitmix64 does: the polynomial alone keeps neighbouring shingles close.
    for shift, factor in ((30, 0xBF58476D1CE4E5B9), (27, 0x94D049BB133111EB)):
        hashed = (hashed ^ (hashed >> np.uint64(shift))) * np.uint64(factor)
    return np.unique(hashed ^ (hashed >> np.uint64(31)))


def similarity(first: _Hashes, second: _Hashes) -> float:
    """Jaccard similarity of two sets of hashes."""
    shared = len(np.intersect1d(first, second, assume_unique=True))
    return shared / (len(first) + len(second) - shared)


def _signature(hashes: _Hashes, multipliers: _Hashes) -> NDArray[np.uint32]:
    minima = np.full(_MINIMA, 2**32 - 1, np.uint32)
    for start in range(0, len(hashes), 4096):
        # Multiply-shift hashing (Dietzfelbinger et al. 1997): an odd multiplier modulo 2^64, of which the high half
        # mixes best. The smallest product over a set stands for a draw from it.
        products = hashes[start : start + 4096, None] * multipliers
        np.minimum(minima, (products >> np.uint64(32)).astype(np.uint32).min(axis=0), out=minima)
    return minima


def _equal_rows(keys: NDArray[np.uint32]) -> list[NDArray[np.intp]]:
    """Indices of each group of two or more equal rows."""
    order = np.lexsort(keys.T)
    ranked = keys[order]
    starts = np.flatnonzero(np.r_[True, (ranked[1:] != ranked[:-1]).any(axis=1)]) if len(keys) else np.empty(0, int)
    return [group for group in np.split(order, starts[1:]) if len(group) > 1]


def _merge(
    members: NDArray[np.intp], text: Callable[[int], bytes], root: Callable[[int], int], classes: NDArray[np.int64]
) -> None:
    """Join members that are near duplicates of one another, comparing each with the latest classes of the group."""
    representatives: list[tuple[int, _Hashes]] = []
    known: set[int] = set()
    for member in sorted(int(index) for index in members):
        if root(member) in known:
            continue
        hashes = shingle_hashes(text(member))
        for other, other_hashes in representatives:
            if similarity(hashes, other_hashes) >= SIMILARITY:
                first, second = sorted((root(member), root(other)))
                classes[second] = first
                break
        else:
            representatives = [*representatives[1 - _MOST_REPRESENTATIVES :], (member, hashes)]
        known.add(root(member))
