"""Answers made of what models write around a program, whose right program is known; and the reasons told without one."""

import ast
import textwrap
import time

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from aira_bench.agent_code.code_extraction import extract_code
from aira_bench.agent_code.edits import apply_answer
from aira_bench.agent_code.reasoning import without_reasoning

PROGRAM = "import math\n\nif True:\n    print(math.pi)"
NESTED = 'HELP = """\n```python\nprint(1)\n```\nor\n~~~\nx\n~~~\n"""\nprint(HELP)'
TAGGED = 'import re\nDRAFT = """\n<think>\nno\n</think>\n"""\nprint(re.sub("<think>.*</think>", "", DRAFT))'
DRAFT = "import numpy as np\n\n\ndef draft():\n    return np.zeros(3)\n\n\nprint(draft(), draft(), draft())"
THOUGHTS = [
    "Let me see.",
    f"First:\n```python\n{DRAFT}\n```\nNo, that is wrong.",
    f"First:\n```python\n{DRAFT}\nand then I would",
    f"```\n{DRAFT}\n```",
    "### change: x\n<<<<<<< SEARCH\na\n=======\nb\n>>>>>>> REPLACE",
]
TAGS = ["python", "Python", "py", "python3", "python3.11", "py3.12", "ipython", "tool_code", "{.python}", "train.py",
        "python title=train.py", "python\u00a0"]  # fmt: skip
TEXTS = ["I raise the rate.", "1. First\n2. Then", "Use `x` here.", "> quoted", "| a | b |", "$x = 1$", "a\u00a0b"]


@st.composite
def thoughts(draw: st.DrawFn) -> str:
    """What a server may leave in front of an answer."""
    inside = draw(st.sampled_from(THOUGHTS))
    name = draw(st.sampled_from(["think", "thinking", "reasoning"]))
    return draw(
        st.sampled_from(
            [
                f"<{name}>\n{inside}\n</{name}>\n",
                f"<{name}>{inside}</{name}>\n\n",
                f"{inside}\n</{name}>\n",  # the tag that opens it stood in the prompt
                f"[THINK]{inside}[/THINK]\n",
                f"<|channel|>analysis<|message|>{inside}<|end|><|start|>assistant<|channel|>final<|message|>",
                f"<{name.upper()}>\n{inside}\n</{name.upper()}>",
            ]
        )
    )


@st.composite
def blocks(draw: st.DrawFn) -> tuple[str, str]:
    """A tagged block, and the program in it."""
    program = draw(st.sampled_from([PROGRAM, NESTED, TAGGED, "print(1)"]))
    fence = draw(st.sampled_from(["```", "~~~", "````"]))
    block = f"{fence}{draw(st.sampled_from(TAGS))}\n{program}\n{fence}"
    kind = draw(st.sampled_from(["plain", "plain", "list", "deep list", "quote", "marked"]))
    if program in (NESTED, TAGGED) or kind == "plain":
        return block, program
    if kind == "quote":
        return textwrap.indent(block, "> ", lambda line: True), program
    if kind == "marked":
        return "- " + textwrap.indent(block, "  ")[2:], program
    return textwrap.indent(block, "   " if kind == "list" else "      "), program


others = st.sampled_from(
    ["```bash\npip install x\n```", '```json\n{"a": 1}\n```', "```\n0.93\n```", "```text\nloss\n```", "~~~sh\nls\n~~~"]
)
earlier = others | st.sampled_from(
    [f"```python\n{DRAFT}\n```", f"```\n{DRAFT}\n```", "```python\nthis is no program\n```"]
)


@given(
    st.booleans(),
    st.none() | thoughts(),
    st.lists(st.sampled_from(TEXTS) | earlier, max_size=3),
    blocks(),
    st.lists(st.sampled_from(TEXTS) | others, max_size=2),
    st.sampled_from(["\n", "\r\n"]),
)
@settings(max_examples=400, deadline=None)
def test_the_program_that_is_meant_is_found(
    marked: bool, thought: str | None, before: list[str], block: tuple[str, str], after: list[str], end: str
) -> None:
    """It is the last that is tagged, outside of all reasoning, whatever stands around it."""
    body = "\n\n".join([*before, block[0], *after])
    found = extract_code("\ufeff" * marked + ((thought or "") + body).replace("\n", end))
    assert found.code == block[1] + "\n"
    assert "draft" not in found.plan or "draft" in "".join(before)


