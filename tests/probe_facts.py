"""What a real probe container reported once, and how the engine described it: all its walls stood.

Recorded with Docker's own runtime and the ordinary image, less paths of the machine; the parts that the code decides
anew (the seccomp profile) are put in here.
"""

import copy
import json
import os
from pathlib import Path
from typing import Any

from aira_bench.sandbox import hardening
from aira_bench.sandbox.sandbox import ContainerSpec

_RECORDED = json.loads((Path(__file__).parent / "sandbox" / "probe_container.json").read_text())


def facts() -> dict[str, Any]:
    """The report of `inside/witness.py`."""
    found = copy.deepcopy(dict(_RECORDED["facts"]))
    found["affinity"] = [min(os.sched_getaffinity(0))]  # to which a probe container is pinned here
    return found


def inspected(spec: ContainerSpec) -> dict[str, Any]:
    """The engine's description of the container."""
    found = copy.deepcopy(dict(_RECORDED["inspected"]))
    found["HostConfig"]["SecurityOpt"].append(hardening.seccomp(spec))
    return found
