"""`images/lock.sh --check`: the locks hold together, and one that does not is caught. Asks the package registry."""

import os
import shutil
import subprocess
import sys
from pathlib import Path

import pytest

from aira_bench.bundled import bundled_folder
from aira_bench.images.names import flavour_names


def check(images: Path, flavour: str) -> subprocess.CompletedProcess[str]:
    path = f"{Path(sys.executable).parent}{os.pathsep}{os.environ['PATH']}"
    done = subprocess.run(
        ["sh", str(images / "lock.sh"), "--check", flavour],
        capture_output=True, text=True, timeout=240, check=False, env={**os.environ, "PATH": path},
    )  # fmt: skip
    if "Failed to fetch" in done.stderr or "error sending request" in done.stderr:
        pytest.skip("the package registry does not answer")
    return done


@pytest.fixture
def images(tmp_path: Path) -> Path:
    return Path(shutil.copytree(bundled_folder("images"), tmp_path / "images"))


@pytest.mark.parametrize("flavour", flavour_names())
def test_locks_hold_together(flavour: str) -> None:
    done = check(bundled_folder("images"), flavour)
    assert done.returncode == 0, done.stderr
    assert done.stdout.count("hold together") == 2


@pytest.mark.parametrize(
    ("line", "instead", "told"),
    [
        ("idna==", "", "idna=="),
        ("sympy==", "sympy==1.12\n", "torch==2.6.0 depends on sympy==1.13.1"),
        ("numpy==", "numpy==1.20.0\n", "numpy==1.20.0"),
    ],
)
def test_broken_lock_is_caught(images: Path, line: str, instead: str, told: str) -> None:
    lock = images / "cuda-paper" / "requirements.lock"
    lines = lock.read_text().splitlines(keepends=True)
    assert sum(kept.startswith(line) for kept in lines) == 1
    lock.write_text("".join(instead if kept.startswith(line) else kept for kept in lines))
    done = check(images, "cuda-paper")
    assert done.returncode != 0
    assert told in " ".join((done.stdout + done.stderr).split())
