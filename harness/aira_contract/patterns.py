"""The notation of layer patterns, of any length: `5(2A-M)-A` stands for AAM AAM AAM AAM AAM A.

    pattern   = term, {[separator], term};
    term      = [count], (symbol | "(", pattern, ")");      count from 1
    symbol    = "A" | "mA" | "M" | "Mb" | "S";              A is mA, S is Mb (`primitives`)
    separator = "-" | "+" | ",";

A count stands before what it repeats. Separators may be left out, so plain strings such as `AMAM AMAM` and run
lengths such as `2A5M` are patterns too; blanks are free between tokens. In memory a pattern is a tuple of symbols
such as `mA`, one a layer, first layer first.

Written by people, and by the host (`aira_bench.scaling.notation`); read by the host and by `aira_kernels.large`.
Not covered: how many layers a task wants, and which symbols. The reader takes 1 to 1,024 layers of all of them.
"""

import re
from collections.abc import Iterator
from dataclasses import dataclass

from aira_contract.primitives import PRIMITIVES

Pattern = tuple[str, ...]

MAX_LAYERS = 1024
MAX_NESTING = 32

_READ = {name: each.symbol for each in PRIMITIVES for name in (each.symbol, each.letter, each.written)}
# Longer names first: `Mb` is no `M` with something behind it.
_NAMES = "|".join(sorted(_READ, key=lambda name: (-len(name), name)))
_TOKEN = re.compile(rf"(?P<count>[0-9]+)|(?P<symbol>{_NAMES})|(?P<open>\()|(?P<close>\))|(?P<separator>[-+,])")


class PatternError(ValueError):
    """The text is no pattern; the message names the character, counted from 1, and what is wrong there."""


@dataclass(frozen=True)
class _Token:
    kind: str
    text: str
    position: int


def read_pattern(text: str) -> Pattern:
    """Expand the notation.

    Args:
        text: such as `2Mb-M-3A` or `2(3A-4(M-A)-5M)`.

    Returns:
        One symbol a layer.

    Raises:
        PatternError: naming the position and what stands there.
    """
    return _Reader(tuple(_tokens(text))).read()


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


def _error(position: int, problem: str) -> PatternError:
    return PatternError(f"character {position + 1}: {problem}")


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
