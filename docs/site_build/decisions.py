"""The list of decisions, from their files: number and title, the newest first."""

from pathlib import Path

from site_build.tables import table

DECISIONS = Path(__file__).resolve().parents[1] / "decisions"


def decisions_in_markdown() -> str:
    """Return a table of all decisions, with a link to each."""
    rows = []
    for path in sorted(DECISIONS.glob("0*.md"), reverse=True):
        number, _, title = path.read_text(encoding="utf-8").split("\n", 1)[0].removeprefix("# ").partition(": ")
        rows.append((number, f"[{title}]({path.name})"))
    return table(("number", "decision"), rows)
