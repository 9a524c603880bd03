"""One bounded way to a syntax tree of code that an agent wrote.

A tree is given out only if later walks over it are safe: its size is capped before it is parsed, its nodes and its
depth after. What Python's parser says of anything else (too deep, too long a number, no memory) is one exception here.
Parsing never evaluates: `2**10**10` is three nodes.

Not covered: time, but for one thing: format strings cost Python 3.11 the square of their braces, so these are counted.
Who reads text of strangers reads it in a process with a deadline (`reading`).
"""

import ast
import warnings

LONGEST_CODE_BYTES = 256 * 1024
MOST_BRACES = 10_000
MOST_NODES = 100_000
DEEPEST = 100
"""Levels of a tree. The baseline of the training scripts has 16."""


class UnreadableCode(ValueError):
    """The text is no Python, or no Python that is read here; the message is worded for the model."""


class NotPython(UnreadableCode):
    """The text is no Python."""


def parse(source: str) -> ast.Module:
    """Return the syntax tree.

    Raises:
        UnreadableCode: the text does not parse or breaks a bound.
    """
    tree = parse_any(source)
    level: list[ast.AST] = [tree]
    nodes, depth = 0, 0
    while level:
        nodes, depth = nodes + len(level), depth + 1
        if nodes > MOST_NODES or depth > DEEPEST:
            raise UnreadableCode(f"more than {MOST_NODES} parts, or nested deeper than {DEEPEST} levels")
        level = [child for node in level for child in ast.iter_child_nodes(node)]
    return tree


def parse_any(source: str) -> ast.Module:
    """Return the syntax tree of a program of any shape, for readers that look at its top level alone.

    Raises:
        UnreadableCode: the text does not parse, is too long or has too many braces.
    """
    if len(source) > LONGEST_CODE_BYTES or len(source.encode("utf-8", "replace")) > LONGEST_CODE_BYTES:
        raise UnreadableCode(f"longer than {LONGEST_CODE_BYTES} bytes")
    if source.count("{") > MOST_BRACES:
        raise UnreadableCode(f"more than {MOST_BRACES} braces")
    try:
        with warnings.catch_warnings():
            warnings.simplefilter("ignore")  # they would quote the code on the terminal
            return ast.parse(source)
    except SyntaxError as error:
        where = "" if error.lineno is None else f"line {error.lineno}: "  # of a null byte nothing says where it is
        raise NotPython(f"{where}{error.msg}") from None
    except (ValueError, RecursionError, MemoryError) as error:
        raise UnreadableCode(f"it cannot be parsed ({type(error).__name__})") from None


def assigned_name(statement: ast.stmt) -> str | None:
    """Return the one plain name that a statement assigns to, if that is what it does."""
    if isinstance(statement, ast.Assign) and len(statement.targets) == 1:
        target = statement.targets[0]
        return target.id if isinstance(target, ast.Name) else None
    return None
