"""Probes the memory of one of a run's devices, under its lease.

Not covered: the others. Clearing memory is the driver's work, the same for all that it drives.
"""

from collections.abc import Callable, Sequence

from aira_bench.runs.leases import Leases, lease_folder
from aira_bench.runs.places import gpu_lease
from aira_bench.sandbox.memory_probe import probe_memory
from aira_bench.sandbox.probe_checks import ProbeCheck
from aira_bench.sandbox.sandbox import Sandbox


def probe_free_device(
    sandbox: Sandbox, image: str, gpus: Sequence[str], note: Callable[[str], None]
) -> list[ProbeCheck]:
    """Return what a probe of the first free device found; nothing, and a note of it, where other runs have them all.

    Raises:
        PrerequisiteError: the image is not there, or the engine cannot give a container the device.
        SandboxError: the engine failed, or somebody else used the device meanwhile.
    """
    leases = Leases(lease_folder())
    try:
        for uuid in gpus:
            if leases.take(gpu_lease(uuid)):
                note(f"probing the memory of {uuid}")
                return probe_memory(sandbox, image, uuid)
    finally:
        leases.release()
    note("other runs have every GPU just now: whether their memory is cleared between containers was not probed")
    return []
