"""Tables, code and text of Markdown, from values that may hold any character."""

import html
import re
from collections.abc import Iterable, Sequence

_SPECIAL = re.compile(r"([\\`*_{}\[\]#|~$])")


def code(value: str) -> str:
    """Return text as code that may stand in a cell of a table."""
    fence = "``" if "`" in value else "`"
    inner = f" {value} " if "`" in value else value
    return f"{fence}{inner}{fence}".replace("|", "\\|")


def text(value: str) -> str:
    """Return plain text such that Markdown shows every character of it; what stands in backquotes stays code."""
    parts = re.split(r"(`[^`]*`)", " ".join(value.split()))
    return "".join(code(part.strip("`")) if part.startswith("`") and len(part) > 2 else _plain(part) for part in parts)


def _plain(value: str) -> str:
    return _SPECIAL.sub(r"\\\1", html.escape(value, quote=False))


def table(headers: Sequence[str], rows: Iterable[Sequence[str]]) -> str:
    """Return a table whose cells are Markdown already; empty without rows."""
    lines = [f"| {' | '.join(row)} |" for row in rows]
    if not lines:
        return ""
    return "\n".join([f"| {' | '.join(headers)} |", f"|{'---|' * len(headers)}", *lines, ""])
