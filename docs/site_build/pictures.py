"""Pictures of the README that pages show too, so that each is drawn once."""

import re
from pathlib import Path

README = Path(__file__).resolve().parents[2] / "README.md"


def scoring_in_markdown() -> str:
    """Return the picture of how a score comes about.

    Raises:
        ValueError: the README has it no more.
    """
    section = README.read_text(encoding="utf-8").partition("## How a score comes about")[2].partition("\n## ")[0]
    found = re.search(r"^```\n(.*?)^```$", section, re.MULTILINE | re.DOTALL)
    if found is None:
        raise ValueError("README.md has no picture of how a score comes about")
    return f"```text\n{found[1]}```\n"
