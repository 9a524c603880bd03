"""Looks at the machine's devices from outside the driver: a process of its own asks, and has so long to answer.

Not covered: what is asked (`nvml`).
"""

import contextlib
import json
import os
import subprocess
import sys
from pathlib import Path
from typing import Any

from aira_bench.gpus.gpu import Gpu, GpuProcess, Gpus

TIMEOUT_S = 30.0
"""A driver that nothing keeps awake takes some seconds to begin on a machine with eight GPUs."""
_GRACE_S = 1.0
_MOST_CHARS = 200
_SIGNALLED = 128
HANDED_ON = ("PATH", "HOME", "LANG", "LC_ALL", "TMPDIR", "PYTHONPATH", "LD_LIBRARY_PATH")
"""Of the environment; keys are not among it."""
_ASK_IT = "nvidia-smi"


def look_at_gpus(system: Path = Path("/"), timeout_s: float = TIMEOUT_S) -> Gpus:
    """Return what the NVIDIA driver says of this machine's devices at this moment; it takes a tenth of a second.

    Args:
        system: where `sys` and `proc` are found.
        timeout_s: how long the driver may take; one that hangs is broken.
    """
    asking = subprocess.Popen(
        [sys.executable, "-P", "-m", "aira_bench.gpus.nvml", str(system)],
        stdin=subprocess.DEVNULL, stdout=subprocess.PIPE, stderr=subprocess.PIPE, text=True,
        env={name: os.environ[name] for name in HANDED_ON if name in os.environ},
    )  # fmt: skip
    try:
        said, complaint = asking.communicate(timeout=timeout_s)
    except subprocess.TimeoutExpired:
        asking.kill()
        with contextlib.suppress(subprocess.TimeoutExpired):  # stuck in the kernel it does not die, and is left alone
            asking.communicate(timeout=_GRACE_S)
        return Gpus("broken", (), f"the NVIDIA driver did not answer in {timeout_s:g} s", "sudo reboot")
    return understood(asking.returncode, said, complaint)


def understood(status: int, said: str, complaint: str) -> Gpus:
    """Return what a process that asked the driver (`nvml`) has found out.

    Args:
        status: its exit status; below 0 the signal that ended it, above 128 that signal and 128.
        said: what it wrote to stdout, of which the last line is its answer.
        complaint: what it wrote to stderr.
    """
    if status < 0 or status > _SIGNALLED:
        signal = -status if status < 0 else status - _SIGNALLED
        return Gpus("broken", (), f"the NVIDIA driver's library ended its process with signal {signal}", _ASK_IT)
    if status != 0:
        return _not_understood(complaint)
    try:
        return _gpus(json.loads(_last(said)))  # a library may have written before
    except (ValueError, TypeError, KeyError):  # or have ended the process, with status 0
        return _not_understood(complaint or said)


def _last(text: str) -> str:
    return (text.strip().splitlines() or ["nothing was said"])[-1]


def _not_understood(text: str) -> Gpus:
    why = f"what the NVIDIA driver says was not understood: {_last(text)[:_MOST_CHARS]}"
    return Gpus("broken", (), why, _ASK_IT)


def _gpus(said: dict[str, Any]) -> Gpus:
    return Gpus(
        **said
        | {"devices": tuple(map(_gpu, said["devices"]))}
        | {name: tuple(said[name]) for name in ("lost", "others", "every")}
    )


def _gpu(said: dict[str, Any]) -> Gpu:
    processes = tuple(GpuProcess(**each) for each in said["processes"])
    major, minor = said["compute_capability"]
    return Gpu(**said | {"processes": processes, "compute_capability": (major, minor)})
