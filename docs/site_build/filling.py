"""Puts into pages what is made from the code, where a page says so."""

import re
from collections.abc import Callable, Mapping

from site_build.commands import commands_in_markdown
from site_build.decisions import decisions_in_markdown
from site_build.exit_codes import exit_codes_in_markdown
from site_build.pictures import scoring_in_markdown
from site_build.printed_shapes import shapes_in_markdown
from site_build.record_types import records_in_markdown

MAKERS: Mapping[str, Callable[[], str]] = {
    "commands": commands_in_markdown,
    "decisions": decisions_in_markdown,
    "exit codes": exit_codes_in_markdown,
    "picture of scoring": scoring_in_markdown,
    "records": records_in_markdown,
    "shapes": shapes_in_markdown,
}
_PLACE = re.compile(r"<!-- made: ([a-z ]+) -->")
_ELSEWHERE = re.compile(r"<!-- only here -->.*?<!-- end -->\n?", re.DOTALL)
"""What a page says where it is read without the site."""


def filled(markdown: str) -> str:
    """Return a page with all that is made for it in its places.

    Raises:
        KeyError: it asks for something that nothing makes.
    """
    return _PLACE.sub(lambda found: MAKERS[found[1]](), _ELSEWHERE.sub("", markdown))
