"""Templates, and what becomes of a value in them: every value is escaped, whoever wrote it.

A value is made one line of shown characters, then HTML; texts of several lines go through the filter `text`. Data for
scripts of ours stands in a block that browsers do not execute, in ASCII, without a character that could end it. Each
page's policy takes scripts and styles from our own files alone and allows no request to any other place.
"""

import json
import math
import re
from collections.abc import Mapping
from functools import cache
from pathlib import Path

import jinja2
from markupsafe import Markup, escape

from aira_bench.boards.columns import duration
from aira_bench.escaping import one_line, printable
from aira_bench.shown_numbers import figure

STATIC = Path(__file__).parent / "static"
_TEMPLATES = Path(__file__).parent / "templates"
TEXT_CHARS = 400_000
"""Of one text on a page; the file beside has all of it."""
LINE_CHARS = 2_000
"""Of one line of a text on a page."""
_ENDLESS = re.compile(rf"[^\n]{{{LINE_CHARS + 1},}}")
_POLICY = (
    "default-src 'none'; script-src {own}; style-src {own} 'unsafe-inline'; img-src {own} data: blob:; "
    "connect-src {connect}; font-src 'none'; base-uri 'none'; form-action 'none'"
)
SERVED_POLICY = _POLICY.format(own="'self'", connect="'self'") + "; frame-ancestors 'none'"
"""Of pages that the local server hands out."""
FILE_POLICY = _POLICY.format(own="'self' file:", connect="'none'")
"""Of pages in a folder. Styles in attributes are Plotly's; no script stands in a page, and nothing is evaluated."""


def render(template: str, **values: object) -> bytes:
    """Return a page.

    Args:
        template: its name.
        values: what it is given.
    """
    return environment().get_template(template).render(**values).encode("utf-8", "backslashreplace")


@cache
def environment() -> jinja2.Environment:
    """Return the environment of all templates."""
    made = jinja2.Environment(
        loader=jinja2.FileSystemLoader(_TEMPLATES), autoescape=True, undefined=jinja2.StrictUndefined, finalize=_shown,
        trim_blocks=True, lstrip_blocks=True,
    )  # fmt: skip
    made.filters |= {"text": text, "data": data, "duration": duration, "score": _score, "count": _count}
    return made


def text(value: object) -> Markup:
    """Return a text of several lines as a page shows it: escaped; what is endless is cut, which is said."""
    shown = cut(str(value))
    return Markup(escape(shown))


def cut(value: str) -> str:
    """Return a text with everything spelt out that is not shown, and no longer than a page has room for."""
    kept = value[:TEXT_CHARS]
    shown = _ENDLESS.sub(lambda found: one_line(found[0], LINE_CHARS), printable(kept))
    return shown if len(value) <= TEXT_CHARS else f"{shown}\n[... of {len(value):,} characters; the file has them all]"


def data(value: object) -> Markup:
    """Return a value for a block of data in a page, which no text in it can end."""
    written = json.dumps(_finite(value), ensure_ascii=True, allow_nan=False, separators=(",", ":"))
    return Markup(written.replace("<", "\\u003c").replace(">", "\\u003e").replace("&", "\\u0026"))


def _finite(value: object) -> object:
    """The same without what JSON has no word for."""
    if isinstance(value, float):
        return value if math.isfinite(value) else None
    if isinstance(value, Mapping):
        return {str(key): _finite(each) for key, each in value.items()}
    return [_finite(each) for each in value] if isinstance(value, list | tuple) else value


def _shown(value: object) -> object:
    if value is None:
        return "-"
    if isinstance(value, bool):
        return "yes" if value else "no"
    return value if isinstance(value, Markup | int) else one_line(figure(value) if isinstance(value, float) else value)


def _score(value: float | None, error: float | None = None) -> str:
    return "-" if value is None else figure(value) + ("" if error is None else f" \u00b1 {figure(error)}")


def _count(value: float | None) -> str:
    return "unknown" if value is None else f"{value:,}" if isinstance(value, int) else figure(value, ",")
