"""Types of GPUs: memory, and the peak that shares of it are taken of.

Peaks are the vendors' figures for dense products in bfloat16, of the parts with the highest power limit (SXM). Read by
the host, which plans (`aira_bench.scaling`), and by the trainer, which measures (`aira_evaluator.pretrain`). Not
covered: parts with lower limits, whose shares of these peaks are too small.
"""

from dataclasses import dataclass

_GIB = 2**30


@dataclass(frozen=True)
class GpuType:
    """Memory in GiB as the vendor counts (10^9 bytes converted), dense bfloat16 peak in TFLOP/s."""

    name: str
    memory_gib: float
    peak_tflops: float
    unit: str = "GPU"
    """What hours and prices are of."""


GPU_TYPES = {
    gpu.name: gpu
    for gpu in (
        GpuType("a100-40gb", 40e9 / _GIB, 312.0),
        GpuType("a100-80gb", 80e9 / _GIB, 312.0),
        GpuType("h100", 80e9 / _GIB, 989.0),
        GpuType("h200", 141e9 / _GIB, 989.0),
        GpuType("l40s", 48e9 / _GIB, 362.0),
    )
}
PROCESSOR_CORE = GpuType("processor core", 4.0, 0.07, unit="core")
"""For plans of toys on a CPU: no vendor's figure; 40 % of it, a plan's usual share, is what toys reached
(docs/scaling.md)."""


def peak_flops(device: str) -> float | None:
    """Return the dense bfloat16 peak in FLOP/s of a device as its driver names it, None where it is not known.

    `NVIDIA H100 80GB HBM3` is an h100; both types of A100 have one peak.
    """
    words = device.lower().replace("-", " ").split()
    for gpu in GPU_TYPES.values():
        if gpu.name.partition("-")[0] in words:
            return gpu.peak_tflops * 1e12
    return None
