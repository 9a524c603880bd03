"""A driver for machines without one: NVIDIA's own binding asks a library that is built here and says what a test wants.

`driver_says` is for whole commands, in this process or in children of it; `h100` makes a device without a driver.
"""

import atexit
import functools
import shutil
import subprocess
import tempfile
from pathlib import Path

import pytest

from aira_bench.gpus import Gpu, GpuProcess

SOURCES = {"libnvidia-ml.so.1": "nvml.c", "libcuda.so.1": "cuda.c"}
H100 = "NVIDIA H100 80GB HBM3"


def h100(index: int = 0, *, processes: tuple[GpuProcess, ...] = (), fault: str = "", free_mib: int = 81_004) -> Gpu:
    return Gpu(index, uuid(index), H100, 81_559, free_mib, (9, 0), processes=processes, fault=fault)


def uuid(index: int) -> str:
    return f"GPU-{index:08x}-1111-2222-3333-444444444444"


def gpu_line(
    index: int, *, code: int = 0, free_mib: int = 81_004, mig: int = 0, ecc: int = 0, remap: int = 0, mode: int = 0,
    name: str = H100, total_mib: int = 81_559, capability: str = "9 0",
) -> str:  # fmt: skip
    """A line of `nvml.c` for one GPU."""
    return f"gpu {code} {uuid(index)} {total_mib} {free_mib} {capability} {mig} {ecc} {remap} {mode} {name}"


@functools.cache
def library_folder() -> Path:
    """Where the driver's two libraries lie as they were built."""
    if (compiler := shutil.which("cc")) is None:
        pytest.skip("no C compiler (cc) to build a driver's library with")
    folder = Path(tempfile.mkdtemp(prefix="fake-nvml-"))
    atexit.register(shutil.rmtree, folder, ignore_errors=True)
    for library, source in SOURCES.items():
        command = [
            compiler,
            "-shared",
            "-fPIC",
            "-o",
            str(folder / library),
            str(Path(__file__).parent / "gpus" / source),
        ]
        subprocess.run(command, check=True, timeout=60)
    return folder


def driver_says(monkeypatch: pytest.MonkeyPatch, tmp_path: Path, *lines: str) -> None:
    """From here on the machine has a driver that answers so."""
    folder = tmp_path / "driver"
    folder.mkdir(exist_ok=True)
    if not (folder / "libnvidia-ml.so.1").exists():  # a process may have it loaded
        shutil.copy(library_folder() / "libnvidia-ml.so.1", folder)
    (folder / "nvml.txt").write_text("".join(f"{line}\n" for line in lines), encoding="utf-8")
    monkeypatch.setenv("LD_LIBRARY_PATH", str(folder))
