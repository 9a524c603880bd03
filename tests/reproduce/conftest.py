"""A copy of the published tables, for tests that change them."""

import shutil
from pathlib import Path

import pytest

from aira_bench.bundled import bundled_folder


@pytest.fixture
def folder(tmp_path: Path) -> Path:
    copy = tmp_path / "published"
    shutil.copytree(bundled_folder("published"), copy)
    return copy
