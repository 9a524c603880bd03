"""Fixtures shared by the tests of Autoresearch."""

import re
from pathlib import Path

import pytest

from autoresearch_folders import LITERATURE, run_script


@pytest.fixture(scope="session")
def prepared(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """Both halves of the cpu profile, `public/data` and `hidden/data`, made by the scripts of the literature task."""
    root = tmp_path_factory.mktemp("prepared")
    for half, script in (("public", "prepare.py"), ("hidden", "evaluate_prepare.py")):
        finished = run_script(LITERATURE / script, root / half)
        assert finished.returncode == 0, finished.stderr[-2000:]
        assert not re.search(r"\|\s+torch$", finished.stderr, re.MULTILINE), "preparing data imports no torch"
    return root
