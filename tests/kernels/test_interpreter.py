"""The tests of the Triton kernels on a CPU: each module in a process of its own, in Triton's interpreter.

Triton decides at import whether to interpret, so the tests cannot share this process. The interpreter's times say
nothing about a GPU's.
"""

import os
import subprocess
import sys
from pathlib import Path

import pytest

MODULES = sorted(path.name for path in Path(__file__).parent.glob("test_fused_*.py"))


def test_there_are_kernels_to_test() -> None:
    assert MODULES == ["test_fused_blocks.py", "test_fused_convolution.py", "test_fused_norm.py", "test_fused_scan.py"]


@pytest.mark.timeout(900)
@pytest.mark.parametrize("module", MODULES)
def test_the_kernels_pass_in_the_interpreter(module: str) -> None:
    finished = subprocess.run(
        [sys.executable, "-m", "pytest", "-p", "no:cacheprovider", Path(__file__).parent / module],
        env=os.environ | {"TRITON_INTERPRET": "1", "OMP_NUM_THREADS": "1"},
        capture_output=True, text=True, check=False,
    )  # fmt: skip
    assert finished.returncode == 0, finished.stdout[-6000:] + finished.stderr[-2000:]
    assert " passed" in finished.stdout
    assert "skipped" not in finished.stdout
