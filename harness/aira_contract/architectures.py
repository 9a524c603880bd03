"""The language of architectures: primitive symbols, sixteen unless a task says otherwise, and their one-row CSV.

A layer is a symbol of `primitives`, such as `mA`. Two spellings are read: symbols separated by `,` or by `-`, and
compact letters such as `A` between which spaces are free. The canonical form is the symbols joined by commas; it names
the architecture in caches and reports.

Written by agents; read by the evaluator, which has the say over what a submission is. The host writes canonical forms
and knows a few spellings by itself, for look-ups only (docs/decisions/0002). Every pattern is matched in time linear in
its input. Not covered: general CSV. The reader knows one header and one row, because a lenient reader of agent-written
bytes is an attack surface.
"""

import re
from collections.abc import Sequence

from aira_contract.primitives import BY_LETTER, BY_SYMBOL, SYMBOLS

LAYERS = 16
MAX_SUBMISSION_BYTES = 4096

Architecture = tuple[str, ...]

_PLAIN_NAME = re.compile(r"[A-Za-z][A-Za-z0-9_]{0,63}")
_LETTERS = "".join(sorted(BY_LETTER))
_COMPACT = re.compile(rf"[{_LETTERS} ]*[{_LETTERS}][{_LETTERS} ]*")
_SPELT = [
    letter if letter == BY_LETTER[letter].symbol else f"{letter} ({BY_LETTER[letter].symbol})" for letter in _LETTERS
]
_LETTERS_IN_WORDS = f"{', '.join(_SPELT[:-1])} or {_SPELT[-1]}"
_SHOWN_CHARACTERS = 24


class SubmissionError(ValueError):
    """The submission cannot be read as an architecture; the message is one printable line."""


def parse_architecture(text: str, primitives: Sequence[str] = SYMBOLS, layers: int = LAYERS) -> Architecture:
    """Read one architecture in either spelling.

    Args:
        text: such as `AMAMAMAM AMAMAMAM`, `mA,M,mA,M,...` or `mA-M-mA-M-...`.
        primitives: the symbols the task admits.
        layers: the exact number of layers.

    Returns:
        The canonical tuple of symbols, one a layer.

    Raises:
        SubmissionError: naming the layer and what stands there.
    """
    symbols = read_symbols(text)
    for position, symbol in enumerate(symbols, start=1):
        if symbol not in primitives:
            allowed = ", ".join(primitives)
            raise SubmissionError(f"layer {position}: {symbol} is not among this task's primitives {allowed}")
    if len(symbols) != layers:
        raise SubmissionError(f"{len(symbols)} layers found, expected exactly {layers}")
    return symbols


def canonical(architecture: Sequence[str]) -> str:
    """Return the symbols joined by commas, for example `mA,M,mA,M`."""
    return ",".join(architecture)


def compact(architecture: Sequence[str]) -> str:
    """One letter a layer (A for mA, S for Mb), for tables and plots."""
    return "".join(BY_SYMBOL[symbol].letter for symbol in architecture)


def parse_submission(data: bytes, primitives: Sequence[str] = SYMBOLS, layers: int = LAYERS) -> Architecture:
    """Read the bytes of a `submission.csv`: one header line, one row.

    The header is a single plain name such as `architecture`, or the columns `layer_1,...,layer_16`. Lines end
    in LF or CRLF; the last line end may be missing. The cell may stand in double quotes.

    Args:
        data: the file's bytes, at most 4 KiB, strict ASCII.
        primitives: the symbols the task admits.
        layers: the exact number of layers.

    Returns:
        The canonical tuple of symbols, one a layer.

    Raises:
        SubmissionError: one line naming what is wrong and where.
    """
    header, row = _two_lines(data)
    if _names_every_layer(header, layers):
        return _parse_columns(row, primitives, layers)
    name = _unquoted(header, 1)
    if _is_architecture(name):
        raise SubmissionError("line 1: header expected, found an architecture")
    if _PLAIN_NAME.fullmatch(name) is None:
        raise SubmissionError(
            f"line 1: expected a header such as 'architecture' or the columns layer_1..layer_{layers}, "
            f"found {_shown(header)}"
        )
    cell = _unquoted(row, 2)
    try:
        return parse_architecture(cell, primitives, layers)
    except SubmissionError as error:
        raise SubmissionError(f"line 2: {error}") from None