@pytest.mark.parametrize(
    "answer",
    [
        f"```python{PROGRAM}\n```",
        f"Here it is:```python\n{PROGRAM}\n```",
        f"```python\n{PROGRAM}```",
        f"```bash\nls\n``````python\n{PROGRAM}\n```",
        f"The file: ```py\n{PROGRAM}``` Done",
        f"1. Do this:\n\n     ```python\n{textwrap.indent(PROGRAM, '     ')}\n     ```",
        f"- ```python\n{textwrap.indent(PROGRAM, '  ')}\n  ```",
        f"> ```python\n{textwrap.indent(PROGRAM, '> ', lambda line: True)}\n> ```",
        f"\ufeff```python\n{PROGRAM}\n```",
        f"```python\n\ufeff{PROGRAM}\n```",
        f"\u00a0```python\n{PROGRAM}\n```\u00a0",
        f"```python\n{PROGRAM.replace('    ', chr(160) * 4)}\n```",
        f"```python\n{PROGRAM.replace(' ', chr(160))}\n```",
        f"```python\n{PROGRAM.replace('True', 'True' + chr(0x200b))}\n```",
        f"```\n{PROGRAM}\n```\nThe output:\n```text\n3.14\n```",
        f"```bash\nls\n```\nthen\n```\n{PROGRAM}\n```\nfine",
    ],
    ids=ascii,
)  # fmt: skip
def test_fences_and_blanks_beside_the_rules_hide_no_program(answer: str) -> None:
    if "``` Done" in answer:
        answer = answer.replace("``` Done", "\n```\nDone")
    assert extract_code(answer).code == PROGRAM + "\n"


def test_a_block_on_one_line_is_a_program() -> None:
    assert extract_code("Do ```python print(1)```").code + extract_code("```python print(1)```").code == "print(1)\n"


def test_blanks_of_a_text_stay_where_the_program_is_one_with_them() -> None:
    program = "x = 'a\u00a0b \ufeff \u200b'"
    assert extract_code(f"```python\n{program}\n```").code == program + "\n"


def test_a_tagged_block_beats_an_untagged_one_and_the_last_beats_the_longest() -> None:
    assert extract_code(f"```python\n{PROGRAM}\n```\nIt prints\n```\n3.14\n```").code == PROGRAM + "\n"
    assert extract_code(f"```python\n{DRAFT}\n```\nBetter:\n```python\n{PROGRAM}\n```").code == PROGRAM + "\n"
    assert extract_code(f"```\n{DRAFT}\n```\nBetter:\n```\n{PROGRAM}\n```").code == PROGRAM + "\n"


@pytest.mark.parametrize(
    ("answer", "reason"),
    [
        (f"<think>\n```python\n{DRAFT}\n```", "reasoning alone"),
        (f"<think>\n```python\n{DRAFT}\n```\n</think>", "reasoning alone"),
        (f"<think>\n```python\n{DRAFT}\n```\n</think>\nSo be it.", "holds no fenced code block"),
        (f"<|channel|>analysis<|message|>```python\n{DRAFT}\n```", "reasoning alone"),
        ("```python\nx = (\n```\nand\n```bash\nls", "line 1: '(' was never closed"),
        ("Output:\n```\nloss 0.3\n```\n```python\ndef f(:\n```", "line 1: invalid syntax"),
        ("```bash\nls\n```\n```json\n{}\n```", "tagged python: there is one of bash, json"),
        ("```python\n" + "x = 1\n" * 50_000 + "```", "longer than 262144 bytes"),
        (" \n", "is empty"),
    ],
    ids=lambda text: ascii(text)[:60],
)
def test_the_reason_that_is_told_is_the_true_one(answer: str, reason: str) -> None:
    found = extract_code(answer)
    assert (found.code, reason in found.problem) == ("", True), found


def test_edits_inside_reasoning_are_none_of_the_answer() -> None:
    block = "### change: {0}\n<<<<<<< SEARCH\nx = 1\n=======\nx = {0}\n>>>>>>> REPLACE\n"
    edited = apply_answer("x = 1\n", f"<think>\n{block.format(2)}</think>\n{block.format(3)}")
    assert (edited.code, [change.name for change in edited.changes]) == ("x = 3\n", ["3"])


@pytest.mark.parametrize(
    "part", ["<think>", "</think>", "<think></think>\n", "[/THINK]\n", "<|channel|>final<|message|>", "`<think>` "]
)
def test_hostile_reasoning_takes_little_time(part: str) -> None:
    started_s = time.process_time()
    without_reasoning(part * (300_000 // len(part)))
    extract_code(part * (300_000 // len(part)))
    assert time.process_time() - started_s < 5, "on an idle machine none takes a second"


@given(
    st.lists(
        st.sampled_from(["<think>", "</think>", "\n", "```python", "```", "x = 1", "'''", "> ", "- "]), max_size=24
    )
)
@settings(max_examples=300, deadline=None)
def test_any_mixture_gives_a_program_that_parses_or_a_reason(parts: list[str]) -> None:
    found = extract_code("".join(parts))
    assert bool(found.code) != bool(found.problem)
    if found.code:
        ast.parse(found.code)
