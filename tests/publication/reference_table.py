"""The README's table: columns of the reference board's Markdown, as they stand there.

Run as a program, as `make reference-board` does, it writes them into the README anew.
"""

import re
from pathlib import Path

ROOT = Path(__file__).resolve().parents[2]
README = ROOT / "README.md"
BOARD = ROOT / "results" / "reference" / "board" / "leaderboard.md"
COLUMNS = ("agent", "scaffold", "rank", "seeds", "test", "confirmed", "of searches", "of trainings", "steps")
_TABLE = re.compile(r"^\| agent .*\n(?:\|.*\n)+", re.MULTILINE)


def reference_table() -> str:
    """Heading, noise and ordered rows of the committed board, in the README's columns."""
    text = BOARD.read_text()
    head, evaluator, noise, table, *_ = text.split("\n\n")
    rows = [[cell.strip() for cell in line.strip("|").split("|")] for line in table.splitlines()]
    places = [rows[0].index(name) for name in COLUMNS]
    lines = ["| " + " | ".join(row[place] for place in places) + " |" for row in rows]
    assert evaluator.startswith("Evaluator ")
    return f"{head.removeprefix('## ')}. {noise}.\n\n" + "\n".join(lines) + "\n"


def with_table(readme: str, table: str) -> str:
    """The README with that table in place of the one that it opens with."""
    at = readme.index(" - Accuracy, higher is better - profile cpu")
    begins = readme.rindex("\n\n", 0, at) + 2
    found = _TABLE.search(readme, begins)
    assert found is not None
    return readme[:begins] + table + readme[found.end() :]


if __name__ == "__main__":
    README.write_text(with_table(README.read_text(), reference_table()))
