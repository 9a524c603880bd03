"""Probes the memory of one of a run's devices, under its lease: one that nobody has, and nobody waits for.

Not covered: the others. Clearing memory is the driver's work, the same for all that it drives.
"""

from collections.abc import Callable, Sequence

from aira_bench.runs.slots import free_gpu
from aira_bench.sandbox.memory_probe import probe_memory
from aira_bench.sandbox.probe_checks import ProbeCheck
from aira_bench.sandbox.sandbox import Sandbox


def probe_free_device(
    sandbox: Sandbox, image: str, gpus: Sequence[str], note: Callable[[str], None]
) -> list[ProbeCheck]:
    """Return what a probe of the first free device found; nothing, and a note of it, where other runs have them all.

    Raises:
        PrerequisiteError: the image is not there, or the engine cannot give a container the device.
        SandboxError: the engine failed, somebody else used the device meanwhile, or what a killed run left there could
            not be removed.
    """
    with free_gpu(sandbox, gpus) as uuid:
        if uuid is not None:
            note(f"probing the memory of {uuid}")
            return probe_memory(sandbox, image, uuid)
    note("other runs have every GPU just now: whether their memory is cleared between containers was not probed")
    return []
