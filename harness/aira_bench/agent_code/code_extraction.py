"""Finds the program in a model's answer.

What a model thought is cut off first (`reasoning`). Of the programs that are left, one whose block is tagged as Python
beats one whose block is not, and among those the last is meant: models draft, then correct themselves.

Which lines are fences is CommonMark's business, hence markdown-it. A block ends at the first fence up to which it is
Python, since a program may hold fences in its texts. Where that finds no tagged program, fences are looked for as
models write them beside the rules: glued to a tag, to code or to prose, in lists and quotes (`loose_fences`). Odd
blanks are made plain in a program that is none with them.

Not covered: whether the program does anything. It is parsed here, never run.
"""

import re
from collections.abc import Iterator, Sequence
from dataclasses import dataclass

from markdown_it import MarkdownIt

from aira_bench.agent_code.loose_fences import Fence, find_loose_fences, is_python, unquoted
from aira_bench.agent_code.reasoning import has_tag, last_channel, without_reasoning
from aira_bench.agent_code.syntax import LONGEST_CODE_BYTES, UnreadableCode, parse_any
from aira_bench.excerpts import NAME_CHARS, PLAN_CHARS

_BLOCKS = MarkdownIt("zero").enable(["code", "fence"])
_BLOCKS.core.ruler.enableOnly(["block"])  # texts are only cut into blocks; a program's characters stay as they are
_MOST_FENCES = 60
_DEEPEST = 3
_FENCE_LINE = re.compile(r"[ \t\xa0\ufeff\u200b]*+(?:`{3}|~{3})[^\n]*")
_NO_WIDTH = re.compile("[\ufeff\u200b\u200c\u200d\u2060]")
_BLANK = re.compile("[\xa0\u1680\u2000-\u200a\u202f\u205f\u3000]")
_INDENTATION = re.compile(r"^\s+", re.MULTILINE)


@dataclass(frozen=True)
class Extracted:
    """Code and the prose before it, or the reason there is none; the reason is worded for the model."""

    code: str
    plan: str
    problem: str = ""


@dataclass(frozen=True)
class _Program:
    """A block that is Python: the line of its fence, and the tag."""

    first: int
    tag: str
    code: str


@dataclass(frozen=True)
class _Found:
    """The program that is meant among some blocks, what stands before it, and how many blocks are tagged."""

    code: str
    before: str
    tagged: int


def extract_code(answer: str) -> Extracted:
    """Return the program that an answer means to give."""
    answer = answer.replace("\r\n", "\n").lstrip("\ufeff")
    text = last_channel(answer)
    rest = without_reasoning(text)
    if rest != answer:
        for more in (text, without_reasoning(text, first_alone=True)):
            found = _extract(more)
            if has_tag(found.code):  # what looks like a tag is a text of the program
                return found
        if not rest.strip():
            return _no_code("The answer is reasoning alone; give the program after it.")
    return _extract(rest)


def _extract(text: str) -> Extracted:
    if not text.strip():
        return _no_code("The answer is empty.")
    lines = text.split("\n")
    outer = list(_outer_fences(text))
    if len(outer) > _MOST_FENCES:
        return _no_code(f"The answer holds {len(outer)} code fences; give exactly one block.")
    fences = sorted({fence.line: fence for fence in (*_inner_fences(outer, _DEEPEST), *outer)}.values(), key=_line)
    strict = _found(lines, fences[:_MOST_FENCES])
    loosely = _found(*find_loose_fences(text, _MOST_FENCES))
    # Fences beside the rules count where they show a tagged block that the rules hide, and that no program quotes.
    hidden = loosely.tagged > strict.tagged and loosely.code not in strict.code
    found = loosely if hidden or not strict.code else strict
    if found.code:
        return _checked(found.code, _plan(without_reasoning(found.before)))
    if not outer:
        whole_program = "\n" in text.strip("\n") and _as_program(text.strip("\n"))
        return _checked(whole_program, "") if whole_program else _no_code("The answer holds no fenced code block.")
    return _no_code(_why_no_program(lines, outer))


def _line(fence: Fence) -> int:
    return fence.line


def _outer_fences(text: str) -> Iterator[Fence]:
    """The fences of the blocks of an answer."""
    plain = (
        _FENCE_LINE.sub(lambda line: _BLANK.sub(" ", _NO_WIDTH.sub("", line[0])), text) if not text.isascii() else text
    )
    return (fence for block in _blocks(plain, 0) for fence in block)


