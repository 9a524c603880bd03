"""Compiles every kernel launch of a few calls for an H100 (sm_90), on a machine without a GPU; prints one JSON line each.

    python tests/kernels/hopper_compilation.py

Triton asks its driver only for the target and then compiles; a driver that answers "sm_90" and a `run` that stops before
the launch suffice. The tensors stay on the CPU and are never computed. What is printed: the kernel, what it was called
for, bytes of shared memory, registers and spilled bytes by the report of the assembler that Triton runs, and whether it
uses the tensor cores of Hopper. It says that kernels fit the chip, nothing about their speed.
"""

import contextlib
import io
import json
import re
from collections.abc import Iterator
from typing import Any

import torch
import triton
from torch import Tensor
from triton.backends.compiler import GPUTarget
from triton.runtime.jit import JITFunction

from aira_kernels.fused.attention import rotary_attention
from aira_kernels.fused.convolution import causal_convolution_silu
from aira_kernels.fused.layer_norm import layer_norm
from aira_kernels.fused.norm import rms_norm
from aira_kernels.fused.scan import ssd_scan

TARGET = GPUTarget("cuda", 90, 32)


class HopperDriver:
    """Answers as an H100 would, as far as compilation asks."""

    def get_current_target(self) -> GPUTarget:
        return TARGET

    def get_current_device(self) -> int:
        return 0

    def get_current_stream(self, _device: int = 0) -> int:
        return 0


def leaf(*shape: int, dtype: torch.dtype) -> Tensor:
    return torch.zeros(shape, dtype=dtype, requires_grad=True)


def calls() -> Iterator[tuple[str, Any]]:
    """Mamba-2's operations in the full-size models' bfloat16 and the MAD evaluator's float32.

    The scan's state is an argument and not a constant: 3B, with 256, runs the kernels of 1B.
    """
    full, half = torch.float32, torch.bfloat16
    for name, dtype, state in (("scan 1B bf16", half, 128), ("scan MAD fp32", full, 64)):
        x, maps = leaf(1, 256, 4, 64, dtype=dtype), [leaf(1, 256, 1, state, dtype=dtype) for _ in range(2)]
        numbers = [leaf(*shape, dtype=full) for shape in ((1, 256, 4), (4,), (4,))]
        yield name, ssd_scan(x, numbers[0], numbers[1], *maps, numbers[2])
    for name, dtype, width in (("norm 3B bf16", half, 6144), ("norm MAD fp32", full, 256)):
        x, gate, weight = leaf(8, width, dtype=dtype), leaf(8, width, dtype=dtype), leaf(width, dtype=full)
        yield name, rms_norm(x, weight, 1e-5, gate)
    rows, weight, bias = leaf(256, 128, dtype=full), leaf(128, dtype=full), leaf(128, dtype=full)
    yield "layer norm MAD fp32", layer_norm(rows, weight, bias, 1e-5)
    tables = [torch.zeros(127, 8) for _ in range(2)]
    yield "attention MAD fp32", rotary_attention(leaf(1, 127, 3, 16, 8, dtype=full), *tables)
    x, weight, bias = leaf(1, 64, 4352, dtype=half), leaf(4, 4352, dtype=full), leaf(4352, dtype=full)
    yield "convolution 1B bf16", causal_convolution_silu(x, weight, bias)


def describe(kernel: Any, report: str) -> dict[str, object]:  # noqa: ANN401
    registers, spilled = re.search(r"Used (\d+) registers", report), re.search(r"(\d+) bytes spill stores", report)
    if registers is None or spilled is None:
        raise SystemExit(f"the assembler said nothing of registers (was the kernel in the cache?): {report!r}")
    return {
        "shared_bytes": kernel.metadata.shared,
        "warps": kernel.metadata.num_warps,
        "registers": int(registers[1]),
        "spilled_bytes": int(spilled[1]),
        "tensor_cores": "wgmma" in kernel.asm["ptx"],
    }


def main() -> None:
    # The evaluator's setting: float32 products round their inputs.
    torch.set_float32_matmul_precision("high")
    compiled: dict[int, tuple[str, Any]] = {}
    reports: dict[str, str] = {}  # by the kernel's hash: one that two calls share is assembled once
    original = JITFunction.run

    def compile_only(self: Any, *arguments: Any, grid: Any, warmup: bool, **options: Any) -> Any:  # noqa: ANN401
        said = io.StringIO()
        with contextlib.redirect_stdout(said):
            kernel = original(self, *arguments, grid=grid, warmup=True, **options)
            kernel = kernel.result() if hasattr(kernel, "result") else kernel
        reports.setdefault(kernel.hash, said.getvalue())
        compiled.setdefault(id(kernel), (self.__name__, kernel))
        return kernel

    triton.knobs.nvidia.dump_ptxas_log = True
    triton.runtime.driver.set_active(HopperDriver())
    JITFunction.run = compile_only
    for name, output in calls():
        output.sum().backward()
        for kernel_name, kernel in compiled.values():
            print(json.dumps({"kernel": kernel_name, "call": name} | describe(kernel, reports[kernel.hash])))
        compiled.clear()


if __name__ == "__main__":
    main()
