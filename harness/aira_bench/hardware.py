"""What machine this is, for manifests and boards. Boards never compare runs of different hardware classes."""

import os
from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path

from aira_bench.gpus import Gpu, Gpus, look_at_gpus, visible

NOT_LOOKED = Gpus("none", why="nobody looked for one", mend="aira-bench doctor")


@dataclass(frozen=True)
class Hardware:
    """Processor, usable cores, memory and GPUs."""

    processor: str
    cores: int
    memory_mib: int
    gpus: tuple[Gpu, ...] = ()
    """Those that this process may use, busy ones among them."""
    seen: Gpus = NOT_LOOKED
    """What the driver says, also of devices that are hidden from this process, or why there is none."""

    @property
    def label(self) -> str:
        """The hardware class a board groups by: the GPU where there is one, else the processor."""
        return self.gpus[0].name if self.gpus else self.processor


def usable_cores() -> tuple[int, ...]:
    """Return the core numbers this process may run on."""
    return tuple(sorted(os.sched_getaffinity(0)))


def this_machine(*, gpus: bool = True, otherwise: Callable[[Gpus], Gpus] = lambda seen: seen) -> Hardware:
    """Return this machine's processor, usable cores, memory and, unless nobody needs them, GPUs.

    Looking wakes devices that sleep, which takes a second for each where nothing keeps the driver awake.

    Args:
        gpus: whether to look for any.
        otherwise: given what the driver says, tells what is known besides (`aira_bench.sandbox.engine_gpus`).
    """
    processor = next(
        (
            line.split(":", 1)[1].strip()
            for line in Path("/proc/cpuinfo").read_text(encoding="utf-8", errors="replace").splitlines()
            if line.startswith(("model name", "Model"))
        ),
        "unknown processor",
    )
    memory_mib = os.sysconf("SC_PAGE_SIZE") * os.sysconf("SC_PHYS_PAGES") >> 20
    seen = visible(otherwise(look_at_gpus()), os.environ) if gpus else NOT_LOOKED
    return Hardware(processor, len(usable_cores()), memory_mib, seen.devices, seen)
