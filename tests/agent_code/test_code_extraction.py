"""Which lines of an answer are fences, and how much time a hostile one may take."""

import ast
import textwrap
import time

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from aira_bench.agent_code.code_extraction import extract_code

PROGRAM = "import math\n\nprint(math.pi)"
LENGTH = 300_000
"""Characters of the hostile answers: more than any program that is accepted has."""


@pytest.mark.parametrize("indentation", ["", " ", "  ", "   "])
def test_a_block_may_be_indented_with_its_fences(indentation: str) -> None:
    """As models write it below a point of a list."""
    answer = "1. The program:\n\n" + textwrap.indent(f"```python\n{PROGRAM}\n```", indentation)
    assert extract_code(answer).code == PROGRAM + "\n"


def test_lines_stay_as_they_are_where_they_are_a_program() -> None:
    """CommonMark takes the fence's indentation off every line; off this one that would change a text of the program."""
    program = "TEXT = '''\n    four\n'''"
    assert extract_code(f" ```python\n{program}\n ```").code == program + "\n"


def test_four_blanks_make_no_fence() -> None:
    program = "def f():\n    '''\n    ```\n    example\n    ```\n    '''"
    assert extract_code(f"```python\n{program}\n```").code == program + "\n"


def test_a_longer_fence_holds_shorter_ones() -> None:
    program = 'TEXT = """\n```python\nprint(1)\n```\n"""'
    assert extract_code(f"````python\n{program}\n````").code == program + "\n"
    assert extract_code(f"~~~python\n{program}\n~~~").code == program + "\n"


@pytest.mark.parametrize("swallowing", ["```", "```text", "~~~", "````"])
def test_a_fence_that_was_never_closed_swallows_no_program(swallowing: str) -> None:
    answer = f"{swallowing}\nI would raise the rate of learning.\n\n```python\n{PROGRAM}\n```\nThat is all."
    assert extract_code(answer).code == PROGRAM + "\n"


def test_a_tag_is_the_first_word_of_what_follows_the_fence() -> None:
    for info in ("python", "Python title=train.py", "py {.numberLines}", " python3 ", "{.python}"):
        assert extract_code(f"```{info}\n{PROGRAM}\n```").code == PROGRAM + "\n"
    for info in ("bash", "json", "pythonic", "python-repl"):
        assert extract_code(f"```{info}\n{PROGRAM}\n```").code == ""


def test_two_blocks_are_not_joined_to_one() -> None:
    answer = f"```python\n{PROGRAM}\n```\nBut rather:\n```python\n{PROGRAM}\nprint(2)\n```"
    assert extract_code(answer).code == PROGRAM + "\nprint(2)\n"


def test_characters_of_a_program_stay_as_they_are() -> None:
    """A reader of Markdown may replace what it takes for typography, a null, a tab, an entity or a line's end."""
    program = "a = '--- (c) &amp; \\\\ \u2028 \x0c'\nif a:\n\tb = \"...\"\nc = 'caf\u00e9 \U0001f600'"
    assert extract_code(f"```python\n{program}\n```").code == program + "\n"
    assert extract_code("```python\nx = '\x00'\n```").code == ""
    assert extract_code(f"```python\r\n{PROGRAM}\r\n```\r\n").code == PROGRAM + "\n"


FENCES = st.sampled_from(["```", "````", "~~~", "   ```", "    ```", "``` ```"])
LINES = st.sampled_from(
    ["x = 1", "'''", '"""', "def f():", "    return 1", "prose", "- a point", "> a quote", "", "\t"]
)


@given(
    st.lists(
        FENCES.flatmap(lambda fence: st.sampled_from([fence, f"{fence}python", f"{fence}json"])) | LINES, max_size=30
    )
)
@settings(max_examples=300, deadline=None)
def test_a_program_consists_of_lines_of_the_answer_in_their_order(answer: list[str]) -> None:
    found = extract_code("\n".join(answer))
    assert bool(found.code) != bool(found.problem)
    if found.code:
        ast.parse(found.code)
        rest = iter(line.strip() for line in answer)
        assert all(line.strip() in rest for line in found.code.split("\n")[:-1])


@given(
    program=st.lists(
        st.sampled_from(["x = 1", "print('a')", "'''", "```", "~~~", "# a comment"]), min_size=1, max_size=12
    ),
    fence=st.sampled_from(["```", "~~~", "`````"]),
)
@settings(max_examples=300, deadline=None)
def test_whatever_fences_a_program_holds_it_is_found_whole(program: list[str], fence: str) -> None:
    code = "\n".join(program)
    try:
        ast.parse(code)
    except SyntaxError:
        return
    found = extract_code(f"A plan.\n\n{fence}python\n{code}\n{fence}\n")
    assert found.code == code + "\n"
    assert found.plan == "A plan."


HOSTILE = {
    "fences": "```\n" * (LENGTH // 4),
    "blocks": "```python\nx = 1\n```\n" * (LENGTH // 20),
    "fences of every length": "".join("`" * length + "\n" for length in range(3, 770)),
    "fences of falling length": "".join("`" * length + "\n" for length in range(770, 3, -1)),
    "one fence": "`" * LENGTH,
    "a fence and blanks": "```" + " " * LENGTH + "`",
    "a fence and marks": "~~~ " + "` " * (LENGTH // 2) + "\n",
    "lines": "\n" * LENGTH,
    "blanks": " " * LENGTH,
    "tabs": "\t" * LENGTH,
    "quotes in quotes": "> " * (LENGTH // 2),
    "lists in lists": "- " * (LENGTH // 2),
    "points": "- a\n" * (LENGTH // 4),
    "stairs": "".join(" " * (2 * depth) + "- a\n" for depth in range(540)),
    "points and quotes": "- a\n> b\n" * (LENGTH // 8),
    "a block without end": "```python\n" + "x = 1\n" * (LENGTH // 6),
    "nulls": "\0" * LENGTH,
    "brackets": "```python\n" + "[" * LENGTH + "\n```",
    "blocks in blocks": "".join("`" * (60 - depth) + "python\n" for depth in range(57)) + "x = 1\n" * 10_000,
}


@pytest.mark.parametrize("name", HOSTILE)
def test_a_hostile_answer_takes_little_time(name: str) -> None:
    started_s = time.process_time()
    found = extract_code(HOSTILE[name])
    assert bool(found.code) != bool(found.problem)
    assert time.process_time() - started_s < 10, "on an idle machine none takes a second"
    assert len(found.problem) < 300
