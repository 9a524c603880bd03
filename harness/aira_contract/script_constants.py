"""Constants of a training script: literals assigned to names at its top level, found and set by its syntax tree.

Setting one replaces that literal and nothing else, so comments, layout and everything unknown stay as they are. The
host moves constants of scripts that agents wrote (`aira_bench.agents.searchers.script_hyperparameters`), the evaluator
those of the baseline, to fit it to a profile (`aira_evaluator.autoresearch`).

Not covered: parsing. Whoever reads text of strangers parses it within bounds of its own.
"""

import ast
from collections.abc import Iterable, Mapping

Value = int | float | str


def assigned_values(body: Iterable[ast.stmt]) -> dict[str, list[ast.expr]]:
    """Return what is assigned to each plain name, in order, by the statements of a module's top level."""
    found: dict[str, list[ast.expr]] = {}
    for statement in body:
        if isinstance(statement, ast.Assign):
            for target in statement.targets:
                if isinstance(target, ast.Name):
                    found.setdefault(target.id, []).append(statement.value)
    return found


def is_settable(node: ast.expr) -> bool:
    """Return whether an expression stands on one line, so that another can take its place there."""
    return node.lineno == node.end_lineno and node.end_col_offset is not None


def with_values(source: str, edits: Iterable[tuple[ast.expr, Value]]) -> str:
    """Return a script with some of its expressions replaced.

    Args:
        source: the script.
        edits: expressions of its syntax tree, each settable and none inside another, with their new values.
    """
    # ast counts columns in UTF-8 bytes. The last place comes first, so that an edit moves none that is still to come.
    lines = source.encode().splitlines(keepends=True)
    for node, value in sorted(edits, key=lambda edit: (edit[0].lineno, edit[0].col_offset), reverse=True):
        line = lines[node.lineno - 1]
        lines[node.lineno - 1] = line[: node.col_offset] + repr(value).encode() + line[node.end_col_offset :]
    return b"".join(lines).decode()


def with_constants(source: str, values: Mapping[str, Value]) -> str:
    """Return a trusted script with the literals of top-level names replaced.

    Raises:
        ValueError: a name is not assigned exactly once at the top level, or to something on several lines.
        SyntaxError: the script does not parse.
    """
    found = assigned_values(ast.parse(source).body)
    wrong = [name for name in values if len(found.get(name, [])) != 1]
    if wrong:
        raise ValueError(f"not assigned exactly once at the top level: {', '.join(wrong)}")
    edits = [(found[name][0], value) for name, value in values.items()]
    for node, _ in edits:
        if not is_settable(node):
            raise ValueError(f"line {node.lineno}: the value goes over more than one line")
    return with_values(source, edits)
