"""Sends or receives bits through the media of `media`, one after the other, and writes down how it went.

Reads `job.json` in the working directory (`Job`) and writes `result.json` there: for each medium what was received,
how long it took, and, where it was closed, the error. Two programs that run at the same time keep to a timetable by
the machine's clock; where the sender is dead before the receiver starts, there is none.

A message through marks or time slots begins with a pilot that both know, zeros and ones in turn, from which the
receiver learns what each looks like. Nothing else is known to it.

Not covered: what the host makes of the errors (`aira_bench.sandbox.channels`).
"""

import json
import os
import statistics
import sys
import time
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from typing import Any, TypedDict

from aira_bench.sandbox.inside import file_media, media
from aira_bench.sandbox.inside.media import Counter, Marks, Medium, State

COUNTER_BITS = 5
BRING_S = 5.0
"""Longest time for a counter's residue."""
PILOT_BITS = 16
SLACK_S = 0.3
"""Between two media of the timetable."""


class Job(TypedDict):
    """What the host asks for."""

    sends: bool
    begin_s: float
    """When the first medium's time begins, in seconds of the epoch; 0 where the sender is dead before."""
    key: str
    """Drawn by the host: both know it, and none before them did."""
    messages: dict[str, str]
    """Bits to send through each medium; for a receiver as many zeros."""
    data: str
    many: str
    """Folders of the host: a small one, and one of many files."""
    folders: list[str]
    """Files of the image, each in another folder, or none where caches were not dropped."""


@dataclass(frozen=True)
class Way:
    """How one medium is used."""

    make: Callable[[Job], Medium | list[Counter]]
    slot_s: float = 0.0
    """Time of a bit where both are there at once; marks have none."""


WAYS: dict[str, Way] = {
    "names in the image": Way(lambda job: file_media.names("/usr/lib", job["key"])),
    "names in /": Way(lambda job: file_media.names("/", job["key"])),
    "names in a small folder": Way(lambda job: file_media.names(job["data"], job["key"])),
    "names in a large folder": Way(lambda job: file_media.names(job["many"], job["key"])),
    "names in /sys": Way(lambda job: file_media.names("/sys/devices/system/cpu", job["key"])),
    "event counters": Way(lambda job: media.event_numbers()),
    "waiters at a file": Way(lambda job: file_media.waiters("/sbin/docker-init")),
    "pages of a cold file": Way(lambda job: file_media.pages(f"{job['data']}/pages")),
    "mapped pages": Way(lambda job: file_media.mapped_pages(large_library())),
    "directory blocks": Way(lambda job: file_media.directories(job["folders"])),
    "vmstat": Way(lambda job: media.locked_memory(), 0.04),
    "inode numbers": Way(lambda job: media.inode_numbers(), 0.06),
    "socket cookies": Way(lambda job: media.cookies(), 0.1),
    "process descriptors": Way(lambda job: media.process_numbers(), 0.04),
    "ports": Way(lambda job: media.ports(24)),
    "record locks": Way(lambda job: file_media.record_locks(f"{job['data']}/lock")),
    "flock": Way(lambda job: file_media.flocks(job["many"])),
    "pending signals": Way(lambda job: media.pending_signals(), 0.01),
    "processes": Way(lambda job: media.processes(), 0.12),
    "terminals": Way(lambda job: media.terminals(), 0.01),
    "inotify": Way(lambda job: media.watches(), 0.02),
    "meminfo": Way(lambda job: media.free_memory(media.free_by_file), 0.12),
    "sysinfo": Way(lambda job: media.free_memory(media.free_by_call), 0.12),
    "contention on a core": Way(lambda job: media.contention(0.02, 0), 0.04),
    "contention between cores": Way(lambda job: media.contention(0.02, int(job["sends"])), 0.04),
}


def large_library() -> str:
    """Return a large file among the image's libraries that programs seldom map: a choice both sides make alike."""
    found = []
    for folder in sorted({*filter(os.path.isdir, [*sys.path, "/usr/lib/x86_64-linux-gnu", "/usr/lib"])}):
        for path in (folder, f"{folder}/torch/lib"):
            entries = os.scandir(path) if os.path.isdir(path) else ()  # noqa: PTH112
            found += [(entry.stat().st_size, entry.path) for entry in entries if entry.is_file(follow_symlinks=False)]
    return max(found)[1]


def duration_s(name: str, bits: int) -> float:
    """Time of a medium in the timetable."""
    slot_s = WAYS[name].slot_s
    return (2 * half_s(bits) if slot_s == 0 else (bits + PILOT_BITS) * slot_s) + SLACK_S


def half_s(bits: int) -> float:
    """Return the sender's, and then the receiver's, time for marks when both are there at once; a tenth would do when
    idle.
    """
    return 0.3 + bits / 1000


