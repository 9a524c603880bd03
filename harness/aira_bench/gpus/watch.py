"""Watches one device while a container has it: readings of a process beside the run (`meter`).

Where the driver is silent there are fewer readings, or none; nothing waits for it.

Not covered: what the readings come to (`use`).
"""

import contextlib
import json
import os
import subprocess
import sys
import threading
from typing import Any

from aira_bench.gpus.gpu import GpuProcess
from aira_bench.gpus.look import HANDED_ON
from aira_bench.gpus.use import GpuReading

LAST_READING_S = 3.0
"""How long the driver may take for the last reading."""


class GpuWatch:
    """Readings of a device, from when it is made until `stop`."""

    def __init__(self, uuid: str) -> None:
        """Begin to read; returns at once."""
        self._readings: list[GpuReading] = []
        self._process: subprocess.Popen[str] | None = None
        with contextlib.suppress(OSError):  # a machine without processes left tells so elsewhere
            self._process = subprocess.Popen(
                [sys.executable, "-P", "-m", "aira_bench.gpus.meter", uuid],
                stdin=subprocess.PIPE, stdout=subprocess.PIPE, stderr=subprocess.DEVNULL, text=True,
                env={name: os.environ[name] for name in HANDED_ON if name in os.environ}, start_new_session=True,
            )  # fmt: skip
        self._reader = threading.Thread(target=self._read, name="gpu-watch", daemon=True)
        self._reader.start()

    def stop(self) -> tuple[GpuReading, ...]:
        """Take a last reading, end the process, and return all readings. Safe to call twice."""
        process = self._process
        if process is not None and process.stdin is not None:
            with contextlib.suppress(OSError):
                process.stdin.close()
            self._reader.join(LAST_READING_S)
            process.kill()
            with contextlib.suppress(
                subprocess.TimeoutExpired
            ):  # stuck in the kernel it does not die, and is left alone
                process.wait(LAST_READING_S)
        return tuple(self._readings)

    def _read(self) -> None:
        process = self._process
        if process is None or process.stdout is None:
            return
        with contextlib.suppress(OSError, ValueError), process.stdout as lines:
            for line in lines:
                with contextlib.suppress(ValueError, TypeError, KeyError):  # a library wrote it, or it is cut
                    self._readings.append(_reading(json.loads(line)))


def _reading(said: dict[str, Any]) -> GpuReading:
    return GpuReading(**said | {"processes": tuple(GpuProcess(**each) for each in said["processes"])})
