"""ListOps (Nangia and Bowman 2018) as the Long Range Arena draws it, many expressions at a time.

The grammar: a node is an operator with probability 1/4, else a digit; at the greatest depth it is a digit. An operator
has 2 to `max_arguments` arguments, uniformly. Expressions outside the admitted lengths are drawn again, so nearly all
draws are thrown away. Nodes are independent given their depth, which allows drawing whole levels of many
expressions at once; an expression is given up as soon as it is known to be too long. Neither changes the
distribution of those that are kept.

Order and bytes depend on the seed alone: draws come in chunks with a generator each, whoever draws them. Symbols:
0 to 9 the digits, then `[MIN`, `[MAX`, `[MED`, `[SM`, then `]`. The public pipeline numbers its vocabulary in the
order of a set, which changes from run to run; the judge renames ids by a secret, for another reason
(`training.module_score`).

Not covered: the operators FIRST and LAST, which the public generator defines and never draws; text files.
"""

from collections import deque
from collections.abc import Callable, Iterator, Sequence
from concurrent.futures import Future, ProcessPoolExecutor
from dataclasses import dataclass
from hashlib import blake2b
from multiprocessing import get_context

import numpy as np
from numpy.typing import NDArray

from aira_evaluator.lra.contract.profiles import ListOpsShape
from aira_evaluator.lra.contract.splits import LabelledSplit, Sequences
from aira_evaluator.lra.listops.operators import PUBLIC, Operator, apply

OPERATORS = ("[MIN", "[MAX", "[MED", "[SM")
FIRST_OPERATOR = 10
CLOSE = FIRST_OPERATOR + len(OPERATORS)
_OPERATOR_PROBABILITY = 0.25
_CHUNK_DRAWS = 8192
_CHUNKS_BEFORE_WORKERS = 24
"""Small splits are done before another process would have started."""
_Integers = NDArray[np.int64]


@dataclass(frozen=True)
class Chunk:
    """Expressions in the order of their draws: symbols end to end, lengths and values of E expressions."""

    symbols: NDArray[np.uint8]
    lengths: _Integers
    values: NDArray[np.uint8]


@dataclass(frozen=True)
class _Level:
    """The nodes of one depth of many expressions, left to right; children of a node stand together one level down."""

    tree: _Integers
    symbol: NDArray[np.uint8]
    arguments: _Integers
    """Number of arguments of each node; 0 for a digit."""

    def of(self, keep: NDArray[np.bool_]) -> "_Level":
        kept = keep[self.tree]
        return _Level(self.tree[kept], self.symbol[kept], self.arguments[kept])


def draw_chunk(shape: ListOpsShape, seed: int, chunk: int, operators: Sequence[Operator] = PUBLIC) -> Chunk:
    """Make a fixed number of draws and return the expressions of admitted length."""
    levels, tokens = _draw_levels(shape, np.random.default_rng([seed, chunk]))
    kept = (tokens > shape.longer_than) & (tokens < shape.shorter_than)
    levels = [level.of(kept) for level in levels]
    levels = [level for level in levels if len(level.tree)]
    if not levels:
        return Chunk(np.empty(0, np.uint8), np.empty(0, np.int64), np.empty(0, np.uint8))
    sizes, values = _measure(levels, operators)
    return Chunk(_serialise(levels, sizes), sizes[0], values[0].astype(np.uint8))


def _draw_levels(shape: ListOpsShape, rng: np.random.Generator) -> tuple[list[_Level], _Integers]:
    """Draw `_CHUNK_DRAWS` expressions; where the tokens say too long, the expression is not whole."""
    tokens = np.zeros(_CHUNK_DRAWS, np.int64)
    tree, levels = np.arange(_CHUNK_DRAWS), []
    for depth in range(1, shape.max_depth + 1):
        count = len(tree)
        inner = rng.random(count) < _OPERATOR_PROBABILITY if depth < shape.max_depth else np.zeros(count, np.bool_)
        operators = int(inner.sum())
        symbol = rng.integers(0, 10, count, dtype=np.uint8)
        symbol[inner] = FIRST_OPERATOR + rng.integers(0, len(OPERATORS), operators, dtype=np.uint8)
        arguments = np.zeros(count, np.int64)
        arguments[inner] = rng.integers(2, shape.max_arguments + 1, operators)
        levels.append(_Level(tree, symbol, arguments))
        tokens += np.bincount(tree, weights=1 + inner, minlength=_CHUNK_DRAWS).astype(np.int64)
        # An argument still to be drawn has at least one token.
        at_least = tokens + np.bincount(tree, weights=arguments, minlength=_CHUNK_DRAWS).astype(np.int64)
        tokens[at_least >= shape.shorter_than] = shape.shorter_than
        tree = np.repeat(tree, arguments)
        alive = tokens[tree] < shape.shorter_than
        if not alive.all():
            # Only whole expressions are read later, so children of those given up may be missing.
            tree = tree[alive]
        if not len(tree):
            break
    return levels, tokens


