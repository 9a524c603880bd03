"""Sets constants at the top level of a script, changing nothing else of its text."""

import ast
from collections.abc import Mapping


def set_constants(source: str, values: Mapping[str, int | float | str]) -> str:
    """`source` with the literals assigned to top-level names replaced; comments and layout stay.

    Raises:
        ValueError: a name is not assigned exactly once at the top level.
        SyntaxError: the script does not parse.
    """
    found: dict[str, list[ast.expr]] = {}
    for statement in ast.parse(source).body:
        if isinstance(statement, ast.Assign) and isinstance(target := statement.targets[0], ast.Name):
            found.setdefault(target.id, []).append(statement.value)
    wrong = [name for name in values if len(found.get(name, [])) != 1]
    if wrong:
        raise ValueError(f"not assigned exactly once at the top level: {', '.join(wrong)}")
    # ast counts columns in UTF-8 bytes. The last place comes first, so that an edit moves none that is still to come.
    lines = source.encode().splitlines(keepends=True)
    for node, value in sorted(((found[name][0], values[name]) for name in values), key=_place, reverse=True):
        if node.lineno != node.end_lineno:
            raise ValueError(f"line {node.lineno}: the value goes over more than one line")
        line = lines[node.lineno - 1]
        lines[node.lineno - 1] = line[: node.col_offset] + repr(value).encode() + line[node.end_col_offset :]
    return b"".join(lines).decode()


def _place(edit: tuple[ast.expr, int | float | str]) -> tuple[int, int]:
    return edit[0].lineno, edit[0].col_offset
