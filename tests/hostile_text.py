"""Strings that do harm where they are shown raw, and how to tell that one was."""

import re
import unicodedata

ESCAPE, OVERRIDE = "\x1b]0;owned\x07\x1b[2J\x1b[31m", "\u202etxt.exe\u202c"
HOSTILE = (
    ESCAPE,
    OVERRIDE,
    "\x9b31m\x84\x90",
    "a\rb\nfake row\vx\x00\x7f\x08",
    "zero\u200bwidth\u200d\ufeff\u2060\u00ad",
    "line\u2028para\u2029",
    "[red]markup[/red] [link=file:///etc/passwd]x[/link]",
    "cell | next | `code` ![i](http://x/y) *b* <script>alert(1)</script> @all",
    '=HYPERLINK("http://x","y")',
    "+1+cmd|' /C calc'!A0",
    "-2+3",
    "@SUM(A1)",
    "\t=1",
    "\uff1d1+1",
    "\ud800 half \udfff",
    "\U000e0041\U000e0042 tags",
    "Z" + "\u0301" * 40,
    "\u3164\u115f\ufe0f",
    "&lt;b&gt; &amp;#124; &#124;",
)
WHOLE = "".join(HOSTILE)
"""All of them, to be put into one field."""
_PILE = re.compile("[\u0300-\u036f]{4}")


def is_raw(shown: str) -> bool:
    """Whether something acts instead of being shown: controls, format characters, half surrogates, piles of accents."""
    bad = {"Cc", "Cf", "Cs", "Co", "Cn", "Zl", "Zp"}
    return any(unicodedata.category(character) in bad for character in shown) or _PILE.search(shown) is not None
