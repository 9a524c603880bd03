"""Reads one device once a second and writes each reading to stdout as a line of JSON: a process of its own.

It ends when its input does, after a last reading, or when nobody reads it any more. Why it is no thread of a run:
see `nvml`.

Not covered: what the readings come to (`use`).
"""

import json
import select
import sys
from dataclasses import asdict
from pathlib import Path

from aira_bench.gpus.nvml import or_none, processes_on
from aira_bench.gpus.use import GpuReading

INTERVAL_S = 1.0
_FATAL = ("NVML_ERROR_GPU_IS_LOST", "NVML_ERROR_RESET_REQUIRED", "NVML_ERROR_NOT_FOUND", "NVML_ERROR_UNKNOWN")


def read(uuid: str, system: Path = Path("/")) -> GpuReading:
    """Return what the driver says of a device now."""
    import pynvml

    try:
        handle = pynvml.nvmlDeviceGetHandleByUUID(uuid)
        # Clocks and power are the whole GPU's, of which a MIG instance is a part.
        whole = or_none(lambda: pynvml.nvmlDeviceGetDeviceHandleFromMigDeviceHandle(handle)) or handle
        return _read(handle, whole, system)
    except pynvml.NVMLError as error:
        if error.value in {getattr(pynvml, name) for name in _FATAL}:
            return GpuReading(fault=str(error).strip() or type(error).__name__)
        return GpuReading()


def _read(handle: object, whole: object, system: Path) -> GpuReading:
    import pynvml

    uncorrected, volatile = pynvml.NVML_MEMORY_ERROR_TYPE_UNCORRECTED, pynvml.NVML_VOLATILE_ECC
    memory = or_none(lambda: pynvml.nvmlDeviceGetMemoryInfo(handle))
    reasons = or_none(lambda: pynvml.nvmlDeviceGetCurrentClocksEventReasons(whole))
    if reasons is None:  # drivers before 535 have it by its old name
        reasons = or_none(lambda: pynvml.nvmlDeviceGetCurrentClocksThrottleReasons(whole))
    return GpuReading(
        sm_clock_mhz=or_none(lambda: pynvml.nvmlDeviceGetClockInfo(whole, pynvml.NVML_CLOCK_SM)),
        most_sm_clock_mhz=or_none(lambda: pynvml.nvmlDeviceGetMaxClockInfo(whole, pynvml.NVML_CLOCK_SM)),
        power_w=_watts(or_none(lambda: pynvml.nvmlDeviceGetPowerUsage(whole))),
        power_limit_w=_watts(or_none(lambda: pynvml.nvmlDeviceGetEnforcedPowerLimit(whole))),
        own_power_limit_w=_watts(or_none(lambda: pynvml.nvmlDeviceGetPowerManagementDefaultLimit(whole))),
        temperature_c=or_none(lambda: pynvml.nvmlDeviceGetTemperature(whole, pynvml.NVML_TEMPERATURE_GPU)),
        reasons=reasons,
        used_mib=None if memory is None else int(memory.used) >> 20,
        errors=or_none(lambda: pynvml.nvmlDeviceGetTotalEccErrors(whole, uncorrected, volatile)),
        processes=processes_on(handle, system),
    )


def _watts(milliwatts: int | None) -> float | None:
    return None if milliwatts is None else milliwatts / 1000


def main(uuid: str) -> None:
    """Write readings until the input ends."""
    import pynvml

    pynvml.nvmlInit()
    while True:
        ending = bool(select.select([sys.stdin], [], [], 0)[0])  # looked at first: the last reading is of after the end
        sys.stdout.write(f"\n{json.dumps(asdict(read(uuid)))}\n")  # lines of their own, whatever the library wrote
        sys.stdout.flush()
        if ending:
            return
        select.select([sys.stdin], [], [], INTERVAL_S)


if __name__ == "__main__":
    try:
        main(sys.argv[1])
    except BrokenPipeError:
        sys.stdout = None  # nobody reads: the run is gone
