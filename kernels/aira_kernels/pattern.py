"""Patterns of layers in compact notation, of any length: `5(2A-M)-A` is AAM five times, then A.

    pattern   = term, {["-" | "+" | ","], term};
    term      = [count], (symbol | "(", pattern, ")");      count from 1, symbol A, mA, M, Mb or S

Blanks are free between tokens; A is mA, S is Mb. The host reads the same notation with code of its own, since it
imports nothing that judges run; a test holds the two together. Not covered: writing the notation.
"""

import re

from aira_kernels.architecture import Architecture

MAX_LAYERS = 1024
MAX_NESTING = 32

_SYMBOLS = {"A": "mA", "mA": "mA", "M": "M", "Mb": "Mb", "S": "Mb"}
_TOKEN = re.compile(r"[ \t]*(?:(?P<count>[1-9][0-9]{0,3})|(?P<symbol>mA|Mb|[AMS])|(?P<mark>[-+,()]))")


class PatternError(ValueError):
    """The text is no pattern; the message says where, counted from 1."""


def parse_pattern(text: str) -> Architecture:
    """Expand a pattern into symbols of `mA`, `M`, `Mb`, one a layer, first layer first.

    Raises:
        PatternError: naming the character, or more than 1,024 layers.
    """
    layers, position = _terms(text, 0, 0)
    if text[position:].strip(" \t"):
        raise PatternError(f"character {position + 1}: ')' closes nothing")
    return tuple(layers)


def _terms(text: str, position: int, depth: int) -> tuple[list[str], int]:
    """Terms up to the end or a closing parenthesis, and where that stands."""
    layers: list[str] = []
    while True:
        added, position = _term(text, position, depth)
        layers += added
        if len(layers) > MAX_LAYERS:
            raise PatternError(f"character {position}: more than {MAX_LAYERS} layers")
        kind, token, after = _token(text, position)
        if kind == "end" or token == ")":
            return layers, position
        if kind == "mark" and token != "(":
            position = after


def _term(text: str, position: int, depth: int) -> tuple[list[str], int]:
    kind, token, after = _token(text, position)
    count = 1
    if kind == "count":
        count, position = int(token), after
        kind, token, after = _token(text, position)
    if kind == "symbol":
        inner = [_SYMBOLS[token]]
    elif token == "(" and depth < MAX_NESTING:
        inner, position = _terms(text, after, depth + 1)
        _, token, after = _token(text, position)
        if token != ")":
            raise PatternError(f"character {position + 1}: expected ')'")
    else:
        found = f"more than {MAX_NESTING} parentheses" if token == "(" else repr(token) if token else "the end"
        raise PatternError(f"character {position + 1}: expected a symbol or '(', found {found}")
    if count * len(inner) > MAX_LAYERS:
        raise PatternError(f"character {position + 1}: more than {MAX_LAYERS} layers")
    return inner * count, after


def _token(text: str, position: int) -> tuple[str, str, int]:
    """Kind, text and end of the token at a position; kind `end` past the last one."""
    match = _TOKEN.match(text, position)
    if match is not None and match.lastgroup is not None:
        return match.lastgroup, match[match.lastgroup], match.end()
    if rest := text[position:].lstrip(" \t"):
        raise PatternError(f"character {len(text) - len(rest) + 1}: {rest[0]!a} is no symbol, count or separator")
    return "end", "", len(text)
