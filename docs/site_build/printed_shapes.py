"""The reference of what commands print with `--json`, from the frozen shapes that tests compare with it."""

from pathlib import Path

from site_build.tables import code, table

FROZEN = Path(__file__).resolve().parents[2] / "tests" / "cli" / "frozen"


def shapes_in_markdown() -> str:
    """Return a table of keys and types for each command that prints JSON."""
    return "\n".join(_section(path) for path in sorted(FROZEN.glob("*.shape")))


def _section(path: Path) -> str:
    rows = []
    for line in path.read_text(encoding="utf-8").splitlines():
        place, _, types = line.rpartition(": ")
        rows.append((code(place), types.replace(" | ", " or ")))
    return f"## {path.stem}\n\n" + table(("place", "type"), rows)
