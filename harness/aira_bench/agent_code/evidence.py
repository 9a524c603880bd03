"""What can be read off a training script without running it: constants, identifiers, calls.

A script that parses is read by its syntax tree, so comments and docstrings prove nothing. One that does not parse is
read line by line with regular expressions: constants are lines `NAME = literal`, identifiers are all words outside
comments and quotes. Which way was taken is part of the result.

Not covered: what a name means. Two scripts that compute the same under other names look different here.
"""

import ast
import math
import re
from collections.abc import Iterable, Iterator, Mapping
from dataclasses import dataclass, field
from functools import lru_cache

from aira_bench.agent_code.syntax import LONGEST_CODE_BYTES, UnreadableCode, parse

Scalar = bool | int | float | str | None
_WORDS = re.compile(r"[A-Za-z_][A-Za-z_0-9]*")
_CONSTANT_LINE = re.compile(r"([A-Za-z_]\w*)\s*(?::[^=\n]+)?=\s*([^=#\n][^#\n]*)")
# A quote that is not closed ends with its line, or the text: so no character is looked at twice.
_QUOTED = re.compile(
    r"'''.*?(?:'''|\Z)|\"\"\".*?(?:\"\"\"|\Z)|'(?:\\.|[^'\\\n])*+'?|\"(?:\\.|[^\"\\\n])*+\"?", re.DOTALL
)
_COMMENT = re.compile(r"#[^\n]*")
_MOST_BITS = 256
"""Of a whole number that arithmetic makes; above, a value is unknown. Repeated squaring doubles the bits each time."""
_MOST_CHARS = 200
"""Of a name or of text as a value; longer ones are left out."""


@dataclass(frozen=True)
class Evidence:
    """What was read of one training script: its constants, the names it uses, and keyword arguments of its calls."""

    parsed: bool
    """Whether the syntax tree was used."""
    constants: Mapping[str, Scalar]
    """Values by name, as written: of top-level assignments, then of the keyword arguments that make an object of one of
    the script's classes, then of other class fields and keyword arguments. All are of literals, except that the second
    sort has the text of an expression that is no constant, since the field's default is not in force there."""
    identifiers: frozenset[str]
    """Every name that code uses, in snake case."""
    keywords: tuple[tuple[str, str, Scalar], ...] = ()
    """Function, keyword and literal value of every call's keyword arguments; NaN where the value is no literal."""
    tree: ast.Module | None = field(default=None, compare=False)


def read_evidence(source: str) -> Evidence:
    """Read a script, parsed if it can be."""
    try:
        return _from_tree(parse(source))
    except UnreadableCode:
        return _from_text(source[:LONGEST_CODE_BYTES])


@lru_cache(maxsize=1 << 16)
def snake_case(name: str) -> str:
    """`ValueEmbed` and `VALUE_EMBED` become `value_embed`."""
    spaced = re.sub(r"(?<=[a-z0-9])(?=[A-Z])|(?<=[A-Z])(?=[A-Z][a-z])", "_", name)
    return spaced.lower().strip("_")


def dotted_name(node: ast.expr) -> str:
    """Return the last part of a called or assigned name."""
    if isinstance(node, ast.Attribute):
        return node.attr
    return node.id if isinstance(node, ast.Name) else ""


def _from_tree(tree: ast.Module) -> Evidence:
    top = dict(_assigned(tree.body, {}))
    fields = {node.name: dict(_assigned(node.body, top)) for node in ast.walk(tree) if isinstance(node, ast.ClassDef)}
    inner: dict[str, Scalar] = {}
    for assigned in fields.values():
        for name, value in assigned.items():
            inner.setdefault(name, value)
    made: dict[str, Scalar] = {}
    keywords: list[tuple[str, str, Scalar]] = []
    for node, keyword in _keyword_arguments(tree):
        called, name, value = dotted_name(node.func), str(keyword.arg), fold(keyword.value, top)
        keywords.append((called, name, value))
        if name in fields.get(called, {}):
            made.setdefault(name, ast.unparse(keyword.value)[:_MOST_CHARS] if is_unknown(value) else value)
        elif not is_unknown(value):
            inner.setdefault(name, value)
    constants: dict[str, Scalar] = {}
    for found in (top, made, inner):  # readers take the first of several spellings of a name
        constants |= {name: value for name, value in found.items() if name not in constants}
    return Evidence(True, constants, _names(_identifiers(tree)), tuple(keywords), tree)


