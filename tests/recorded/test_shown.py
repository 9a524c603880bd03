"""Boards, tables, JSON and nodes of recorded runs are what they were, byte for byte."""

import pytest

from recorded.shown import BOARDS, shown


@pytest.fixture(scope="module")
def now() -> dict[str, str]:
    return shown()


@pytest.mark.parametrize("name", sorted(path.name for path in BOARDS.iterdir()))
def test_what_is_shown_of_recorded_runs_has_not_changed(name: str, now: dict[str, str]) -> None:
    assert now[name] == (BOARDS / name).read_text(), (
        "python tests/recorded/shown.py writes it anew, if it should change"
    )


def test_all_that_is_shown_is_kept(now: dict[str, str]) -> None:
    assert now.keys() == {path.name for path in BOARDS.iterdir()}
