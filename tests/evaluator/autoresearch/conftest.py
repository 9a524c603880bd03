"""Fixtures shared by the tests of Autoresearch."""

import re
from pathlib import Path

import pytest

from autoresearch_folders import LITERATURE, run_script, untrained_copy


@pytest.fixture(scope="session")
def prepared(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """Both halves of the cpu profile, `public/data` and `hidden/data`, made by the scripts of the literature task."""
    root = tmp_path_factory.mktemp("prepared")
    task = untrained_copy(LITERATURE, root / "task")
    for half, script in (("public", "prepare.py"), ("hidden", "evaluate_prepare.py")):
        finished = run_script(task / script, root / half)
        assert finished.returncode == 0, finished.stderr[-2000:]
        assert half == "hidden" or not re.search(r"\|\s+torch$", finished.stderr, re.MULTILINE), (
            "no torch for public data"
        )
    return root
