"""Processes that run our evaluator's code beside the host, since torch and numpy are what it takes and the host imports
none. They run no agent's code. Not covered: containers, in which agents' work is evaluated.
"""

import importlib.util
import os
from pathlib import Path

_HANDED_ON = ("PATH", "HOME", "LANG", "LC_ALL", "TMPDIR", "LD_LIBRARY_PATH", "CUDA_VISIBLE_DEVICES", "CUDA_HOME")
_OF_LIBRARIES = ("TRITON_", "NVIDIA_")
_PACKAGES = ("aira_contract", "aira_evaluator", "aira_kernels")


def environment() -> dict[str, str]:
    """Return what finds programs, devices and our packages; no key is among it."""
    found = {name: value for name, value in os.environ.items() if name in _HANDED_ON or name.startswith(_OF_LIBRARIES)}
    specs = (importlib.util.find_spec(name) for name in _PACKAGES)
    roots = (str(Path(spec.origin).parents[1]) for spec in specs if spec is not None and spec.origin is not None)
    return found | {"PYTHONPATH": os.pathsep.join(dict.fromkeys(roots))}
