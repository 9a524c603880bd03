"""Compact notation of layer patterns: `5(2A-M)-A` stands for AAM AAM AAM AAM AAM A.

    pattern  = [term, {[separator], term}];
    term     = [count], (symbol | "(", pattern, ")");
    symbol   = "A" | "mA" | "M" | "Mb" | "S";       A is mA, S is Mb
    separator = "-" | "+" | ",";

A count stands before what it repeats. Separators may be left out, so plain strings such as `AMAM AMAM` and run
lengths such as `2A5M` are patterns too; blanks are free between tokens. In memory a pattern is a tuple of the symbols
`mA`, `M` and `Mb`, one a layer, first layer first.

Not covered: how many layers a task wants, and which symbols. The reader takes 1 to 1,024 layers of all three.
"""

import re
from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from itertools import groupby

from aira_bench.errors import UsageError

Pattern = tuple[str, ...]

ATTENTION, MLP, MAMBA = "mA", "M", "Mb"
SYMBOLS = (ATTENTION, MLP, MAMBA)
MAX_LAYERS = 1024
MAX_NESTING = 32

_WRITTEN = {ATTENTION: "A", MLP: "M", MAMBA: "Mb"}
_READ = {"A": ATTENTION, "mA": ATTENTION, "M": MLP, "Mb": MAMBA, "S": MAMBA}
_TOKEN = re.compile(r"(?P<count>[0-9]+)|(?P<symbol>mA|Mb|[AMS])|(?P<open>\()|(?P<close>\))|(?P<separator>[-+,])")
_HINT = 'a pattern such as "5(2A-M)-A", with symbols A (attention), M (MLP) and Mb or S (Mamba-2)'


class NotationError(UsageError):
    """The text is no pattern; the message names the character, counted from 1."""


@dataclass(frozen=True)
class _Token:
    kind: str
    text: str
    position: int


def read_pattern(text: str) -> Pattern:
    """Expand compact notation.

    Args:
        text: such as `2Mb-M-3A` or `2(3A-4(M-A)-5M)`.

    Returns:
        One symbol of `mA`, `M`, `Mb` a layer.

    Raises:
        NotationError: naming the position and what stands there.
    """
    return _Reader(tuple(_tokens(text))).read()


def write_pattern(pattern: Sequence[str]) -> str:
    """The shortest notation of a pattern, the same text for the same layers always.

    Groups repeat at least twice. Of several shortest texts the first in ASCII order is taken.

    Raises:
        ValueError: a symbol is none of `mA`, `M`, `Mb`, or the number of layers is out of range.
    """
    symbols = tuple(pattern)
    if not 1 <= len(symbols) <= MAX_LAYERS:
        raise ValueError(f"{len(symbols)} layers, expected 1 to {MAX_LAYERS}")
    if unknown := sorted(set(symbols) - set(SYMBOLS)):
        raise ValueError(f"unknown symbols {unknown}, expected {', '.join(SYMBOLS)}")
    return _shortest(tuple(_WRITTEN[symbol] for symbol in symbols), {})


def runs_of(pattern: Sequence[str]) -> list[tuple[str, int]]:
    """Neighbouring equal layers counted: `AAM` is [(mA, 2), (M, 1)]."""
    return [(symbol, len(list(group))) for symbol, group in groupby(pattern)]


def _tokens(text: str) -> Iterator[_Token]:
    position = 0
    while position < len(text):
        if text[position] in " \t":
            position += 1
            continue
        match = _TOKEN.match(text, position)
        if match is None:
            raise _error(position, f"{text[position]!a} is no symbol, count, separator or parenthesis")
        assert match.lastgroup is not None, "every alternative of the token pattern is named"
        yield _Token(match.lastgroup, match.group(), position)
        position = match.end()
    yield _Token("end", "", len(text))


def _error(position: int, problem: str) -> NotationError:
    return NotationError(f"Unreadable pattern: character {position + 1}: {problem}.", hint=_HINT)


class _Reader:
    """Recursive descent over the tokens; the last token is always `end`."""

    def __init__(self, tokens: tuple[_Token, ...]) -> None:
        self._tokens, self._next = tokens, 0

    @property
    def _here(self) -> _Token:
        return self._tokens[self._next]

    def read(self) -> Pattern:
        layers = self._pattern(0)
        if self._here.kind != "end":
            raise _error(self._here.position, "')' closes nothing")
        return tuple(layers)

    def _pattern(self, depth: int) -> list[str]:
        layers = self._term(depth)
        while self._here.kind not in {"end", "close"}:
            if self._here.kind == "separator":
                self._next += 1
            start = self._here.position
            layers += self._term(depth)
            _check_length(len(layers), start)
        return layers

    def _term(self, depth: int) -> list[str]:
        start = self._here
        count = self._count() if start.kind == "count" else 1
        token = self._here
        self._next += 1
        if token.kind == "symbol":
            _check_length(count, start.position)
            return [_READ[token.text]] * count
        if token.kind != "open":
            self._next -= 1
            found = "the end" if token.kind == "end" else repr(token.text)
            raise _error(token.position, f"expected a symbol or '(', found {found}")
        if depth == MAX_NESTING:
            raise _error(token.position, f"more than {MAX_NESTING} parentheses inside each other")
        inner = self._pattern(depth + 1)
        if self._here.kind != "close":
            raise _error(token.position, "'(' is never closed")
        self._next += 1
        _check_length(count * len(inner), start.position)
        return inner * count

    def _count(self) -> int:
        token = self._here
        if token.text.startswith("0"):
            raise _error(token.position, f"{token.text!r} is no count, expected a whole number above 0")
        if len(token.text) > len(str(MAX_LAYERS)):
            raise _error(token.position, f"more than {MAX_LAYERS} layers")
        self._next += 1
        return int(token.text)


def _check_length(layers: int, position: int) -> None:
    if layers > MAX_LAYERS:
        raise _error(position, f"{layers} layers up to here, at most {MAX_LAYERS} are read")


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