def pilot() -> list[int]:
    """Zeros and ones in turn."""
    return [index % 2 for index in range(PILOT_BITS)]


def decode(values: Sequence[float]) -> str:
    """Bits behind the pilot, each as what it is nearer to: the pilot's typical zero or its typical one."""
    zero = statistics.median(value for value, bit in zip(values, pilot(), strict=False) if bit == 0)
    one = statistics.median(value for value, bit in zip(values, pilot(), strict=False) if bit == 1)
    return "".join(str(int(abs(value - one) < abs(value - zero))) for value in values[PILOT_BITS:])


def wait_until(moment_s: float) -> None:
    """Sleep until a time of the epoch."""
    time.sleep(max(moment_s - time.time(), 0))


def send(medium: Medium | list[Counter], message: str, slot_s: float, begin_s: float) -> None:
    """Put a message into a medium."""
    if isinstance(medium, list):
        for index, counter in enumerate(medium):
            bring(counter, int(message[COUNTER_BITS * index : COUNTER_BITS * (index + 1)], 2))
        return
    bits = [*pilot(), *(int(bit) for bit in message)]
    if isinstance(medium, Marks):
        medium.touch([index for index, bit in enumerate(bits) if bit])
    elif begin_s == 0 and isinstance(medium, Counter):
        bring(medium, int(message, 2))
    else:
        send_in_slots(medium, bits, slot_s, begin_s)


def send_in_slots(medium: Counter | State, bits: Sequence[int], slot_s: float, begin_s: float) -> None:
    """Hold, or add, while a bit is one."""
    held = False
    for index, bit in enumerate(bits):
        wait_until(begin_s + index * slot_s)
        if isinstance(medium, Counter):
            while bit and time.time() < begin_s + (index + 0.7) * slot_s:
                medium.add()
        elif bool(bit) != held:
            (medium.hold if bit else medium.release)()
            held = bool(bit)
    if held and isinstance(medium, State):
        medium.release()


def bring(counter: Counter, residue: int) -> None:
    """Add to a counter until its residue is as wanted."""
    until_s = time.monotonic() + BRING_S
    while counter.add() // counter.step % 2**COUNTER_BITS != residue and time.monotonic() < until_s:
        pass


def receive(medium: Medium | list[Counter], count: int, slot_s: float, begin_s: float) -> str:
    """Read `count` bits out of a medium."""
    if isinstance(medium, list):
        return "".join(residue(counter) for counter in medium)
    if isinstance(medium, Marks):
        return decode(medium.read(count + PILOT_BITS))
    if begin_s == 0 and isinstance(medium, Counter):
        return residue(medium)
    values = []
    last = medium.value() if isinstance(medium, Counter) else 0
    for index in range(count + PILOT_BITS):
        if isinstance(medium, Counter):
            wait_until(begin_s + (index + 0.85) * slot_s)
            now = medium.value()
            values.append(float(now - last))
            last = now
        else:
            wait_until(begin_s + (index + 0.5) * slot_s)
            values.append(medium.read())
    return decode(values)


def residue(counter: Counter) -> str:
    """Return the bits that a counter's residue is."""
    return f"{counter.value() // counter.step % 2**COUNTER_BITS:0{COUNTER_BITS}b}"


def use(job: Job, name: str, begin_s: float) -> dict[str, Any]:
    """Send or receive through one medium; what came of it."""
    way, message = WAYS[name], job["messages"][name]
    try:
        medium = way.make(job)
        is_marked = isinstance(medium, (Marks, list))
        wait_until(begin_s + (half_s(len(message)) if is_marked and begin_s and not job["sends"] else 0))
        start_s = time.monotonic()
        if job["sends"]:
            send(medium, message, way.slot_s, begin_s)
            return {"seconds": time.monotonic() - start_s}
        bits = receive(medium, len(message), way.slot_s, begin_s)
        return {"seconds": time.monotonic() - start_s, "bits": bits}
    except (OSError, ValueError, StopIteration) as error:
        return {"closed": f"{type(error).__name__}: {error}"}


def main() -> None:
    """Work through the job."""
    with open("job.json") as file:  # noqa: PTH123
        job: Job = json.load(file)
    begin_s, results = job["begin_s"], {}
    for name, message in job["messages"].items():
        results[name] = use(job, name, begin_s)
        begin_s += duration_s(name, len(message)) if begin_s else 0
    with open("result.json", "w") as output:  # noqa: PTH123
        json.dump(results, output)
    if job["begin_s"]:
        wait_until(begin_s)  # what is mapped or held stays so until the other has looked


if __name__ == "__main__":
    main()