def _measure(levels: list[_Level], operators: Sequence[Operator]) -> tuple[list[_Integers], list[_Integers]]:
    """Tokens and value of every node, bottom up."""
    sizes: list[_Integers] = []
    values: list[_Integers] = []
    for level in reversed(levels):
        size, value = np.ones(len(level.tree), np.int64), level.symbol.astype(np.int64)
        inner = level.arguments > 0
        if inner.any():
            counts = level.arguments[inner]
            starts = np.cumsum(counts) - counts
            # Children stand end to end one level down, so the tokens of a node are sums over slices: reduceat. The two
            # are the operator and its bracket.
            size[inner] = 2 + np.add.reduceat(sizes[-1], starts)
            value[inner] = apply(operators, level.symbol[inner].astype(np.int64) - FIRST_OPERATOR, values[-1], counts)
        sizes.append(size)
        values.append(value)
    return sizes[::-1], values[::-1]


def _serialise(levels: list[_Level], sizes: list[_Integers]) -> NDArray[np.uint8]:
    """All expressions in prefix order, end to end: every node's place follows from the sizes before it."""
    symbols = np.empty(int(sizes[0].sum()), np.uint8)
    start = np.cumsum(sizes[0]) - sizes[0]
    for depth, level in enumerate(levels):
        inner = level.arguments > 0
        symbols[start] = level.symbol
        symbols[(start + sizes[depth] - 1)[inner]] = CLOSE
        if inner.any():
            counts = level.arguments[inner]
            before = np.cumsum(sizes[depth + 1]) - sizes[depth + 1]
            first = before[np.cumsum(counts) - counts]
            # A child starts where its parent's operator ends, plus the sizes of the siblings before it.
            start = np.repeat(start[inner] + 1 - first, counts) + before
    return symbols


def draw_expressions(
    shape: ListOpsShape,
    count: int,
    seed: int,
    seen: set[bytes],
    *,
    operators: Sequence[Operator] = PUBLIC,
    workers: int = 1,
    progress: Callable[[int], None] = lambda done: None,
) -> tuple[LabelledSplit, int]:
    """Draw `count` expressions unlike each other and unlike those in `seen`, which they are added to.

    Args:
        shape: depth, arguments and admitted lengths.
        count: expressions to return.
        seed: decides them and their order.
        seen: digests of expressions not to repeat.
        operators: what the four operators compute.
        workers: processes that draw; they do not change the result.
        progress: called with the number of expressions so far.

    Returns:
        The expressions with their values as labels, and how many were left out as repetitions.
    """
    parts: list[NDArray[np.uint8]] = []
    labels: list[int] = []
    repeated = 0
    for chunk in _chunks(shape, seed, operators, workers):
        stops = np.cumsum(chunk.lengths)
        for start, stop, value in zip(stops - chunk.lengths, stops, chunk.values, strict=True):
            if len(parts) == count:
                break
            expression = chunk.symbols[start:stop]
            digest = blake2b(expression.tobytes(), digest_size=16).digest()
            if digest in seen:
                repeated += 1
                continue
            seen.add(digest)
            parts.append(expression)
            labels.append(int(value))
        progress(len(parts))
        if len(parts) == count:
            break
    offsets = np.zeros(count + 1, np.int64)
    np.cumsum([len(part) for part in parts], out=offsets[1:])
    rows = np.arange(count, dtype=np.int32)[:, None]
    return LabelledSplit(Sequences(np.concatenate(parts), offsets), rows, np.array(labels, np.uint8)), repeated


def _chunks(shape: ListOpsShape, seed: int, operators: Sequence[Operator], workers: int) -> Iterator[Chunk]:
    """Chunks 0, 1, 2, ... without end, drawn ahead by other processes where there are several workers."""
    number = 0
    while workers == 1 or number < _CHUNKS_BEFORE_WORKERS:
        yield draw_chunk(shape, seed, number, operators)
        number += 1
    with ProcessPoolExecutor(workers, mp_context=get_context("spawn")) as pool:
        ahead = deque[Future[Chunk]]()
        try:
            while True:
                while len(ahead) < 2 * workers:
                    ahead.append(pool.submit(draw_chunk, shape, seed, number, operators))
                    number += 1
                yield ahead.popleft().result()
        finally:
            pool.shutdown(cancel_futures=True)
