"""What can be read off a training script without running it: constants, identifiers, calls.

A script that parses is read by its syntax tree, so comments and docstrings prove nothing. One that does not parse is
read line by line with regular expressions: constants are lines `NAME = literal`, identifiers are all words outside
comments and quotes. Which way was taken is part of the result.

Not covered: what a name means. Two scripts that compute the same under other names look different here.
"""

import ast
import math
import re
from collections.abc import Iterator, Mapping
from dataclasses import dataclass, field

Scalar = bool | int | float | str | None
_WORDS = re.compile(r"[A-Za-z_][A-Za-z_0-9]*")
_CONSTANT_LINE = re.compile(r"([A-Za-z_]\w*)\s*(?::[^=\n]+)?=\s*([^=#\n][^#\n]*)")
_QUOTED = re.compile(r"'''.*?'''|\"\"\".*?\"\"\"|'(?:\\.|[^'\\\n])*'|\"(?:\\.|[^\"\\\n])*\"", re.DOTALL)
_COMMENT = re.compile(r"#[^\n]*")


@dataclass(frozen=True)
class Evidence:
    """One script."""

    parsed: bool
    """Whether the syntax tree was used."""
    constants: Mapping[str, Scalar]
    """Values of literals by name, as written: of top-level assignments, then of class fields and keyword arguments."""
    identifiers: frozenset[str]
    """Every name that code uses, in snake case."""
    keywords: tuple[tuple[str, str, Scalar], ...] = ()
    """Function, keyword and literal value of every call's keyword arguments; NaN where the value is no literal."""
    tree: ast.Module | None = field(default=None, compare=False)


def read_evidence(source: str) -> Evidence:
    """Read a script, parsed if it can be."""
    try:
        tree = ast.parse(source)
    except (SyntaxError, ValueError, RecursionError, MemoryError):
        return _from_text(source)
    return _from_tree(tree)


def snake_case(name: str) -> str:
    """`ValueEmbed` and `VALUE_EMBED` become `value_embed`."""
    spaced = re.sub(r"(?<=[a-z0-9])(?=[A-Z])|(?<=[A-Z])(?=[A-Z][a-z])", "_", name)
    return spaced.lower().strip("_")


def dotted_name(node: ast.expr) -> str:
    """The last part of a called or assigned name."""
    if isinstance(node, ast.Attribute):
        return node.attr
    return node.id if isinstance(node, ast.Name) else ""


def _from_tree(tree: ast.Module) -> Evidence:
    top = dict(_assigned(tree.body, {}))
    inner: dict[str, Scalar] = {}
    keywords: list[tuple[str, str, Scalar]] = []
    for node in ast.walk(tree):
        if isinstance(node, ast.ClassDef):
            for name, value in _assigned(node.body, top):
                inner.setdefault(name, value)
        elif isinstance(node, ast.Call):
            for keyword in node.keywords:
                if keyword.arg is not None:
                    value = fold(keyword.value, top)
                    keywords.append((dotted_name(node.func), keyword.arg, value))
                    if not is_unknown(value):
                        inner.setdefault(keyword.arg, value)
    constants = top | {name: value for name, value in inner.items() if name not in top}
    return Evidence(True, constants, frozenset(map(snake_case, _identifiers(tree))), tuple(keywords), tree)


def _assigned(body: list[ast.stmt], known: Mapping[str, Scalar]) -> Iterator[tuple[str, Scalar]]:
    """Names and values of assignments of constants, in order; a later one sees the earlier ones."""
    scope = dict(known)
    for statement in body:
        targets: list[ast.expr] = []
        if isinstance(statement, ast.Assign):
            targets, value = statement.targets, statement.value
        elif isinstance(statement, ast.AnnAssign) and statement.value is not None:
            targets, value = [statement.target], statement.value
        for target in targets:
            folded = fold(value, scope)
            if isinstance(target, ast.Name) and not is_unknown(folded):
                scope[target.id] = folded
                yield target.id, folded


def fold(node: ast.expr, known: Mapping[str, Scalar]) -> Scalar:
    """The value of an expression of literals, known names and arithmetic; NaN if it is anything else."""
    if isinstance(node, ast.Constant):
        return node.value if isinstance(node.value, bool | int | float | str | None) else math.nan
    if isinstance(node, ast.Name):
        return known.get(node.id, math.nan)
    if isinstance(node, ast.UnaryOp) and isinstance(node.op, ast.USub):
        inner = fold(node.operand, known)
        return -inner if isinstance(inner, int | float) else math.nan
    if isinstance(node, ast.BinOp):
        left, right = fold(node.left, known), fold(node.right, known)
        if isinstance(left, int | float) and isinstance(right, int | float):
            return _arithmetic(node.op, left, right)
    return math.nan


def _arithmetic(operator: ast.operator, left: float, right: float) -> float:
    try:
        match operator:
            case ast.Add():
                return left + right
            case ast.Sub():
                return left - right
            case ast.Mult():
                return left * right
            case ast.Div():
                return left / right
            case ast.FloorDiv():
                return left // right
            case ast.Pow() if abs(right) <= 64 and abs(left) <= 1e6:
                return float(left**right) if isinstance(left, float) or right < 0 else left**right
    except (ArithmeticError, ValueError):
        pass
    return math.nan


def is_unknown(value: Scalar) -> bool:
    """Whether `fold` could not tell."""
    return isinstance(value, float) and math.isnan(value)


def _identifiers(tree: ast.Module) -> Iterator[str]:
    for node in ast.walk(tree):
        if isinstance(node, ast.Name):
            yield node.id
        elif isinstance(node, ast.Attribute):
            yield node.attr
        elif isinstance(node, ast.FunctionDef | ast.ClassDef):
            yield node.name
        elif isinstance(node, ast.arg | ast.keyword) and node.arg is not None:
            yield node.arg


def _from_text(source: str) -> Evidence:
    constants: dict[str, Scalar] = {}
    for line in source.splitlines():
        found = _CONSTANT_LINE.fullmatch(_COMMENT.sub("", line).rstrip())
        if found is None:
            continue
        try:
            value = fold(ast.parse(found[2].strip(), mode="eval").body, constants)
        except (SyntaxError, ValueError, RecursionError, MemoryError):
            continue
        if not is_unknown(value):
            constants[found[1]] = value
    bare = _COMMENT.sub("", _QUOTED.sub("''", source))
    return Evidence(False, constants, frozenset(map(snake_case, _WORDS.findall(bare))))
