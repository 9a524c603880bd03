"""Code with its parts marked, as HTML: keywords, names, texts, comments. Pygments reads it as text; nothing runs.

Every character is escaped as elsewhere; what is long or made to be slow is shown without marks. Not covered: what code
means.
"""

from dataclasses import dataclass
from functools import cache
from typing import TYPE_CHECKING

from markupsafe import Markup, escape

from aira_bench.view.rendering import cut

if TYPE_CHECKING:
    from pygments.lexer import Lexer

MOST_MARKED_CHARS = 100_000
"""Of a text whose parts are marked; it takes 0.1 s."""


@dataclass(frozen=True)
class Highlighted:
    """A text as HTML."""

    html: Markup
    lines: int


def highlighted(text: str, language: str = "") -> Highlighted:
    """Return a text with its parts marked.

    Args:
        text: of a stranger.
        language: `python`, `diff`, or nothing for plain text.
    """
    shown = cut(text)
    lines = shown.count("\n") + 1
    if not language or len(shown) > MOST_MARKED_CHARS:
        return Highlighted(Markup(escape(shown)), lines)
    from pygments import highlight
    from pygments.formatters import HtmlFormatter

    made = highlight(shown, _lexer(language), HtmlFormatter(nowrap=True))
    return Highlighted(Markup(made), lines)  # Pygments escapes what it wraps


@cache
def _lexer(language: str) -> "Lexer":
    from pygments.lexers import get_lexer_by_name

    return get_lexer_by_name(language, stripnl=False, ensurenl=False)
