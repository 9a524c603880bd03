"""Reading models' answers: programs between fences of every kind, and named edits."""

import ast

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from aira_bench.agent_code.code_extraction import extract_code
from aira_bench.agent_code.edits import Edit, apply_answer, apply_edits, parse_edits
from aira_bench.agents.llm.prompting import fenced

PROGRAM = 'import math\n\n\ndef area(r):\n    return math.pi * r**2\n\n\nprint("area", area(2))'
NESTED = 'TEXT = """\n```python\nprint(1)\n```\n"""\nprint(TEXT)'


@pytest.mark.parametrize("tag", ["python", "py", "python3", "Python", ""])
@pytest.mark.parametrize("program", [PROGRAM, NESTED])
@pytest.mark.parametrize("fence", ["```", "````", "~~~"])
def test_a_program_survives_every_kind_of_fence(tag: str, program: str, fence: str) -> None:
    found = extract_code(f"I try circles.\n\n{fence}{tag}\n{program}\n{fence}\nDone.")
    assert found.problem == ""
    assert found.code == program + "\n"
    assert found.plan == "I try circles."


def test_the_last_of_several_programs_counts() -> None:
    answer = f"```\npip install x\n```\nthen\n```python\n{PROGRAM}\nprint(1)\n```\nand\n```py\n{PROGRAM}\n```"
    assert extract_code(answer).code == PROGRAM + "\n"


def test_a_bare_program_counts_and_bare_prose_does_not() -> None:
    assert extract_code(PROGRAM).code == PROGRAM + "\n"
    assert "no fenced code" in extract_code("I would try a bigger model.").problem


@pytest.mark.parametrize(
    ("answer", "reason"),
    [
        (f"```python\n{PROGRAM}", "cut off"),
        ("```python\ndef f(:\n```", "line 1"),
        ("```python\n```", "empty"),
        ("```json\n{}\n```", "tagged python: there is one of json"),
        ("```\n" * 100, "100 code fences"),
        ("", "is empty"),
        ("```python\nx = " + "(" * 3000 + ")" * 3000 + "\n```", "parsed|nested|too many"),
        ("```python\nx = 1\x00\n```", "pars|null|source"),
    ],
)
def test_an_unusable_answer_says_why(answer: str, reason: str) -> None:
    problem = extract_code(answer).problem
    assert any(part in problem for part in reason.split("|")), problem


def test_a_huge_program_is_refused() -> None:
    assert "longer" in extract_code("```python\nx = '" + "a" * 300_000 + "'\n```").problem


@given(st.text(max_size=400))
@settings(max_examples=200, deadline=None)
def test_any_answer_gives_a_program_that_parses_or_a_reason(answer: str) -> None:
    found = extract_code(answer)
    assert bool(found.code) != bool(found.problem)
    if found.code:
        ast.parse(found.code)


names = st.text(st.characters(codec="ascii", categories=["L", "N"]), min_size=1, max_size=12)


@given(
    st.lists(st.tuples(names, st.integers(0, 9)), min_size=1, max_size=8), st.text(max_size=60), st.text(max_size=60)
)
@settings(max_examples=100, deadline=None)
def test_a_program_between_prose_is_found_whole(assignments: list[tuple[str, int]], before: str, after: str) -> None:
    program = "\n".join(f"v_{name} = {value}" for name, value in assignments) + "\nprint('end of program')"
    answer = f"{before.replace('`', '').replace('~', '')}\n```python\n{program}\n```\n{after.replace('`', '').replace('~', '')}"
    assert extract_code(answer).code == program + "\n"


@given(st.text(max_size=200))
def test_quoted_text_cannot_close_its_fence(text: str) -> None:
    lines = fenced(text).split("\n")
    fence = lines[0]
    assert set(fence) == {"`"}
    assert lines[-1] == fence
    assert not any(fence in line for line in lines[1:-1])


EDIT = """I raise the rate.

### change: higher rate
<<<<<<< SEARCH
lr = 0.01
=======
lr = 0.03
>>>>>>> REPLACE

### change: more steps
<<<<<<< SEARCH
steps = 10
=======
steps = 20
warmup = 2
>>>>>>> REPLACE
"""


def test_each_block_is_one_named_change() -> None:
    edited = apply_answer("import x\nlr = 0.01\nsteps = 10  \nrun()\n", EDIT)
    assert edited.problem == ""
    assert edited.code == "import x\nlr = 0.03\nsteps = 20\nwarmup = 2\nrun()\n"
    assert [(change.name, change.removed_lines, change.added_lines) for change in edited.changes] == [
        ("higher rate", 1, 1),
        ("more steps", 1, 2),
    ]


@pytest.mark.parametrize(
    ("code", "reason"),
    [
        ("lr = 0.02\nsteps = 10\n", "Block 1 (higher rate): its search text stands nowhere"),
        ("lr = 0.01\nlr = 0.01\nsteps = 10\n", "2 times"),
        ("lr = 0.01\n", "Block 2 (more steps)"),
    ],
)
def test_a_block_that_does_not_match_is_named_and_nothing_is_applied(code: str, reason: str) -> None:
    edited = apply_answer(code, EDIT)
    assert reason in edited.problem
    assert edited.code == ""
    assert not edited.changes


def test_answers_without_whole_blocks_say_so() -> None:
    assert "no block" in apply_answer("x", "I would change the rate.").problem
    assert "not closed" in apply_answer("x", "<<<<<<< SEARCH\nx\n=======\ny").problem
    assert "changes nothing" in apply_answer("x", "<<<<<<< SEARCH\nx\n=======\nx\n>>>>>>> REPLACE").problem


plain = (
    st.text(st.characters(codec="ascii", categories=["L", "N", "Zs"]), min_size=1, max_size=20)
    .map(str.strip)
    .filter(bool)
)


@given(st.lists(plain, min_size=1, max_size=20, unique=True), st.data())
def test_an_edit_of_one_line_changes_that_line_alone(lines: list[str], data: st.DataObject) -> None:
    at = data.draw(st.integers(0, len(lines) - 1))
    edited = apply_edits("\n".join(lines), [Edit("e", (lines[at],), ("new line !",))])
    assert edited.problem == ""
    assert edited.code.split("\n") == [*lines[:at], "new line !", *lines[at + 1 :]]


@given(st.text(max_size=300))
def test_any_answer_is_edits_or_a_problem(answer: str) -> None:
    edits, problem = parse_edits(answer)
    assert bool(edits) != bool(problem)
