"""NVIDIA devices of this machine: which there are, why there are none, and what keeps one from being used.

`look_at_gpus` asks the driver; `Gpus` is its answer; `visible` and `choose` apply
`CUDA_VISIBLE_DEVICES` and `--gpus`.

Not covered: who has a device when (`aira_bench.runs.leases`), and how a container gets one (`aira_bench.sandbox`).
Internal.
"""

from aira_bench.gpus.choice import choose, visible
from aira_bench.gpus.gpu import Gpu, GpuProcess, Gpus
from aira_bench.gpus.look import look_at_gpus

__all__ = ["Gpu", "GpuProcess", "Gpus", "choose", "look_at_gpus", "visible"]