def _keyword_arguments(tree: ast.Module) -> Iterator[tuple[ast.Call, ast.keyword]]:
    for node in ast.walk(tree):
        if isinstance(node, ast.Call):
            yield from ((node, keyword) for keyword in node.keywords if keyword.arg is not None)


def _assigned(body: list[ast.stmt], known: Mapping[str, Scalar]) -> Iterator[tuple[str, Scalar]]:
    """Names and values of assignments of constants, in order; a later one sees the earlier ones."""
    scope = dict(known)
    for target, value in _assignments(body):
        folded = fold(value, scope)
        if isinstance(target, ast.Name) and not is_unknown(folded):
            scope[target.id] = folded
            yield target.id, folded


def _assignments(body: list[ast.stmt]) -> Iterator[tuple[ast.expr, ast.expr]]:
    """Targets and values of a body, `A, B = 1, 2` taken apart; of `if` and `try`, what is first."""
    for statement in body:
        if isinstance(statement, ast.Assign):
            for target in statement.targets:
                if isinstance(target, ast.Tuple | ast.List) and isinstance(statement.value, ast.Tuple | ast.List):
                    yield from zip(target.elts, statement.value.elts, strict=False)
                else:
                    yield target, statement.value
        elif isinstance(statement, ast.AnnAssign) and statement.value is not None:
            yield statement.target, statement.value
        elif isinstance(statement, ast.If | ast.Try | ast.With):
            yield from _assignments(statement.body)


def fold(node: ast.expr, known: Mapping[str, Scalar]) -> Scalar:
    """Return the value of an expression of literals, known names and arithmetic; NaN if it is anything else.

    A setting that the environment may change, as `int(os.environ.get("DEPTH", 8))`, has its default.
    """
    if isinstance(node, ast.Constant):
        return _bounded(node.value) if isinstance(node.value, bool | int | float | str | None) else math.nan
    if isinstance(node, ast.Name):
        return known.get(node.id, math.nan)
    if isinstance(node, ast.UnaryOp) and isinstance(node.op, ast.USub):
        inner = fold(node.operand, known)
        return -inner if isinstance(inner, int | float) else math.nan
    if isinstance(node, ast.BinOp):
        left, right = fold(node.left, known), fold(node.right, known)
        if isinstance(left, int | float) and isinstance(right, int | float):
            return _bounded(_arithmetic(node.op, left, right))
    return _called(node, known) if isinstance(node, ast.Call) else math.nan


def _called(node: ast.Call, known: Mapping[str, Scalar]) -> Scalar:
    name = ast.unparse(node.func)
    if name in ("os.environ.get", "environ.get", "os.getenv", "getenv") and len(node.args) == 2:
        return fold(node.args[1], known)
    if name in ("int", "float", "str") and len(node.args) == 1:
        value = fold(node.args[0], known)
        if isinstance(value, int | float | str) and not is_unknown(value):
            return _cast(name, value)
    return math.nan


def _cast(name: str, value: float | str) -> Scalar:
    try:
        return _bounded(int(value) if name == "int" else float(value) if name == "float" else str(value))
    except (ValueError, OverflowError):
        return math.nan


def _bounded(value: Scalar) -> Scalar:
    """The value, unknown if it is larger than any setting."""
    too_long = isinstance(value, str) and len(value) > _MOST_CHARS
    too_large = isinstance(value, int) and value.bit_length() > _MOST_BITS
    too_large = too_large or (isinstance(value, float) and math.isinf(value))
    return math.nan if too_long or too_large else value


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


def _names(identifiers: Iterable[str]) -> frozenset[str]:
    return frozenset(snake_case(name) for name in set(identifiers) if len(name) <= _MOST_CHARS)


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
            (statement,) = parse(found[2].strip()).body
        except ValueError:
            continue
        value = fold(statement.value, constants) if isinstance(statement, ast.Expr) else math.nan
        if not is_unknown(value):
            constants[found[1]] = value
    bare = _COMMENT.sub("", _QUOTED.sub("''", source))
    return Evidence(False, constants, _names(_WORDS.findall(bare)))