def read_symbols(text: str) -> Architecture:
    """Read an architecture of any primitives and any number of layers, in either spelling.

    Raises:
        SubmissionError: naming what stands where no primitive may.
    """
    if not text.strip(" "):
        raise SubmissionError("the architecture is empty")
    if _COMPACT.fullmatch(text) is not None:
        return tuple(BY_LETTER[letter].symbol for letter in text if letter != " ")
    if "," in text and "-" in text:
        raise SubmissionError("layers are separated by ',' or by '-', not by both")
    tokens = [token.strip(" ") for token in text.split("," if "," in text else "-")]
    if len(tokens) == 1 and tokens[0] not in SYMBOLS:
        return _unreadable_compact(text)
    for position, token in enumerate(tokens, start=1):
        if token not in SYMBOLS:
            known = ", ".join(SYMBOLS)
            raise SubmissionError(f"layer {position}: unknown primitive {_shown(token)}, expected one of {known}")
    return tuple(tokens)


def _unreadable_compact(text: str) -> Architecture:
    position = next(index for index, letter in enumerate(text) if letter not in f"{_LETTERS} ")
    raise SubmissionError(
        f"character {position + 1}: {_shown(text[position])} is not a compact letter; "
        f"expected {_LETTERS_IN_WORDS}, or symbols separated by commas"
    )


def _is_architecture(text: str) -> bool:
    try:
        read_symbols(text)
    except SubmissionError:
        return False
    return True


def _two_lines(data: bytes) -> tuple[str, str]:
    if len(data) > MAX_SUBMISSION_BYTES:
        raise SubmissionError(f"the file has {len(data)} bytes, at most {MAX_SUBMISSION_BYTES} are allowed")
    try:
        text = data.decode("ascii")
    except UnicodeDecodeError as error:
        raise SubmissionError(f"byte {error.start + 1}: 0x{data[error.start]:02x} is not ASCII") from None
    lines = [line.removesuffix("\r") for line in text.removesuffix("\n").split("\n")]
    if lines == [""]:
        raise SubmissionError("the file is empty, expected one header line and one row")
    if len(lines) == 1 and _is_architecture(_unquoted(lines[0], 1)):
        raise SubmissionError("line 1: header expected, found an architecture")
    if len(lines) != 2:
        raise SubmissionError(f"{len(lines)} lines found, expected exactly 2: one header line and one row")
    for number, line in enumerate(lines, start=1):
        if not line.isprintable():
            raise SubmissionError(f"line {number}: unprintable character in {_shown(line)}")
    return lines[0], lines[1]


def _names_every_layer(header: str, layers: int) -> bool:
    cells = header.split(",")
    names = [f"layer_{index}" for index in range(1, layers + 1)]
    return len(cells) == layers and all(cell in (name, f'"{name}"') for cell, name in zip(cells, names, strict=True))


def _parse_columns(row: str, primitives: Sequence[str], layers: int) -> Architecture:
    cells = [_unquoted(cell, 2) for cell in row.split(",")]
    if len(cells) != layers:
        raise SubmissionError(f"line 2: {len(cells)} cells found, expected {layers} as in the header")
    symbols = [BY_LETTER[cell].symbol if cell in BY_LETTER else cell for cell in cells]
    try:
        return parse_architecture(canonical(symbols), primitives, layers)
    except SubmissionError as error:
        raise SubmissionError(f"line 2: {error}") from None


def _unquoted(cell: str, line: int) -> str:
    inner = cell[1:-1] if len(cell) >= 2 and cell[0] == cell[-1] == '"' else cell
    if '"' in inner:
        raise SubmissionError(f"line {line}: unbalanced double quote in {_shown(cell)}")
    return inner


def _shown(text: str) -> str:
    clipped = text if len(text) <= _SHOWN_CHARACTERS else text[:_SHOWN_CHARACTERS] + "..."
    return ascii(clipped)
