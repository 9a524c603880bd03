"""Compact notation of layer patterns, read and written: `5(2A-M)-A` stands for AAM AAM AAM AAM AAM A.

`aira_contract.patterns` has the grammar. Not covered: how many layers a task wants, and which symbols.
"""

import re
from collections.abc import Sequence
from itertools import groupby

from aira_bench.errors import UsageError
from aira_bench.near_names import nearest
from aira_contract import patterns, presets, primitives
from aira_contract.patterns import MAX_LAYERS, Pattern, PatternError

ATTENTION, MLP, MAMBA = (each.symbol for each in (primitives.ATTENTION, primitives.MLP, primitives.MAMBA))
SYMBOLS = primitives.IN_PATTERNS
_WORD = re.compile("[A-Za-z]{4}")
"""What no pattern holds, so that a name was meant."""
_HINT = 'a pattern such as "5(2A-M)-A", with symbols A (attention), M (MLP) and Mb or S (Mamba-2)'
_HINT_WITH_NAMES = f"{_HINT}; or a name of aira-bench architectures"


class NotationError(UsageError):
    """The text is no pattern; the message names the character, counted from 1."""


def read_pattern(text: str) -> Pattern:
    """Expand a pattern in compact notation to its layers.

    Args:
        text: such as `2Mb-M-3A` or `2(3A-4(M-A)-5M)`.

    Returns:
        One symbol of `mA`, `M`, `Mb` a layer.

    Raises:
        NotationError: naming the position and what stands there.
    """
    try:
        return patterns.read_pattern(text)
    except PatternError as error:
        raise NotationError(f"Unreadable pattern: {error}.", hint=_HINT) from error


def read_architecture(text: str) -> Pattern:
    """Expand a pattern, or the name of an architecture of the paper, as people write them.

    Args:
        text: such as `2Mb-M-3A`, `airaformer-d` (what was searched) or `airaformer-d-stretched:1B`.

    Returns:
        One symbol of `mA`, `M`, `Mb` a layer.

    Raises:
        NotationError: it is neither; or nothing is known of that name at that scale.
    """
    try:
        return presets.read_architecture(text)
    except PatternError as error:
        known = presets.find_preset(text.partition(":")[0]) is not None
        said = f"{error}." if known else f"Unreadable architecture: {error}."
        close = (
            nearest(text.partition(":")[0], (each.name for each in presets.PRESETS))
            if _WORD.search(text) and not known
            else None
        )
        said += "" if close is None else f" Did you mean {close!r}?"
        raise NotationError(said, hint="aira-bench architectures" if known else _HINT_WITH_NAMES) from error


def write_pattern(pattern: Sequence[str]) -> str:
    """Return the shortest notation of a pattern, always the same text for the same layers.

    Groups repeat at least twice. Of several shortest texts the first in ASCII order is taken.

    Raises:
        ValueError: a symbol is none of `mA`, `M`, `Mb`, or the number of layers is out of range.
    """
    symbols = tuple(pattern)
    if not 1 <= len(symbols) <= MAX_LAYERS:
        raise ValueError(f"{len(symbols)} layers, expected 1 to {MAX_LAYERS}")
    if unknown := sorted(set(symbols) - set(SYMBOLS)):
        raise ValueError(f"unknown symbols {unknown}, expected {', '.join(SYMBOLS)}")
    return _shortest(tuple(primitives.BY_SYMBOL[symbol].written for symbol in symbols), {})


def runs_of(pattern: Sequence[str]) -> list[tuple[str, int]]:
    """Return neighbouring equal layers counted: `AAM` is [(mA, 2), (M, 1)]."""
    return [(symbol, len(list(group))) for symbol, group in groupby(pattern)]


def _shortest(letters: Pattern, known: dict[Pattern, str]) -> str:
    """Dynamic programme from the end: `best[i]` writes the layers from i on."""
    if letters in known:
        return known[letters]
    length = len(letters)
    matching = _matching(letters)
    best = [""] * (length + 1)
    for start in range(length - 1, -1, -1):
        options = [letters[start] + ("-" + best[start + 1] if best[start + 1] else "")]
        for period in range(1, (length - start) // 2 + 1):
            copies = matching[period][start] // period + 1
            if copies < 2 or _repeats_shorter(matching, start, period):
                continue
            unit = letters[start : start + period]
            body = unit[0] if period == 1 else f"({_shortest(unit, known)})"
            for count in range(2, copies + 1):
                rest = best[start + count * period]
                options.append(f"{count}{body}" + ("-" + rest if rest else ""))
        best[start] = min(options, key=lambda text: (len(text), text))
    known[letters] = best[0]
    return best[0]


def _matching(letters: Pattern) -> list[list[int]]:
    """`[p][i]`: how many layers from i on equal the layer p places later, up to the first that does not."""
    length = len(letters)
    table = [[0] * (length + 1) for _ in range(length // 2 + 1)]
    for period in range(1, length // 2 + 1):
        row = table[period]
        for start in range(length - period - 1, -1, -1):
            row[start] = row[start + 1] + 1 if letters[start] == letters[start + period] else 0
    return table


def _repeats_shorter(matching: list[list[int]], start: int, period: int) -> bool:
    """Whether the unit of `period` layers at `start` is itself a repetition, which another period covers."""
    return any(period % part == 0 and matching[part][start] >= period - part for part in range(1, period // 2 + 1))
