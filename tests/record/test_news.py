"""News of a seed: read back as told, of one size, and harmless where it cannot be written or is something else."""

import os
from pathlib import Path

import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from aira_bench.record.news import BYTES, NAME, SeedNews, read_news, remove_news, write_news


def test_what_was_told_last_is_read(tmp_path: Path) -> None:
    for news in (SeedNews(3, "a long phase " * 5, 12.5, "engine", "why"), SeedNews(4, "short", 13.0)):
        write_news(tmp_path, news)
        assert read_news(tmp_path) == news
        assert (tmp_path / NAME).stat().st_size == BYTES
    remove_news(tmp_path)
    remove_news(tmp_path)
    assert read_news(tmp_path) is None


@settings(suppress_health_check=[HealthCheck.function_scoped_fixture])
@given(st.text(), st.text() | st.just("\U0010ffff" * 500), st.integers(0, 10**9), st.floats(0, 1e11))
def test_whatever_is_said_fits(tmp_path: Path, phase: str, halted: str, step: int, since: float) -> None:
    write_news(tmp_path, SeedNews(step, phase, since, "provider", halted))
    assert read_news(tmp_path) == SeedNews(step, phase[:140], since, "provider", halted[:140])


def test_a_place_that_takes_none_is_no_failure(tmp_path: Path) -> None:
    write_news(tmp_path / "absent", SeedNews(1, "phase", 1.0))
    (tmp_path / NAME).mkdir()
    write_news(tmp_path, SeedNews(1, "phase", 1.0))
    remove_news(tmp_path)
    assert read_news(tmp_path) is None


def test_a_link_or_a_pipe_in_its_place_is_neither_written_nor_read(tmp_path: Path) -> None:
    (tmp_path / "other").write_text("kept")
    (tmp_path / NAME).symlink_to(tmp_path / "other")
    write_news(tmp_path, SeedNews(1, "phase", 1.0))
    assert (tmp_path / "other").read_text() == "kept"
    assert read_news(tmp_path) is None
    remove_news(tmp_path)
    os.mkfifo(tmp_path / NAME)
    write_news(tmp_path, SeedNews(1, "phase", 1.0))
    assert read_news(tmp_path) is None


@pytest.mark.parametrize(
    "content",
    ["", "{}", "[1]", '{"step": 1.5, "phase": "p", "since": 1}', '{"step": 1, "step": 2, "phase": "p", "since": 1.0}',
     '{"step": 1, "phase": "p", "since": 1.0, "waits_for": "luck"}', '{"step": 1, "phase": "p", "since": 1e999}', "x" * 5000],
)  # fmt: skip
def test_anything_else_is_no_news(tmp_path: Path, content: str) -> None:
    (tmp_path / NAME).write_text(content)
    assert read_news(tmp_path) is None
