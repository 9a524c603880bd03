"""What machine this is, for manifests and boards. Boards never compare runs of different hardware classes."""

import os
import shutil
import subprocess
from dataclasses import dataclass
from pathlib import Path


@dataclass(frozen=True)
class Gpu:
    """One NVIDIA device of this machine, as its driver describes it."""

    name: str
    uuid: str
    memory_mib: int


@dataclass(frozen=True)
class Hardware:
    """Processor, usable cores, memory and GPUs."""

    processor: str
    cores: int
    memory_mib: int
    gpus: tuple[Gpu, ...]

    @property
    def label(self) -> str:
        """The hardware class a board groups by: the GPU where there is one, else the processor."""
        return self.gpus[0].name if self.gpus else self.processor


def usable_cores() -> tuple[int, ...]:
    """Return the core numbers this process may run on."""
    return tuple(sorted(os.sched_getaffinity(0)))


def this_machine() -> Hardware:
    """Return this machine's processor, usable cores, memory and GPUs."""
    processor = next(
        (
            line.split(":", 1)[1].strip()
            for line in Path("/proc/cpuinfo").read_text(encoding="utf-8", errors="replace").splitlines()
            if line.startswith(("model name", "Model"))
        ),
        "unknown processor",
    )
    memory_mib = os.sysconf("SC_PAGE_SIZE") * os.sysconf("SC_PHYS_PAGES") >> 20
    return Hardware(processor, len(usable_cores()), memory_mib, _gpus())


def _gpus() -> tuple[Gpu, ...]:
    tool = shutil.which("nvidia-smi")
    if tool is None:
        return ()
    query = [tool, "--query-gpu=name,uuid,memory.total", "--format=csv,noheader,nounits"]
    try:
        listed = subprocess.run(query, capture_output=True, text=True, timeout=20, check=True).stdout
    except (OSError, subprocess.SubprocessError):
        return ()
    rows = [[cell.strip() for cell in line.split(",")] for line in listed.splitlines() if line.count(",") == 2]
    return tuple(Gpu(name, uuid, int(memory)) for name, uuid, memory in rows if memory.isdigit())
