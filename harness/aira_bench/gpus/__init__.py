"""NVIDIA devices of this machine: which there are, why there are none, and what keeps one from being used.

`look_at_gpus` asks the driver; `Gpus` is its answer.

Not covered: who has a device when (`aira_bench.runs.leases`), and how a container gets one (`aira_bench.sandbox`).
"""

from aira_bench.gpus.gpu import Gpu, GpuProcess, Gpus
from aira_bench.gpus.look import look_at_gpus

__all__ = ["Gpu", "GpuProcess", "Gpus", "look_at_gpus"]