def _blocks(text: str, begin: int) -> Iterator[tuple[Fence, ...]]:
    """The fences of each block of a text that begins at a line of the answer: one that opens, one that closes it."""
    for token in _BLOCKS.parse(text if text.endswith("\n") else text + "\n"):
        if token.type == "fence" and token.map is not None:
            first, after = token.map
            opening = Fence(begin + first, token.markup[0], token.info.strip(), opens=True, content=token.content)
            closed = token.content.count("\n") == after - first - 2
            yield (opening, Fence(begin + after - 1, token.markup[0])) if closed else (opening,)


def _inner_fences(fences: list[Fence], deepest: int) -> Iterator[Fence]:
    """Fences inside blocks: what one that was never closed swallowed, and what a program has in its docstrings."""
    for fence in fences if deepest else ():
        inner = [found for block in _blocks(fence.content, fence.line + 1) for found in block]
        yield from _inner_fences(inner, deepest - 1)
        yield from inner


def _found(lines: list[str], fences: Sequence[Fence]) -> _Found:
    """The program that is meant: a block that a fence opens, before what merely stands behind a closing one."""
    for opens in (True, False):
        programs = list(_programs(lines, fences, opens=opens))
        if programs:
            tagged = [found for found in programs if found.tag]
            meant = (tagged or programs)[-1]
            return _Found(meant.code, "\n".join(lines[: meant.first]), len(tagged))
    return _Found("", "", 0)


def _programs(lines: list[str], fences: Sequence[Fence], *, opens: bool) -> Iterator[_Program]:
    """The blocks that are Python, none inside another, in order."""
    after = -1
    for index, opening in enumerate(fences):
        if opening.opens != opens or opening.line <= after or (opening.info and not is_python(opening.info)):
            continue
        for closing in fences[index + 1 :]:
            code = None if closing.info or closing.mark != opening.mark else _between(lines, opening, closing)
            if code is not None:
                after = closing.line - (not opens)  # a fence that merely stands there may stand for the next as well
                yield _Program(opening.line, opening.info, code)
                break


def _between(lines: list[str], opening: Fence, closing: Fence) -> str | None:
    """The program between two fences: the lines as they are, else without marks of quotes and their own indentation."""
    body = lines[opening.line + 1 : closing.line]
    if opening.quoted:
        body = [unquoted(line) for line in body]
    as_it_is = _as_program("\n".join(body))
    first = next((line for line in body if line.strip()), "")
    indentation = len(first) - len(first.lstrip())
    if as_it_is is not None or not indentation:
        return as_it_is
    return _as_program("\n".join(line[:indentation].lstrip() + line[indentation:] for line in body))


def _as_program(code: str) -> str | None:
    """`code` if it is Python; else what it is with plain blanks, in its indentation or everywhere, if that is."""
    spellings = [code]
    if not code.isascii():
        bare = _NO_WIDTH.sub("", code)
        spellings += [bare, _INDENTATION.sub(lambda blanks: _BLANK.sub(" ", blanks[0]), bare), _BLANK.sub(" ", bare)]
    for spelling in dict.fromkeys(spellings):
        if spelling.strip() and _syntax_problem(spelling) is None:
            return spelling
    return None


def _why_no_program(lines: list[str], fences: list[Fence]) -> str:
    """The reason, of the block that was most likely meant."""
    opening = [fence for fence in fences if fence.opens]
    meant = [fence for fence in opening if is_python(fence.info)] or [fence for fence in opening if not fence.info]
    if not meant:
        tags = ", ".join(dict.fromkeys(fence.info.split()[0] for fence in opening))[:NAME_CHARS]
        return f"No code block is tagged python: there is one of {tags}."
    at = fences.index(meant[-1])
    if at + 1 == len(fences):
        return "The code block is not closed: the answer was cut off or the closing fence is missing."
    body = "\n".join(lines[meant[-1].line + 1 : fences[at + 1].line])
    return f"The code block is not valid Python: {_syntax_problem(body) or 'it is empty'}."


def _syntax_problem(code: str) -> str | None:
    try:
        parse_any(code)
    except UnreadableCode as error:
        return str(error)
    return None


def _checked(code: str, plan: str) -> Extracted:
    if len(code.encode("utf-8", "replace")) > LONGEST_CODE_BYTES:
        return _no_code(f"The program is longer than {LONGEST_CODE_BYTES} bytes.")
    return Extracted(code.encode("utf-8", "replace").decode() + "\n", plan)


def _plan(text: str) -> str:
    return " ".join(text.split())[:PLAN_CHARS]


def _no_code(problem: str) -> Extracted:
    return Extracted("", "", problem)
