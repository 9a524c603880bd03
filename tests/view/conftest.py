"""A browser for all tests of pages, and runs to look at."""

import os
from collections.abc import Iterator
from pathlib import Path
from typing import TYPE_CHECKING

import pytest

from aira_bench.keys import KeyFolder
from shown_runs import Machine

if TYPE_CHECKING:
    from playwright.sync_api import Browser


@pytest.fixture
def machine(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Machine:
    monkeypatch.setenv("AIRA_HOME", str(tmp_path / "home"))
    monkeypatch.setenv("AIRA_RUNS", str(tmp_path / "runs"))
    keys = KeyFolder(tmp_path / "home" / "keys")
    key = keys.machine_key()
    (tmp_path / "runs").mkdir()
    return Machine(tmp_path, key, keys.ring())


@pytest.fixture(scope="session")
def shots(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """Where pictures of pages are kept: with REPORTS, as artifacts of the run of tests."""
    reports = os.environ.get("REPORTS")
    return Path(reports).absolute() / "pages" if reports else tmp_path_factory.mktemp("pages")


@pytest.fixture(scope="session")
def browser() -> "Iterator[Browser]":
    """Chromium, started once."""
    from playwright.sync_api import sync_playwright
    from watched_pages import launched

    with sync_playwright() as playwright:
        found = launched(playwright)
        yield found
        found.close()
