"""Text of strangers made safe to show: one function for each medium.

Records keep what was said; it is escaped where it is shown. Whatever a terminal, an editor or a reader would act on
instead of showing it is spelt out: control characters, escape sequences, direction overrides, characters without
width, halves of surrogate pairs, and accents piled higher than three. All functions leave plain text as it is and
change nothing that they have made.

Not covered: characters that look like others, and whether a text is true. JSON needs no function of its own: it is
always written as ASCII, which spells everything out.
"""

import html
import json
import re
import unicodedata
from typing import Any

CELL_CHARS = 2000
"""Of one value, what is shown at most."""
_UNSHOWN = {"Cc", "Cf", "Cs", "Co", "Cn", "Zl", "Zp"}
_BLANK = {
    0x034F,
    0x115F,
    0x1160,
    0x17B4,
    0x17B5,
    0x2800,
    0x3164,
    0xFFA0,
    *range(0xFE00, 0xFE10),
    *range(0x180B, 0x1810),
}
_BLANK_PLANE = range(0xE0100, 0xE01F0)
_KEPT = {"\n", "\t"}
_MOST_ACCENTS = 3
_FORMULA = ("=", "+", "-", "@", "\t", "\r", "\n", "\uff1d", "\uff0b", "\uff0d", "\uff20")
"""What makes a spreadsheet calculate, blanks before it aside; the last four are the wide forms."""
_LATER_CELL = re.compile(r"(;\s*)(?=[=+\-@\uff1d\uff0b\uff0d\uff20])")
"""The same behind a semicolon, at which spreadsheets of many languages part cells."""
_TEX = {
    "\\": r"\textbackslash{}", "{": r"\{", "}": r"\}", "$": r"\$", "&": r"\&", "#": r"\#", "_": r"\_", "%": r"\%",
    "^": r"\textasciicircum{}", "~": r"\textasciitilde{}", "<": r"\textless{}", ">": r"\textgreater{}",
    "|": r"\textbar{}", '"': r"{\char34}", "'": r"{\char39}", "`": r"{\char96}", "[": "{[}", "]": "{]}", "*": "{*}",
}  # fmt: skip
"""What TeX acts on instead of showing it: its own characters, and what means something behind the end of a row."""
_MARKUP = re.compile(r"[|`<>\[\]*~\\@]|://|(?<![a-zA-Z0-9])www\.", re.IGNORECASE)


class _Spellings(dict[int, str]):
    """For `str.translate`: each character's spelling, worked out once."""

    def __init__(self, kept: set[str]) -> None:
        super().__init__()
        self._kept = kept

    def __missing__(self, code: int) -> str:
        character = chr(code)
        blank = code in _BLANK or code in _BLANK_PLANE
        plain = character in self._kept or not (blank or unicodedata.category(character) in _UNSHOWN)
        self[code] = character if plain else _spelt(character)
        return self[code]


_TEXT, _LINE = _Spellings(_KEPT), _Spellings(set())


def printable(data: bytes | str) -> str:
    """Text of several lines: bytes that are no UTF-8 and characters that are not shown become visible escapes."""
    text = data.decode("utf-8", "backslashreplace") if isinstance(data, bytes) else data
    return _flat(text.replace("\r\n", "\n").translate(_TEXT))


def one_line(value: object, limit: int = CELL_CHARS) -> str:
    """Return what a terminal shows of one value: a single line of at most `limit` characters, how many are missing
    said.
    """
    text = str(value)
    shown = _flat(text[: limit + 1].translate(_LINE))
    if len(shown) <= limit:
        return shown
    mark = f" [... of {len(text)} characters]"
    return shown[: limit - len(mark)] + mark


def markdown(value: object) -> str:
    """One value in a table cell or a heading of Markdown; nothing in it is markup, a link or a mention."""
    return _MARKUP.sub(lambda found: "".join(_entity(character) for character in found[0]), one_line(value))


def csv_cell(value: object) -> object:
    """One value of a CSV file: numbers and None as they are, and no text that a spreadsheet takes for a formula."""
    if value is None or isinstance(value, int | float):
        return value
    text = _LATER_CELL.sub(r"\1'", one_line(value))
    return f"'{text}" if text.lstrip().startswith(_FORMULA) else text


def xml_text(value: object) -> str:
    """Text or an attribute of SVG, HTML or XML. Entities that are there already stay."""
    return re.sub(r"&amp;(?=(?:amp|lt|gt|quot|#x27);)", "&", html.escape(one_line(value)))


def latex(value: object) -> str:
    """One value in a cell of a LaTeX table: nothing in it is a command, a comment, math or a new cell."""
    return "".join(_TEX.get(character, character) for character in one_line(value))


def json_text(value: Any, indent: int | None = 2) -> str:  # noqa: ANN401
    """JSON in ASCII, so that a terminal can be shown it."""
    return json.dumps(value, indent=indent, ensure_ascii=True)


def _spelt(character: str) -> str:
    code = ord(character)
    return f"\\x{code:02x}" if code < 0x100 else f"\\u{code:04x}" if code < 0x10000 else f"\\U{code:08x}"


def _entity(character: str) -> str:
    return character if character.isalpha() or character == "/" else f"&#{ord(character)};"


def _flat(text: str) -> str:
    """Spell out accents above the third on one letter: they would cover other lines."""
    if text.isascii():
        return text
    shown, height = [], 0
    for character in text:
        height = height + 1 if unicodedata.category(character) in {"Mn", "Me"} else 0
        shown.append(character if height <= _MOST_ACCENTS else _spelt(character))
    return "".join(shown)
