"""Boards as they were before columns had one list; an edit of these files changes what others parse."""

import pytest

from aira_bench.boards.board import Table
from aira_bench.boards.formats import to_markdown
from boards.made_boards import BOARDS, EMPTY, MAD, boards


@pytest.fixture(autouse=True)
def plain_output(monkeypatch: pytest.MonkeyPatch) -> None:
    for variable in ("FORCE_COLOR", "COLUMNS"):
        monkeypatch.delenv(variable, raising=False)


def test_every_format_of_every_board_is_byte_for_byte_what_it_was() -> None:
    shown = boards()
    assert sorted(shown) == sorted(path.name for path in BOARDS.iterdir())
    for name, text in shown.items():
        assert text.encode() == (BOARDS / name).read_bytes(), (
            f"{name}: if on purpose, python tests/boards/made_boards.py"
        )


def test_the_made_boards_leave_no_column_untried() -> None:
    """Otherwise a column could change and the files would not tell."""
    names = headings((BOARDS / "made.md").read_text(encoding="utf-8"))
    assert len(names) == 27
    assert headings(to_markdown([Table(MAD, (EMPTY,))])) < names


def headings(text: str) -> set[str]:
    """Of all parts of all tables."""
    return {name for line in text.splitlines() if line.startswith("| agent") for name in line.strip("| ").split(" | ")}
