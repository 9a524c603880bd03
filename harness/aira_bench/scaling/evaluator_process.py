"""Processes that run our evaluator's code beside the host, since torch and numpy are what it takes and the host imports
none. They run no agent's code. Not covered: containers, in which agents' work is evaluated.
"""

import importlib.util
import os
from pathlib import Path

_HANDED_ON = ("PATH", "HOME", "USER", "LANG", "LC_ALL", "TMPDIR", "LD_LIBRARY_PATH", "NVIDIA_TF32_OVERRIDE")
_OF_LIBRARIES = ("CUDA_", "TRITON_")
_OF_TRAINERS = ("CC", "CXX", "XDG_CACHE_HOME")
_OF_RANKS = ("CUBLAS_", "FI_", "GLOO_", "KMP_", "MKL_", "NCCL_", "OMP_", "PYTORCH_", "TORCH", "UCX_")
_PACKAGES = ("aira_contract", "aira_evaluator", "aira_kernels")


def environment() -> dict[str, str]:
    """Return what finds programs, devices and our packages; no key is among it, and no code of the folder one is in."""
    specs = (importlib.util.find_spec(name) for name in _PACKAGES)
    roots = (str(Path(spec.origin).parents[1]) for spec in specs if spec is not None and spec.origin is not None)
    ours = {"PYTHONPATH": os.pathsep.join(dict.fromkeys(roots)), "PYTHONSAFEPATH": "1"}
    return _named(_HANDED_ON, _OF_LIBRARIES) | ours


def training_environment() -> dict[str, str]:
    """Return the same for the ranks of a training, with how its libraries compute, compile and talk to each other."""
    return _named(_OF_TRAINERS, _OF_RANKS) | environment()


def _named(names: tuple[str, ...], beginnings: tuple[str, ...]) -> dict[str, str]:
    return {name: value for name, value in os.environ.items() if name in names or name.startswith(beginnings)}
