"""Fixtures shared by the tests of Autoresearch."""

import importlib.util
import re
import sys
from collections.abc import Iterator
from pathlib import Path
from types import ModuleType

import pytest
import torch

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


@pytest.fixture(scope="module")
def one_thread() -> Iterator[None]:
    """Judge and predictor share the test's cores, and a forked process cannot use its parent's threads."""
    before = torch.get_num_threads()
    torch.set_num_threads(1)
    yield
    torch.set_num_threads(before)


@pytest.fixture(scope="module")
def public(prepared: Path) -> Path:
    return prepared / "public" / "data"


@pytest.fixture(scope="module")
def imported(public: Path, tmp_path_factory: pytest.TempPathFactory) -> Iterator[ModuleType]:
    """The module scripts know as `prepare`, over the cpu profile's data."""
    with pytest.MonkeyPatch.context() as patch:
        patch.setenv("AIRA_DATA", str(public))
        patch.chdir(tmp_path_factory.mktemp("script"))
        spec = importlib.util.spec_from_file_location("prepare", public / "prepare.py")
        assert spec is not None
        assert spec.loader is not None
        module = importlib.util.module_from_spec(spec)
        patch.setitem(sys.modules, "prepare", module)
        spec.loader.exec_module(module)
        yield module
