"""Asks whether a container finds on its GPU what a former one left: the driver is to clear memory between processes.

One container fills most of the device's memory with a pattern that nobody knows, and dies; the next takes the memory
without writing to it, and looks for the pattern at the beginning of every page. Whoever calls holds the device's lease.

Not covered: memory that no process can allocate, caches, and channels between processes that share a device, which none
of ours do.
"""

import json
import secrets
import tempfile
from pathlib import Path
from typing import Any

from aira_bench.output import last_line
from aira_bench.sandbox import hardening
from aira_bench.sandbox.probe_checks import ProbeCheck
from aira_bench.sandbox.sandbox import Artifact, ArtifactRequest, ContainerSpec, Limits, Sandbox

LEAST_SHARE = 0.8
"""Of the device's memory that both containers must have had, or else the answer says little."""
TIMEOUT_S = 180.0
"""A driver that nothing keeps awake takes seconds to begin; filling and looking take another second or two."""
_PROGRAM = "device_memory"
_REPORT = ArtifactRequest("device.json", 4096)


def probe_memory(sandbox: Sandbox, image: str, gpu_uuid: str) -> list[ProbeCheck]:
    """Return whether CUDA works in a container of `image`, and finds nothing of a former one there; ten seconds.

    Raises:
        PrerequisiteError: the image is not there, or the engine cannot give a container the device.
        SandboxError: the engine failed, or somebody else used the device meanwhile.
    """
    limits = Limits(gpu_uuid=gpu_uuid)
    spec = ContainerSpec(image=image, role="probe", run_id=f"probe-{secrets.token_hex(6)}", limits=limits)
    pattern = secrets.randbits(32) | 1  # never 0, which is what cleared memory holds
    wrote = _ask(sandbox, spec, "write", pattern)
    begun = ProbeCheck("CUDA in a container", "error" not in wrote, _told(wrote, "written"), "a context and its memory")
    if not begun.ok:
        return [begun]
    looked = _ask(sandbox, spec, "look", pattern)
    had = all(each.get("taken_mib", 0) >= LEAST_SHARE * each.get("total_mib", 1) for each in (wrote, looked))
    left = looked.get("pages")
    seen = _told(looked, "read")
    if left:
        seen = f"its pattern in {left} pages of 2 MiB, {seen}"
    expected = f"nothing of it in {LEAST_SHARE:.0%} of the GPU's memory or more"
    return [begun, ProbeCheck("GPU memory of a former container", had and left == 0, seen, expected)]


def _ask(sandbox: Sandbox, spec: ContainerSpec, task: str, pattern: int) -> dict[str, Any]:
    container = sandbox.prepare(spec)
    try:
        with tempfile.TemporaryDirectory(prefix="aira-probe-") as folder:
            outcome = container.run(
                ["python3", f"{_PROGRAM}.py", task, str(pattern), _REPORT.name],
                files={f"{_PROGRAM}.py": hardening.source(_PROGRAM).encode()},
                timeout_s=TIMEOUT_S,
                artifacts=[_REPORT],
                destination=Path(folder),
            )
            report = outcome.artifacts[_REPORT.name]
            if isinstance(report, Artifact):
                return dict(json.loads(report.path.read_bytes()))
    finally:
        container.close()
    ended = f"exit status {outcome.exit_code}" if outcome.ended == "exited" else outcome.ended.replace("_", " ")
    return {"error": last_line(outcome.stderr) or f"no report, {ended}"}


def _told(report: dict[str, Any], done: str) -> str:
    if "error" in report:
        return str(report["error"])
    return f"{report['taken_mib']} of {report['total_mib']} MiB {done}"
