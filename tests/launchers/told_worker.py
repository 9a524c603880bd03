"""A worker for tests of launchers: it notes in a folder when it begins and each time it is told to end, and ends so.

python told_worker.py FOLDER SECONDS
"""

import json
import os
import signal
import sys
import time
from pathlib import Path
from types import FrameType

KEPT = ("SLURMD_NODENAME", "SLURM_ARRAY_TASK_ID", "SLURM_GPUS_ON_NODE", "CUDA_VISIBLE_DEVICES", "AIRA_PLACE", "ANY_KEY")


def note(what: str) -> None:
    """One line, written at once."""
    said = {"what": what, "pid": os.getpid(), "at": time.time()} | {name: os.environ.get(name) for name in KEPT}
    with (Path(sys.argv[1]) / "notes").open("a") as file:
        file.write(json.dumps(said) + "\n")


def told(number: int, frame: FrameType | None) -> None:
    """End, a moment later: a second word in that moment would be seen."""
    note("told")
    if ends_s[0] > time.monotonic() + 0.5:
        ends_s[0] = time.monotonic() + 0.5
        status[0] = 130


def notes(folder: Path) -> list[dict[str, str | float | None]]:
    """What workers of a folder have noted."""
    file = folder / "notes"
    return [json.loads(line) for line in file.read_text().splitlines()] if file.exists() else []


if __name__ == "__main__":
    ends_s, status = [time.monotonic() + float(sys.argv[2])], [0]
    signal.signal(signal.SIGTERM, told)
    note("begun")
    print("a worker says so", flush=True)
    while time.monotonic() < ends_s[0]:
        time.sleep(0.02)
    note("ended")
    sys.exit(status[0])
