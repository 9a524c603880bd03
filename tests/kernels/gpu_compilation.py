"""Compiles every kernel launch of a few calls for GPUs that are not here; prints one JSON line for each.

    python tests/kernels/gpu_compilation.py                   # what is in compiled_kernels.json is not compiled again
    python tests/kernels/gpu_compilation.py --again attend    # but for this kernel
    python tests/kernels/gpu_compilation.py --record          # compile everything, and write that file anew

Triton asks its driver only for the target and then compiles; a driver that answers "sm_90" and a `run` that stops before
the launch suffice. The tensors stay on the CPU and are never computed. What is printed: the target, the kernel, what it
was called for, Triton's own key of source, constants, options and versions, bytes of shared memory, registers and spilled
bytes by the report of the assembler that Triton runs, and whether it uses the tensor cores of Hopper or of data centre
Blackwell. It says that kernels fit the chip, nothing about their speed.
"""

import argparse
import contextlib
import functools
import hashlib
import io
import json
import re
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import torch
import triton
import triton.compiler
from torch import Tensor
from triton.backends.compiler import GPUTarget
from triton.compiler.compiler import get_cache_invalidating_env_vars, get_cache_key, make_backend
from triton.runtime.jit import JITFunction

from aira_kernels.fused.attention import rotary_attention
from aira_kernels.fused.convolution import causal_convolution_silu
from aira_kernels.fused.layer_norm import layer_norm
from aira_kernels.fused.norm import rms_norm
from aira_kernels.fused.scan import ssd_scan

CAPABILITIES = (80, 89, 90, 100, 120)
"""A100; L4, L40S and RTX 40; H100 and H200; B200; RTX PRO 6000 and RTX 50."""
RECORDED = Path(__file__).with_name("compiled_kernels.json")


class PlayedDriver:
    """Answers as a GPU of one kind would, as far as compilation asks. Kernels are kept by the device's number."""

    def __init__(self, capability: int) -> None:
        self._capability = capability

    def get_current_target(self) -> GPUTarget:
        return GPUTarget("cuda", self._capability, 32)

    def get_current_device(self) -> int:
        return self._capability

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


def described(kernel: Any, report: str) -> dict[str, object]:  # noqa: ANN401
    registers, spilled = re.search(r"Used (\d+) registers", report), re.search(r"(\d+) bytes spill stores", report)
    if registers is None or spilled is None:
        raise SystemExit(f"the assembler said nothing of registers (was the kernel in the cache?): {report!r}")
    return {
        "shared_bytes": kernel.metadata.shared,
        "warps": kernel.metadata.num_warps,
        "registers": int(registers[1]),
        "spilled_bytes": int(spilled[1]),
        "tensor_cores": "wgmma" in kernel.asm["ptx"] or "tcgen05" in kernel.asm["ptx"],
    }


class Compilations:
    """Compiles what is not known yet, and notes what each launch became."""

    def __init__(self, known: dict[str, dict[str, object]]) -> None:
        self.known = known
        self.launched: dict[str, str] = {}
        """The launches of one call: names of kernels by key, in order."""
        self._compile = triton.compiler.compile
        self._backend = functools.cache(make_backend)

    def __call__(self, source: Any, target: GPUTarget, options: dict[str, Any]) -> Any:  # noqa: ANN401
        """Stand in for `triton.compile`; nothing that it returns is ever launched."""
        backend = self._backend(target)
        parsed = backend.parse_options(dict(options))
        whole_key = get_cache_key(source, backend, parsed, env_vars=get_cache_invalidating_env_vars())
        key = hashlib.sha256(whole_key.encode()).hexdigest()[:24]
        self.launched[key] = source.name
        if key not in self.known:
            said = io.StringIO()
            with contextlib.redirect_stdout(said):
                kernel = self._compile(source, target=target, options=options)
            self.known[key] = described(kernel, said.getvalue()) | {"compiled": True}
        return source


def launches(known: dict[str, dict[str, object]]) -> Iterator[dict[str, object]]:
    """Describe every launch of every call, for one kind of GPU after the other."""
    # The evaluator's setting: float32 products round their inputs.
    torch.set_float32_matmul_precision("high")
    original = JITFunction.run
    compilations = Compilations(known)

    def stop_before_the_launch(self: Any, *arguments: Any, grid: Any, warmup: bool, **options: Any) -> Any:  # noqa: ANN401
        return original(self, *arguments, grid=grid, warmup=True, **options)

    triton.knobs.nvidia.dump_ptxas_log = True
    triton.compiler.compile = compilations
    JITFunction.run = stop_before_the_launch
    for capability in CAPABILITIES:
        triton.runtime.driver.set_active(PlayedDriver(capability))
        for name, output in calls():
            output.sum().backward()
            for key, kernel in compilations.launched.items():
                yield {"capability": capability, "kernel": kernel, "call": name, "key": key} | known[key]
            compilations.launched.clear()


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--record", action="store_true")
    parser.add_argument("--again", help="a kernel that is compiled whatever is recorded of it")
    options = parser.parse_args()
    recorded = [] if options.record else json.loads(RECORDED.read_text())
    known = {
        line["key"]: {name: line[name] for name in line if name not in LABELS}
        for line in recorded
        if line["kernel"] != options.again
    }
    found = []
    for line in launches(known):
        print(json.dumps(line), flush=True)
        found.append({name: value for name, value in line.items() if name != "compiled"})
    if options.record:
        RECORDED.write_text("[\n" + ",\n".join(map(json.dumps, found)) + "\n]\n")


LABELS = ("capability", "kernel", "call", "key")
"""What says which launch a line is of; the rest says what became of it."""


if __name__ == "__main__":
    main()
