"""Every kernel compiles for five kinds of GPU and fits them: no GPU is needed to know that."""

import json
import os
import subprocess
import sys
from collections import Counter
from pathlib import Path

import pytest

FOLDER = Path(__file__).parent
SHARED_KIB = {80: 163, 89: 99, 90: 227, 100: 227, 120: 99}
"""What one block may have (CUDA programming guide, technical specifications per compute capability)."""
SPILLED_BYTES = 256
"""A few spilled numbers cost nothing one could measure; kilobytes are a kernel that does not fit its registers."""
MORE_REGISTERS = 8
"""What a kernel that was changed may take more than is recorded, before somebody looks and records it anew."""
AGAIN = "pass_states"
"""What is recorded is believed, but for one kernel, which is compiled in each session and for all GPUs."""
WITH_PRODUCTS = {"overlaps", "chunk_states", "outputs", "input_gradients", "overlap_gradients", "map_gradients"}
ALL = WITH_PRODUCTS | {
    "attend", "query_gradients", "key_value_gradients", "decay_sums", "pass_states", "decay_gradients", "normalize", "normalize_backward", "convolve", "convolve_backward",
}  # fmt: skip
Launch = tuple[int, str, str, int]


def by_launch(lines: list[dict[str, object]]) -> dict[Launch, dict[str, object]]:
    """A kernel may be launched more than once in a call: the last number counts."""
    seen: Counter[tuple[int, str, str]] = Counter()
    found = {}
    for line in lines:
        launch = (int(str(line["capability"])), str(line["call"]), str(line["kernel"]))
        found[(*launch, seen[launch])] = line
        seen[launch] += 1
    return found


@pytest.fixture(scope="module")
def launches(tmp_path_factory: pytest.TempPathFactory) -> dict[Launch, dict[str, object]]:
    """Every launch, those compiled now whose source, constants, options or compiler are not the recorded ones."""
    cache = tmp_path_factory.mktemp("triton")
    environment = os.environ | {"TRITON_CACHE_DIR": str(cache), "TRITON_INTERPRET": "0", "OMP_NUM_THREADS": "1"}
    command = [sys.executable, FOLDER / "gpu_compilation.py", "--again", AGAIN]
    finished = subprocess.run(command, env=environment, capture_output=True, text=True, check=False)
    assert finished.returncode == 0, finished.stderr[-4000:]
    return by_launch([json.loads(line) for line in finished.stdout.splitlines()])


@pytest.mark.timeout(900)
def test_every_kernel_fits_every_gpu(launches: dict[Launch, dict[str, object]]) -> None:
    assert {(capability, kernel) for capability, _, kernel, _ in launches} == {
        (capability, kernel) for capability in SHARED_KIB for kernel in ALL
    }
    for (capability, call, kernel, _), line in launches.items():
        assert int(str(line["shared_bytes"])) <= SHARED_KIB[capability] * 1024, line
        assert int(str(line["spilled_bytes"])) <= SPILLED_BYTES, line
        if kernel in WITH_PRODUCTS and "bf16" in call and capability in (90, 100):
            assert line["tensor_cores"], line


def test_no_kernel_takes_more_registers_than_is_recorded(launches: dict[Launch, dict[str, object]]) -> None:
    recorded = by_launch(json.loads((FOLDER / "compiled_kernels.json").read_text()))
    assert recorded.keys() == launches.keys(), "python tests/kernels/gpu_compilation.py --record"
    for launch, line in launches.items():
        before = recorded[launch]
        assert int(str(line["registers"])) <= int(str(before["registers"])) + MORE_REGISTERS, line
        assert int(str(line["spilled_bytes"])) <= int(str(before["spilled_bytes"])) + 4 * MORE_REGISTERS, line


def test_what_is_recorded_is_what_comes_out(launches: dict[Launch, dict[str, object]]) -> None:
    recorded = {line["key"]: line for line in json.loads((FOLDER / "compiled_kernels.json").read_text())}
    again = [dict(line) for (_, _, kernel, _), line in launches.items() if kernel == AGAIN]
    assert all(line.pop("compiled") for line in again)
    same = [line for line in again if line["key"] in recorded]
    assert all(line == recorded[line["key"]] for line in same)
    assert same, "another Triton, or other kernels: python tests/kernels/gpu_compilation.py --record"
