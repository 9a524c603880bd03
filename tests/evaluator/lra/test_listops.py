"""The ListOps generator: right values by an independent evaluator, the right distribution, the same bytes again."""

import hashlib
import random
from collections import Counter
from statistics import fmean

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from written_expressions import to_text

from aira_evaluator.lra.contract.profiles import CPU_LISTOPS, PAPER_LISTOPS, ListOpsShape
from aira_evaluator.lra.contract.submission import CONTRACTS
from aira_evaluator.lra.listops.expressions import draw_chunk, draw_expressions

assert PAPER_LISTOPS.listops is not None
assert CPU_LISTOPS.listops is not None
PAPER, CPU = PAPER_LISTOPS.listops, CPU_LISTOPS.listops
SMALL = ListOpsShape(max_depth=4, max_arguments=4, longer_than=3, shorter_than=40)


def evaluate(words: list[str]) -> tuple[int, int]:
    """Value and greatest depth of an expression, by recursive descent over its words, which are used up."""
    word = words.pop(0)
    if not word.startswith("["):
        return int(word), 1
    values, depths = [], []
    while words[0] != "]":
        value, depth = evaluate(words)
        values.append(value)
        depths.append(depth)
    words.pop(0)
    ordered = sorted(values)
    middle = ordered[(len(ordered) - 1) // 2] + ordered[len(ordered) // 2]
    results = {"[MIN": ordered[0], "[MAX": ordered[-1], "[MED": middle // 2, "[SM": sum(values) % 10}
    return results[word], 1 + max(depths)


def draw_like_the_public_generator(rng: random.Random, shape: ListOpsShape, depth: int = 1) -> list[str]:
    """One expression by plain recursion, rejection left to the caller."""
    if depth >= shape.max_depth or rng.random() > 0.25:
        return [str(rng.randrange(10))]
    arguments = [
        draw_like_the_public_generator(rng, shape, depth + 1) for _ in range(rng.randint(2, shape.max_arguments))
    ]
    return [rng.choice(["[MIN", "[MAX", "[MED", "[SM"]), *(word for part in arguments for word in part), "]"]


@settings(max_examples=30, deadline=None)
@given(st.integers(0, 2**60), st.integers(2, 6), st.integers(2, 6))
def test_values_depths_and_lengths_hold_for_an_independent_evaluator(seed: int, depth: int, arguments: int) -> None:
    shape = ListOpsShape(depth, arguments, longer_than=2, shorter_than=60)
    chunk = draw_chunk(shape, seed, 0)
    starts = np.cumsum(chunk.lengths) - chunk.lengths
    for start, length, value in zip(starts[:40], chunk.lengths, chunk.values, strict=False):
        words = to_text(chunk.symbols[start : start + length]).split()
        assert 2 < len(words) < 60
        found, found_depth = evaluate(words)
        assert not words
        assert found == value
        assert found_depth <= depth


def test_the_papers_expressions_hold_for_an_independent_evaluator() -> None:
    split, _ = draw_expressions(PAPER, 300, 5, set())
    deepest = 0
    for index in range(300):
        words = to_text(split.sequences[index]).split()
        assert 500 < len(words) < 2000
        value, depth = evaluate(words)
        assert value == split.labels[index]
        deepest = max(deepest, depth)
    assert deepest == 10


def _operators_and_arguments(words: list[str]) -> tuple[Counter[str], Counter[int]]:
    operators, arguments, open_counts = Counter[str](), Counter[int](), list[int]()
    for word in words:
        if word == "]":
            arguments[open_counts.pop()] += 1
            continue
        if open_counts:
            open_counts[-1] += 1
        if word.startswith("["):
            operators[word] += 1
            open_counts.append(0)
    return operators, arguments


def test_the_distribution_is_that_of_plain_recursion_with_rejection() -> None:
    """Two samples of some 4,000 kept expressions: acceptance, lengths, labels, operators and arguments agree."""
    rng = random.Random(1)
    slow: list[list[str]] = []
    slow_draws = 0
    while len(slow) < 4000:
        slow_draws += 1
        words = draw_like_the_public_generator(rng, SMALL)
        if SMALL.longer_than < len(words) < SMALL.shorter_than:
            slow.append(words)
    chunks = [draw_chunk(SMALL, 7, number) for number in range(4)]
    fast: list[list[str]] = []
    for chunk in chunks:
        starts = np.cumsum(chunk.lengths) - chunk.lengths
        fast += [to_text(chunk.symbols[a : a + n]).split() for a, n in zip(starts, chunk.lengths, strict=True)]
    kept = len(fast) / (len(chunks) * 8192)
    assert kept == pytest.approx(4000 / slow_draws, rel=0.08)
    assert fmean(map(len, fast)) == pytest.approx(fmean(map(len, slow)), rel=0.05)
    _assert_alike(Counter(min(len(words) // 4, 8) for words in slow), Counter(min(len(w) // 4, 8) for w in fast))
    _assert_alike(Counter(evaluate(list(w))[0] for w in slow), Counter(evaluate(list(w))[0] for w in fast))
    for part in (0, 1):
        slow_counts, fast_counts = Counter[str | int](), Counter[str | int]()
        for words in slow:
            slow_counts.update(_operators_and_arguments(words)[part])
        for words in fast:
            fast_counts.update(_operators_and_arguments(words)[part])
        _assert_alike(slow_counts, fast_counts)


def _assert_alike(first: Counter[int] | Counter[str | int], second: Counter[int] | Counter[str | int]) -> None:
    """Chi-squared test of homogeneity far from significance: at most 3 times its degrees of freedom."""
    total_first, total_second = sum(first.values()), sum(second.values())
    statistic = 0.0
    for key in first.keys() | second.keys():
        pooled = (first[key] + second[key]) / (total_first + total_second)
        for seen, total in ((first[key], total_first), (second[key], total_second)):
            statistic += (seen - pooled * total) ** 2 / (pooled * total)
    assert statistic < 3 * max(1, len(first.keys() | second.keys()) - 1)


def test_operators_are_uniform_and_arguments_cover_their_range() -> None:
    split, _ = draw_expressions(PAPER, 100, 11, set())
    operators, arguments = Counter[str](), Counter[int]()
    for index in range(100):
        more_operators, more_arguments = _operators_and_arguments(to_text(split.sequences[index]).split())
        operators.update(more_operators)
        arguments.update(more_arguments)
    assert set(arguments) == set(range(2, 11))
    for count in operators.values():
        assert count / sum(operators.values()) == pytest.approx(0.25, abs=0.02)


RARE = ListOpsShape(max_depth=4, max_arguments=5, longer_than=36, shorter_than=48)


def _digest(seed: int, workers: int) -> str:
    """Of as many expressions as take more chunks than are drawn before other processes are started."""
    split, _ = draw_expressions(RARE, 900, seed, set(), workers=workers)
    arrays = (split.sequences.symbols, split.sequences.offsets, split.rows, split.labels)
    return hashlib.sha256(b"".join(array.tobytes() for array in arrays)).hexdigest()


def test_the_same_seed_gives_the_same_bytes_however_many_processes_draw() -> None:
    assert _digest(3, workers=1) == _digest(3, workers=2)
    assert _digest(3, workers=1) != _digest(4, workers=1)


def test_a_longer_split_begins_with_a_shorter_one() -> None:
    short, _ = draw_expressions(CPU, 100, 3, set())
    long, _ = draw_expressions(CPU, 200, 3, set())
    assert [to_text(short.sequences[i]) for i in range(100)] == [to_text(long.sequences[i]) for i in range(100)]


def test_no_expression_comes_twice_not_even_from_what_was_seen() -> None:
    tiny = ListOpsShape(max_depth=2, max_arguments=2, longer_than=3, shorter_than=5)  # 400 expressions in all
    seen: set[bytes] = set()
    first, repeated = draw_expressions(tiny, 150, 1, seen)
    second, _ = draw_expressions(tiny, 150, 2, seen)
    texts = [to_text(split.sequences[i]) for split in (first, second) for i in range(150)]
    assert len(set(texts)) == 300 == len(seen)
    assert repeated > 0


def test_symbols_fit_the_vocabulary_and_labels_the_classes() -> None:
    split, _ = draw_expressions(CPU, 500, 9, set())
    contract = CONTRACTS["listops"]
    assert split.sequences.token_ids(CPU.shorter_than).max() == contract.vocab_size - 1
    assert set(split.labels) == set(range(contract.num_classes))
