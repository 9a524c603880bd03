"""A disk that takes no more of an artifact halts the seed: it is neither the engine's failure nor the code's."""

import resource
import subprocess
from collections.abc import Iterator
from pathlib import Path

import pytest
from small_steps import SMALL, RunCode

from aira_bench.errors import MachineError
from aira_bench.sandbox.sandbox import ArtifactRequest

pytestmark = pytest.mark.docker
KIB = 1024
LARGE = ArtifactRequest("model.bin", 1024 * KIB)
CODE = "open('model.bin', 'wb').write(b'x' * 150 * 1024)"


@pytest.fixture
def small_disk(tmp_path: Path) -> Iterator[Path]:
    """A file system of 100 KiB."""
    folder = tmp_path / "out"  # where `run_code` has artifacts copied to
    folder.mkdir()
    mounted = subprocess.run(
        ["mount", "-t", "tmpfs", "-o", "size=100k", "tmpfs", str(folder)], capture_output=True, check=False
    )
    if mounted.returncode != 0:
        pytest.skip("only root may mount a small disk")
    yield folder
    subprocess.run(["umount", str(folder)], check=True)


def test_a_full_disk_is_the_machines_failure_and_leaves_nothing_half_written(
    run_code: RunCode, small_disk: Path
) -> None:
    with pytest.raises(MachineError, match=r"model\.bin: the disk is full") as caught:
        run_code(CODE, limits=SMALL, artifacts=[LARGE])
    assert caught.value.hint == f"df -h {small_disk / 'model.bin'}"
    assert list(small_disk.iterdir()) == []


def test_a_file_that_may_not_grow_is_the_machines_failure(run_code: RunCode, tmp_path: Path) -> None:
    soft, hard = resource.getrlimit(resource.RLIMIT_FSIZE)
    resource.setrlimit(resource.RLIMIT_FSIZE, (100 * KIB, hard))
    try:
        with pytest.raises(MachineError, match=r"model\.bin: the file may not grow further"):
            run_code(CODE, limits=SMALL, artifacts=[LARGE])
    finally:
        resource.setrlimit(resource.RLIMIT_FSIZE, (soft, hard))
    assert list((tmp_path / "out").iterdir()) == []
