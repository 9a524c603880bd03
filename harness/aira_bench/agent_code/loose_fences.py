"""Fences as models write them beside the rules of Markdown, and which words after a fence mean Python.

A fence may stand behind a list's mark or a quote's, below a point of a list, at the end of a line of prose or of the
program; its tag may be glued to the first statement, and a whole block may stand on one line.

Not covered: fences by the rules, which `code_extraction` has read by CommonMark.
"""

import re
from dataclasses import dataclass

_PYTHON = re.compile(r"(?:i?python|py)[-_ ]?[23]?(?:\.\d{1,3}){0,2}|ipython\d?|tool_code|\S{1,99}\.py", re.IGNORECASE)
_WORD = re.compile(r"\{?\s?\.?([A-Za-z0-9_+./-]{1,200})")
_TAGS = r"(?:(?:i?python|py)[23]?(?:\.\d{1,3}){0,2}|tool_code)"
_STATEMENT = r"(?:import|from|def|class|async|if|for|while|with|try|print|#|@|\"\"\"|'''|[A-Za-z_]\w{0,60}\s?[=(.])"
_ONE_LINE = re.compile(rf"(?P<fence>`{{3,}}+){_TAGS}[ \t]+(?P<code>[^`\n]{{1,2000}})(?P=fence)[ \t]*", re.IGNORECASE)
_GLUED_TAG = re.compile(rf"(?P<fence>`{{3,}}|~{{3,}}+)(?P<tag>{_TAGS})(?P<code>{_STATEMENT}.*)", re.IGNORECASE)
_TWO_FENCES = re.compile(rf"`{{6,}}+(?P<tag>{_TAGS})[ \t]*+", re.IGNORECASE)
_AFTER_PROSE = re.compile(rf"(?P<prose>[^`\n]{{1,5000}}?)(?P<fence>`{{3,}}+{_TAGS}[ \t]*)", re.IGNORECASE)
_AFTER_CODE = re.compile(r"(?P<code>[^`\n]{1,5000}?)(?P<fence>`{3,}+[ \t]*+)")
_MARKS = re.compile(r"[ \t\xa0]*+(?:(?:[-*+>]|\d{1,3}[.)])[ \t\xa0]*+)*+")
_FENCE = re.compile(r"(?:`{3,}+(?P<info>[^`]*)|~{3,}+(?P<tilde>.*))")
_LONGEST_LINE_CHARS = 5000
_QUOTE = re.compile(r"[ \t]*+>[ \t]?")


@dataclass(frozen=True)
class Fence:
    """A line that opens or closes a block."""

    line: int
    mark: str
    """What it consists of: a backtick or a tilde."""
    info: str = ""
    """What stands behind it; empty for one that closes a block."""
    opens: bool = False
    content: str = ""
    """What the block that begins here holds by CommonMark, for fences inside it."""
    quoted: bool = False
    """Whether the lines of its block begin with a quote's mark."""


def is_python(info: str) -> bool:
    """Whether what stands behind a fence tags its block as Python: `python3.11`, `{.py}`, `ipython`, `train.py`, ..."""
    word = _WORD.match(info)
    return word is not None and _PYTHON.fullmatch(word[1]) is not None


def find_loose_fences(text: str, most: int) -> tuple[list[str], list[Fence]]:
    """Return the lines of an answer, with a line for each fence that was glued to something, and its first fences."""
    lines = [part for line in text.split("\n") for part in _unglued(line)]
    fences: list[Fence] = []
    for number, line in enumerate(lines):
        found = _FENCE.fullmatch(line, _MARKS.match(line).end())  # type: ignore[union-attr]  # it matches nothing, too
        if found is not None and len(fences) < most:
            info = (found["info"] or found["tilde"] or "").strip("\ufeff\u200b \t\xa0")
            fences.append(Fence(number, found[0][0], info, opens=bool(info), quoted=_QUOTE.match(line) is not None))
    return lines, fences


def _unglued(line: str) -> list[str]:
    """The lines that a line was meant to be."""
    if len(line) > _LONGEST_LINE_CHARS or ("```" not in line and "~~~" not in line):
        return [line]
    marks = _MARKS.match(line)
    assert marks is not None
    before, rest = marks[0], line[marks.end() :]
    fence = _FENCE.fullmatch(rest)
    if fence is not None and is_python(fence["info"] or fence["tilde"] or ""):
        return [line]
    if one := _ONE_LINE.fullmatch(rest):
        return [f"{before}{one['fence']}python", one["code"].rstrip(), one["fence"]]
    if glued := _GLUED_TAG.fullmatch(rest):
        return [f"{before}{glued['fence']}{glued['tag']}", *_unglued(glued["code"])]
    if two := _TWO_FENCES.fullmatch(rest):
        return ["```", "```" + two["tag"]]
    for glue in (_AFTER_PROSE, _AFTER_CODE):
        if found := glue.fullmatch(rest):
            return [before + rest[: found.start("fence")].rstrip(), found["fence"].strip()]
    return [line]


def unquoted(line: str) -> str:
    """Return a line without one mark of a quote."""
    return _QUOTE.sub("", line, count=1)
