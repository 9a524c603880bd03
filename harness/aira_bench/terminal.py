"""Everything printed goes through here, escaped: lines, cells of tables, JSON.

Only this module calls `print` and makes texts and consoles of rich, which a test holds; so nothing a stranger wrote
reaches a terminal raw, wherever it is shown. Not covered: files (`aira_bench.escaping` has their functions).
"""

import io
import sys
from collections.abc import Iterable
from typing import TYPE_CHECKING, Any

from aira_bench.escaping import json_text, one_line, printable

if TYPE_CHECKING:
    from rich.console import Console
    from rich.control import Control
    from rich.text import Text

WIDE = 240
"""Columns of a table at its widest."""
_LINE_CHARS, _CELL_CHARS = 10_000, 500


def say(line: object = "", *, flush: bool = False) -> None:
    """Print one line of results on stdout."""
    print(one_line(line, _LINE_CHARS), flush=flush)


def tell(line: object) -> None:
    """Print one line about the work on stderr."""
    print(one_line(line, _LINE_CHARS), file=sys.stderr)


def answer(question: str) -> str:
    """Ask on stderr and return what the user types; nothing at the end of input."""
    print(one_line(question), end="", file=sys.stderr, flush=True)
    return sys.stdin.readline()


def say_json(value: Any, indent: int | None = 2) -> None:  # noqa: ANN401
    """Print a value as JSON on stdout."""
    print(json_text(value, indent))


def cell(value: object, style: str = "") -> "Text":
    """Return one value as a cell of a rich table: no markup, nothing raw, one line."""
    from rich.text import Text  # rich stays out of start-up

    return Text(one_line(value, _CELL_CHARS), style=style)


def line(value: object, style: str = "") -> "Text":
    """Return one value as a line of text beside rich tables, escaped."""
    from rich.text import Text

    return Text(one_line(value, _LINE_CHARS), style=style)


def pieces(parts: "Iterable[tuple[str, str]]") -> "Text":
    """Return pieces of one line, each with its style, escaped."""
    from rich.text import Text

    return Text.assemble(*((one_line(part, _CELL_CHARS), style) for part, style in parts))


def say_text(text: str) -> None:
    """Print a text of several lines on stdout, whoever wrote it: escaped, and each line cut where it is endless."""
    for part in printable(text).split("\n"):
        print(part if len(part) <= _LINE_CHARS else one_line(part, _LINE_CHARS))


def paragraph(text: str, style: str = "") -> "Text":
    """Text of ours of several lines, each escaped."""
    from rich.text import Text

    return Text("\n".join(one_line(line, _LINE_CHARS) for line in text.split("\n")), style=style)


def results_console() -> "Console":
    """Return a console on stdout, as wide as its window, or, where stdout is no terminal, so wide that every row is one
    line.
    """
    from rich.console import Console

    console = Console(highlight=False, markup=False)
    return console if console.is_terminal else Console(highlight=False, markup=False, width=WIDE)


def progress_console(*, quiet: bool) -> "Console":
    """Return a console on stderr, for whoever watches a run."""
    from rich.console import Console

    return Console(stderr=True, quiet=quiet, highlight=False, markup=False)


def is_ascii_only(console: "Console") -> bool:
    """Whether a console's encoding has no other characters, so that bars and marks must do without."""
    return not console.encoding.lower().startswith("utf")


def cleared_where_resized() -> "Control":
    """Return what empties the window and goes to its first place: lines drawn for another width lie there broken."""
    from rich.control import Control
    from rich.segment import ControlType

    return Control(ControlType.CLEAR, ControlType.HOME)


def tolerate_any_text() -> None:
    """Where the terminal's encoding lacks a character, spell it out instead of failing."""
    for stream in (sys.stdout, sys.stderr):
        if isinstance(stream, io.TextIOWrapper):
            stream.reconfigure(errors="backslashreplace")
