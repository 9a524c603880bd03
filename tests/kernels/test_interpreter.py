"""The tests of the Triton kernels on a CPU: once more, in a process where Triton interprets.

Triton decides at import whether to interpret, so these tests cannot share this process. The interpreter's times say
nothing about a GPU's.
"""

import os
import re
import subprocess
import sys
from pathlib import Path

import pytest

FOLDER = Path(__file__).parent
MODULES = [
    "test_fused_attention.py", "test_fused_blocks.py", "test_fused_convolution.py", "test_fused_layer_norm.py",
    "test_fused_norm.py", "test_fused_scan.py",
]  # fmt: skip


@pytest.mark.timeout(1800)
def test_the_kernels_pass_in_the_interpreter() -> None:
    assert sorted(path.name for path in FOLDER.glob("test_fused_*.py")) == MODULES
    finished = subprocess.run(
        [sys.executable, "-m", "pytest", "-p", "no:cacheprovider", *(FOLDER / module for module in MODULES)],
        env=os.environ | {"TRITON_INTERPRET": "1", "OMP_NUM_THREADS": "1"},
        capture_output=True, text=True, check=False,
    )  # fmt: skip
    assert finished.returncode == 0, finished.stdout[-6000:] + finished.stderr[-2000:]
    # At two levels of quiet, the last line is dots and a percentage: neither a skip nor an empty session passes.
    outcomes = "".join(re.findall(r"^([.sxXFE]+) *\[ *[0-9]+%\]$", finished.stdout, flags=re.MULTILINE))
    assert len(outcomes) > 60, finished.stdout[-2000:]
    assert set(outcomes) == {"."}, finished.stdout[-2000:]
