"""What a manifest says of the software and the machine that made a run.

Not covered: what it says of the task, its data and its images, which whoever launches a run has at hand.
"""

import hashlib
import math
import os
import platform
import subprocess
import time
from importlib import metadata
from pathlib import Path
from typing import Any

from aira_bench.gpus import Gpu
from aira_bench.hardware import Hardware
from aira_bench.version import __version__

_SPEED_MIB = 8
_RECORDED_PACKAGES = (
    "cryptography",
    "docker",
    "pydantic",
    "rich",
    "anthropic",
    "google-genai",
    "openai",
    "tenacity",
    "jinja2",
    "botorch",
    "gpytorch",
    "torch",
)


def software_versions() -> dict[str, str]:
    """Versions of the packages a run stands on; a package that is not installed is left out."""
    versions = {"aira-bench": __version__}
    for name in _RECORDED_PACKAGES:
        try:
            versions[name] = metadata.version(name)
        except metadata.PackageNotFoundError:
            continue
    return versions


def source_revision() -> str | None:
    """Return the commit this code was run from, with `+changes` if edited; None outside a checkout."""
    root = Path(__file__).resolve().parents[3]
    if not (root / ".git").exists():
        return None
    try:
        head = _git(root, "rev-parse", "HEAD")
        return head + ("+changes" if _git(root, "status", "--porcelain", "--untracked-files=no") else "")
    except (OSError, subprocess.SubprocessError):
        return None


def _git(root: Path, *arguments: str) -> str:
    done = subprocess.run(["git", "-C", str(root), *arguments], capture_output=True, text=True, timeout=20, check=True)
    return done.stdout.strip()


def describe_hardware(hardware: Hardware) -> dict[str, Any]:
    """Hardware as plain JSON values, with its speed and its load as the run begins."""
    return {
        "processor": hardware.processor,
        "cores": hardware.cores,
        "memory_mib": hardware.memory_mib,
        "gpus": [_describe_gpu(gpu) for gpu in hardware.gpus],
        "gpu_driver": hardware.seen.driver,
        "sha256_mib_per_s": round(core_speed()),
        "load_average": round(os.getloadavg()[0], 2),
    }


def _describe_gpu(gpu: Gpu) -> dict[str, Any]:
    """What stays the same of a device; who else computes on it is not for records that are published."""
    return {
        "place": gpu.place,
        "uuid": gpu.uuid,
        "name": gpu.name,
        "memory_mib": gpu.memory_mib,
        "compute_capability": list(gpu.compute_capability),
        "mig": gpu.mig,
    }


def core_speed() -> float:
    """Return how many MiB of SHA-256 a core makes in a second of its own time: the best of three tries.

    It tells machines apart that call themselves the same, and one that is throttled from one that is not. Nothing is
    scaled by it (docs/decisions/0027).
    """
    data, best_s = bytes(_SPEED_MIB << 20), math.inf
    for _ in range(3):
        began_s = time.thread_time()
        hashlib.sha256(data)
        best_s = min(best_s, time.thread_time() - began_s)
    return _SPEED_MIB / max(best_s, 1e-6)


def python_version() -> str:
    """Return the host interpreter's version."""
    return platform.python_version()
