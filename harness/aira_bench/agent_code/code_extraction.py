"""Finds the program in a model's answer.

Answers come with fences tagged `python`, `py`, `python3` or nothing, with fences inside docstrings, with prose around
them, or cut off in the middle. Which lines are fences is CommonMark's business, hence markdown-it's. But models close
a block where CommonMark would not, so what counts is the longest span between a fence and a later one that Python can
parse.

Not covered: whether the program does anything. It is parsed here, never run.
"""

import re
from collections.abc import Iterator
from dataclasses import dataclass

from markdown_it import MarkdownIt

from aira_bench.agent_code.syntax import LONGEST_CODE_BYTES, UnreadableCode, parse_any
from aira_bench.excerpts import PLAN_CHARS

_BLOCKS = MarkdownIt("zero").enable(["code", "fence"])
_BLOCKS.core.ruler.enableOnly(["block"])  # texts are only cut into blocks; a program's characters stay as they are
_TAG = re.compile(r"[A-Za-z0-9_+.-]*+")
_TAGS = {"", "python", "py", "python3", "py3"}
_MOST_FENCES = 60
_DEEPEST = 3


@dataclass(frozen=True)
class Extracted:
    """Code and the prose before it, or the reason there is none; the reason is worded for the model."""

    code: str
    plan: str
    problem: str = ""


@dataclass(frozen=True)
class _Fence:
    """A line that opens or closes a block, as CommonMark has it."""

    line: int
    tag: str = ""
    dedented: str = ""
    """What the block that begins here holds, without the indentation of its fence."""


def extract_code(answer: str) -> Extracted:
    """Return the longest Python program of an answer."""
    text = answer.replace("\r\n", "\n")
    lines = text.split("\n")
    outer = [fence for block in _blocks(text, 0) for fence in block]
    if len(outer) > _MOST_FENCES:
        return _no_code(f"The answer holds {len(outer)} code fences; give exactly one block.")
    fences = sorted({fence.line: fence for fence in (*_inner_fences(outer, _DEEPEST), *outer)}.values(), key=_line)
    programs = list(_programs(lines, fences[:_MOST_FENCES]))
    if programs:
        start, _, code = max(programs, key=lambda found: (found[1] - found[0], -found[0]))
        return _checked(code, _plan(lines[:start]))
    if not outer:
        code = answer.strip("\n")
        whole_program = "\n" in code and _syntax_problem(code) is None
        return _checked(code, "") if whole_program else _no_code("The answer holds no fenced code block.")
    return _no_code(_why_no_program(lines, [fence.line for fence in outer]))


def _line(fence: _Fence) -> int:
    return fence.line


def _blocks(text: str, begin: int) -> Iterator[tuple[_Fence, ...]]:
    """The fences of each block of a text that begins at a line of the answer: one that opens, one that closes it."""
    for token in _BLOCKS.parse(text if text.endswith("\n") else text + "\n"):
        if token.type == "fence" and token.map is not None:
            first, after = token.map
            tag = _TAG.match(token.info.strip())
            opening = _Fence(begin + first, tag[0].lower() if tag else "", token.content)
            closed = token.content.count("\n") == after - first - 2
            yield (opening, _Fence(begin + after - 1)) if closed else (opening,)


def _inner_fences(fences: list[_Fence], deepest: int) -> Iterator[_Fence]:
    """Fences inside blocks: what one that was never closed swallowed, and what a program has in its docstrings."""
    for fence in fences if deepest else ():
        inner = [found for block in _blocks(fence.dedented, fence.line + 1) for found in block]
        yield from _inner_fences(inner, deepest - 1)
        yield from inner


def _programs(lines: list[str], fences: list[_Fence]) -> Iterator[tuple[int, int, str]]:
    """For each fence with a tag of Python's, its line, that of the last fence up to which it parses, and the code."""
    for index, opening in enumerate(fences):
        if opening.tag in _TAGS:
            for closing in reversed(fences[index + 1 :]):
                code = _first_program(lines, opening, closing) if closing.tag == "" else None
                if code is not None:
                    yield opening.line, closing.line, code
                    break


def _first_program(lines: list[str], opening: _Fence, closing: _Fence) -> str | None:
    """The lines between two fences as they are, else without their fence's indentation, if that is a program."""
    body = lines[opening.line + 1 : closing.line]
    dedented = opening.dedented.removesuffix("\n")
    for code in ("\n".join(body), dedented if dedented.count("\n") == len(body) - 1 else ""):
        if code.strip() and _syntax_problem(code) is None:
            return code
    return None


def _why_no_program(lines: list[str], fences: list[int]) -> str:
    if len(fences) % 2 == 1:
        return "The code block is not closed: the answer was cut off or the closing fence is missing."
    body = "\n".join(line for number, line in enumerate(lines) if number > fences[0] and number not in fences)
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


def _plan(lines: list[str]) -> str:
    return " ".join(" ".join(lines).split())[:PLAN_CHARS]


def _no_code(problem: str) -> Extracted:
    return Extracted("", "", problem)
