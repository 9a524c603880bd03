"""Every kernel compiles for an H100 and fits it: no GPU is needed to know that."""

import json
import os
import subprocess
import sys
from pathlib import Path

import pytest

SHARED_BYTES = 227 * 1024
"""What one block of a H100 may have (CUDA programming guide, compute capability 9.0)."""
SPILLED_BYTES = 256
"""A few spilled numbers cost nothing one could measure; kilobytes are a kernel that does not fit its registers."""
WITH_PRODUCTS = {"overlaps", "chunk_states", "outputs", "input_gradients", "overlap_gradients", "map_gradients"}
ALL = WITH_PRODUCTS | {
    "attend", "query_gradients", "key_value_gradients", "decay_sums", "pass_states", "decay_gradients", "normalize", "normalize_backward", "convolve", "convolve_backward",
}  # fmt: skip


@pytest.mark.timeout(900)
def test_every_kernel_compiles_for_hopper_and_fits(tmp_path: Path) -> None:
    script = Path(__file__).parent / "hopper_compilation.py"
    environment = os.environ | {"TRITON_CACHE_DIR": str(tmp_path), "TRITON_INTERPRET": "0", "OMP_NUM_THREADS": "1"}
    finished = subprocess.run([sys.executable, script], env=environment, capture_output=True, text=True, check=False)
    assert finished.returncode == 0, finished.stderr[-4000:]
    kernels = [json.loads(line) for line in finished.stdout.splitlines()]
    assert {kernel["kernel"] for kernel in kernels} == ALL
    for kernel in kernels:
        assert kernel["shared_bytes"] <= SHARED_BYTES, kernel
        assert kernel["spilled_bytes"] <= SPILLED_BYTES, kernel
        if kernel["kernel"] in WITH_PRODUCTS and "bf16" in kernel["call"]:
            assert kernel["tensor_cores"], kernel
