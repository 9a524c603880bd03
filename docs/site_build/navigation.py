"""The navigation of the site: what `mkdocs.yml` lists, every decision, and pages that have no place yet."""

from pathlib import Path

DOCS = Path(__file__).resolve().parents[1]
DECISIONS, MORE = "Decisions", "More"
Parts = list[dict[str, list[str]]]


def whole(parts: Parts) -> Parts:
    """Return the parts of the navigation with all pages in them.

    Decisions stand behind their list, the newest first. A page of `docs/` that no part lists comes last, so that a
    branch that adds one is found by readers whether or not its author knew of the navigation.
    """
    names = sorted((path.name for path in (DOCS / "decisions").glob("0*.md")), reverse=True)
    listed = {page for part in parts for pages in part.values() for page in pages}
    left = sorted(path.name for path in DOCS.glob("*.md") if path.name not in listed)
    found = [
        {title: ["decisions/index.md", *(f"decisions/{name}" for name in names)] if title == DECISIONS else pages}
        for part in parts
        for title, pages in part.items()
    ]
    return [*found, *([{MORE: left}] if left else [])]
