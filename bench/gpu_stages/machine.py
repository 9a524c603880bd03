"""The machine a check ran on, in words: device, driver, clocks, power, throttling, memory errors, and versions.

Asks `nvidia-smi` and the names of installed packages; the standard library alone. Not covered: several devices at once.
"""

import contextlib
import os
import platform
import subprocess
from importlib.metadata import PackageNotFoundError, version

PACKAGES = ("torch", "triton", "jax", "jaxlib", "flax", "numpy", "mamba-ssm", "causal-conv1d", "flash-attn")
FIELDS = (
    "name", "driver_version", "clocks.sm", "clocks.max.sm", "clocks.mem", "power.draw", "power.limit",
    "temperature.gpu", "memory.total", "memory.used", "clocks_event_reasons.active", "ecc.mode.current",
    "ecc.errors.uncorrected.volatile.total", "mig.mode.current", "compute_mode",
)  # fmt: skip
"""What is asked of `nvidia-smi`, before the stages and after each."""
OLD_FIELDS = FIELDS[:10]
"""What every driver knows; an unknown field makes `nvidia-smi` answer nothing at all."""
NO_THROTTLING = (0x0, 0x1)
"""Reasons for the present clocks: none, or that the device is idle."""


def gpu_state() -> dict[str, str]:
    """What `nvidia-smi` says of the first visible device, by field; under "missing" why it says nothing."""
    said = ""
    for fields in (FIELDS, OLD_FIELDS):
        query = [f"--query-gpu={','.join(fields)}", "--format=csv,noheader", "-i", _first_visible()]
        try:
            answer = subprocess.run(["nvidia-smi", *query], capture_output=True, text=True, timeout=30, check=False)
        except (OSError, subprocess.TimeoutExpired) as error:
            return {"missing": f"no nvidia-smi: {error}"}
        values = [value.strip() for value in answer.stdout.strip().split(",")]
        if answer.returncode == 0 and len(values) == len(fields):
            return dict(zip(fields, values, strict=True))
        said = (answer.stdout + answer.stderr).strip()
    return {"missing": f"nvidia-smi: {said[:200]}"}


def in_words(state: dict[str, str]) -> str:
    """One line of a device's state."""
    if "missing" in state:
        return state["missing"]
    reasons = state.get("clocks_event_reasons.active", "unknown")
    with contextlib.suppress(ValueError):
        reasons = "none" if int(reasons, 16) in NO_THROTTLING else reasons
    return (
        f"{state['name']}, {state['memory.total']} ({state['memory.used']} used), driver {state['driver_version']}, "
        f"SM clock {state['clocks.sm']} of {state['clocks.max.sm']}, memory clock {state['clocks.mem']}, "
        f"{state['power.draw']} of {state['power.limit']}, {state['temperature.gpu']} C, throttling {reasons}, "
        f"ECC {state.get('ecc.mode.current', 'unknown')} "
        f"(uncorrected errors: {state.get('ecc.errors.uncorrected.volatile.total', 'unknown')}), "
        f"MIG {state.get('mig.mode.current', 'unknown')}"
    )


def machine() -> dict[str, object]:
    """Device, clocks, power, versions; "line" says all of it."""
    versions = {}
    for name in PACKAGES:
        with contextlib.suppress(PackageNotFoundError):
            versions[name] = version(name)
    shown = ", ".join(f"{name} {value}" for name, value in versions.items())
    state = gpu_state()
    line = f"{in_words(state)}; Python {platform.python_version()}, {os.cpu_count()} cores, {shown}"
    return {"line": line, "gpu": state, "versions": versions}


def _first_visible() -> str:
    return os.environ.get("CUDA_VISIBLE_DEVICES", "").split(",")[0].strip() or "0"
