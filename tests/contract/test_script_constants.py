"""Setting constants of a script touches their literals and nothing else."""

import ast

import pytest
from hypothesis import given
from hypothesis import strategies as st

from aira_contract.script_constants import assigned_values, is_settable, with_constants, with_values

SCRIPT = """\
# depth: \u00e9 before it is two bytes
DEPTH = 8  # layers
NAME = "\u00e9t\u00e9"; WIDTH = 2**6
LR: float = 0.1
A = B = 3
if DEPTH:
    HIDDEN = 1
def f(DEPTH=1):
    DEPTH = 2
"""
values = (
    st.integers(-(10**9), 10**9)
    | st.floats(allow_nan=False, allow_infinity=False)
    | st.text('ab"\\\n\u00e9#', max_size=12)
)


@given(st.dictionaries(st.sampled_from(("DEPTH", "NAME", "WIDTH", "A")), values))
def test_a_constant_has_its_new_value_and_every_other_line_is_as_it_was(chosen: dict[str, int | float | str]) -> None:
    changed = with_constants(SCRIPT, chosen)
    scope: dict[str, object] = {}
    exec(compile(changed, "script", "exec"), scope)
    assert {name: scope[name] for name in chosen} == chosen
    for before, after in zip(SCRIPT.split("\n"), changed.split("\n"), strict=False):
        assert before == after or any(name in before for name in chosen)
    assert changed.startswith(SCRIPT.split("\n")[0])
    assert changed.endswith(SCRIPT[SCRIPT.index("if DEPTH") :])


def test_comments_and_other_statements_of_a_line_stay() -> None:
    assert with_constants(SCRIPT, {"DEPTH": 12}).splitlines()[1] == "DEPTH = 12  # layers"
    assert with_constants(SCRIPT, {"WIDTH": 5}).splitlines()[2] == 'NAME = "\u00e9t\u00e9"; WIDTH = 5'


def test_names_of_one_assignment_share_their_value() -> None:
    found = assigned_values(ast.parse(SCRIPT).body)
    assert found["A"] == found["B"]
    assert with_constants(SCRIPT, {"B": 4}).splitlines()[4] == "A = B = 4"


@pytest.mark.parametrize(
    ("source", "name"),
    [
        ("A = 1\nA = 2\n", "A"),
        ("b = 1\n", "A"),
        ("if x:\n    A = 1\n", "A"),
        ("A: int = 1\n", "A"),
        ("A, B = 1, 2\n", "A"),
    ],
)
def test_a_name_that_is_not_assigned_exactly_once_is_refused(source: str, name: str) -> None:
    with pytest.raises(ValueError, match=f"not assigned exactly once at the top level: {name}"):
        with_constants(source, {name: 3})


def test_a_value_over_several_lines_is_refused() -> None:
    with pytest.raises(ValueError, match="line 2: the value goes over more than one line"):
        with_constants("B = 1\nA = (1 +\n 2)\n", {"A": 3})
    (node,) = assigned_values(ast.parse("A = [\n]\n").body)["A"]
    assert not is_settable(node)


def test_edits_of_one_line_do_not_move_each_other() -> None:
    source = "A = 1; B = 22; C = 333\n"
    found = assigned_values(ast.parse(source).body)
    edits = [(found["A"][0], 1000), (found["C"][0], "x"), (found["B"][0], 0.5)]
    assert with_values(source, edits) == "A = 1000; B = 0.5; C = 'x'\n"


def test_a_script_that_does_not_parse_is_an_error_of_its_own() -> None:
    with pytest.raises(SyntaxError):
        with_constants("def", {})
