"""Finds the program in a model's answer.

Answers come with fences tagged `python`, `py`, `python3` or nothing, with fences inside docstrings, with prose around
them, or cut off in the middle. What counts is the longest span between a fence and a later one that Python can parse.

Not covered: whether the program does anything. It is parsed here, never run.
"""

import re
from dataclasses import dataclass

from aira_bench.agent_code.syntax import LONGEST_CODE_BYTES, UnreadableCode, parse_any
from aira_bench.excerpts import PLAN_CHARS

_FENCE = re.compile(r"[ \t]{0,3}+(`{3,}+|~{3,}+)[ \t]*+([A-Za-z0-9_+.-]*+)[^`]*+")
_TAGS = {"", "python", "py", "python3", "py3"}
_MOST_FENCES = 60


@dataclass(frozen=True)
class Extracted:
    """Code and the prose before it, or the reason there is none; the reason is worded for the model."""

    code: str
    plan: str
    problem: str = ""


def extract_code(answer: str) -> Extracted:
    """The longest Python program of an answer."""
    lines = answer.replace("\r\n", "\n").split("\n")
    fences = [(number, match) for number, line in enumerate(lines) if (match := _FENCE.fullmatch(line))]
    if len(fences) > _MOST_FENCES:
        return _no_code(f"The answer holds {len(fences)} code fences; give exactly one block.")
    spans = _closed_spans(lines, [(number, match[2].lower()) for number, match in fences])
    if spans:
        start, end = max(spans, key=lambda span: (span[1] - span[0], -span[0]))
        return _checked("\n".join(lines[start + 1 : end]), _plan(lines[:start]))
    if not fences:
        code = answer.strip("\n")
        whole_program = "\n" in code and _syntax_problem(code) is None
        return _checked(code, "") if whole_program else _no_code("The answer holds no fenced code block.")
    return _no_code(_why_no_span(lines, fences[0][0], len(fences)))


def _closed_spans(lines: list[str], fences: list[tuple[int, str]]) -> list[tuple[int, int]]:
    """For each opening fence with a tag of Python's, the widest span to a closing one that parses."""
    spans = []
    for index, (start, tag) in enumerate(fences):
        if tag not in _TAGS:
            continue
        for end, closing_tag in reversed(fences[index + 1 :]):
            body = "\n".join(lines[start + 1 : end])
            if closing_tag == "" and body.strip() and _syntax_problem(body) is None:
                spans.append((start, end))
                break
    return spans


def _why_no_span(lines: list[str], first_fence: int, fences: int) -> str:
    body = "\n".join(line for line in lines[first_fence + 1 :] if not _FENCE.fullmatch(line))
    if fences % 2 == 1:
        return "The code block is not closed: the answer was cut off or the closing fence is missing."
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
