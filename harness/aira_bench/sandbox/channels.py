"""Measures what one container can tell another: a sender and a receiver, made with the production options.

First the sender, a predict container, is dead before the receiver, an agent's, starts; then both live at once. The
programs are `inside/channels.py`, `inside/media.py` and `inside/file_media.py`; they try hard, and know each other.
What a pair gets across is compared with what was sent, and the capacity is that of a binary symmetric channel at the
error rate seen.

Not covered: caches and predictors of processors, GPUs, disk queues, and media that nobody here has thought of.
"""

import hashlib
import json
import math
import os
import random
import secrets
import tempfile
import time
from collections.abc import Callable, Iterator, Mapping, Sequence
from concurrent.futures import ThreadPoolExecutor
from contextlib import AbstractContextManager, contextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import Any, Literal

from aira_bench.errors import SandboxError
from aira_bench.output import last_line
from aira_bench.paths import host_paths
from aira_bench.sandbox import hardening, mounts
from aira_bench.sandbox.inside.channels import COUNTER_BITS, PILOT_BITS, duration_s
from aira_bench.sandbox.inside.file_media import STRIDE_PAGES
from aira_bench.sandbox.inside.media import PAGE_BYTES
from aira_bench.sandbox.sandbox import Artifact, ArtifactRequest, ContainerSpec, Limits, Mount, Role, Sandbox
from aira_contract import containers
from aira_contract.containers import WORKSPACE

When = Literal["after", "at once"]
WHENS: tuple[When, When] = ("after", "at once")

LIMITS = Limits(memory_mib=512, workspace_mib=16, tmp_mib=16, shm_mib=16, pids=128)
DATA, MANY = WORKSPACE / containers.DATA, WORKSPACE / "many"
PAGES = 512
FOLDERS = 480
DIRECTORY_BLOCKS = "directory blocks"
LEAD_S = 2.0
"""From asking two started containers to the first medium of their timetable."""
TIMEOUT_S = 240.0
CHANCE_Z = 3.3
"""Standard deviations from one half within which an error rate is called chance: once in a thousand tables."""
GOAL_BITS_A_S = 10.0
_RESULT = ArtifactRequest("result.json", 1 << 20)


@dataclass(frozen=True)
class Medium:
    """A medium: how many bits are tried, what closes it in untrusted containers, and whether it is known to be open."""

    name: str
    bits: int
    bits_after: int | None
    """Where the sender is dead before; None where nothing can be left."""
    closed_by: str
    known_open: bool = False


ROWS = (
    Medium("names in the image", 512, 512, "file trees of their own; after: dropped caches"),
    Medium("names in /", 512, 512, "file trees of their own; after: dropped caches"),
    Medium("names in a small folder", 512, 512, "files bound one by one"),
    Medium("names in a large folder", 512, 512, "file trees of their own; after: dropped caches"),
    Medium("names in /sys", 512, 512, "a file tree in its place; after: dropped caches"),
    Medium("event counters", 240, None, "eventfd refused"),
    Medium("waiters at a file", 64, None, "the engine's init as a file tree"),
    Medium("pages of a cold file", PAGES - PILOT_BITS, PAGES - PILOT_BITS, "read whole by a trusted container first"),
    Medium("mapped pages", 224, None, "file trees of their own"),
    Medium(DIRECTORY_BLOCKS, 224, 224, "read whole by a trusted container first"),
    Medium("vmstat", 64, COUNTER_BITS, "mlock refused, file masked"),
    Medium("inode numbers", 40, COUNTER_BITS, "nothing", known_open=True),
    Medium("socket cookies", 32, COUNTER_BITS, "socket options by list"),
    Medium("process descriptors", 40, COUNTER_BITS, "pidfd_open refused"),
    Medium("ports", 24 * COUNTER_BITS, 24 * COUNTER_BITS, "sockets of family UNIX alone"),
    Medium("record locks", 512, None, "locks without effect, no asking"),
    Medium("flock", 240, None, "locks without effect"),
    Medium("pending signals", 96, None, "a user for each container"),
    Medium("processes", 32, None, "a user for each container"),
    Medium("terminals", 96, None, "no terminals, count masked"),
    Medium("inotify", 96, None, "a user for each container, inotify refused"),
    Medium("meminfo", 32, None, "a file in its place"),
    Medium("sysinfo", 32, None, "sysinfo refused"),
    Medium("contention on a core", 64, None, "cores of their own", known_open=True),
    Medium("contention between cores", 64, None, "nothing", known_open=True),
)


@dataclass(frozen=True)
class Reading:
    """What came of one medium."""

    medium: str
    when: When
    bits: int
    seconds: float
    """The sender's and the receiver's time, or the time slots'."""
    error_rate: float | None
    """None where the medium was closed."""
    closed_by: str
    closed: str = ""
    """The error that closed it, as the first side that met one saw it."""
    known_open: bool = False

    @property
    def sent_bits_a_s(self) -> float:
        """Rate at which bits were put in and taken out, right or wrong."""
        return self.bits / self.seconds if self.seconds else 0.0

    @property
    def is_chance(self) -> bool:
        """Whether what was received says nothing about what was sent."""
        if self.error_rate is None:
            return True
        if self.bits <= COUNTER_BITS:  # too few for statistics: all of them right
            return self.error_rate > 0
        return abs(self.error_rate - 0.5) <= CHANCE_Z * 0.5 / math.sqrt(self.bits)

    @property
    def capacity_bits_a_s(self) -> float:
        """Capacity of a binary symmetric channel, 1 - H(error rate) bits a use, times the uses a second."""
        if self.error_rate is None or self.is_chance:
            return 0.0
        return self.sent_bits_a_s * (1 - _entropy(self.error_rate))

    @property
    def state(self) -> Literal["closed", "refused", "open, as stated", "OPEN"]:
        """Whether more than the goal of bits a second gets through; `refused` where the kernel refused the attempt."""
        if self.error_rate is None:
            return "refused"
        if self.capacity_bits_a_s <= GOAL_BITS_A_S:
            return "closed"
        return "open, as stated" if self.known_open else "OPEN"


@dataclass(frozen=True)
class Setting:
    """Where and with what pairs are run."""

    sandbox: Sandbox
    image: str
    generator: random.Random
    rows: Sequence[Medium] = ROWS
    folders: Sequence[str] = ()
    """Files of the image, each in another folder whose blocks are not in memory (`cold_folders`)."""


def measure_all(
    make: Callable[[], AbstractContextManager[Sandbox]],
    image: str,
    generator: random.Random,
    note: Callable[[str], None],
) -> list[Reading]:
    """Return every medium, first one container after another, then both at once; about a minute and a half.

    As root on the engine's machine its caches are freed first, as after a start, so that cold folders can be tried.

    Args:
        make: gives a sandbox with the production options.
        image: of agents.
        generator: draws the messages.
        note: is told what happens.

    Raises:
        PrerequisiteError: the image is not there.
        SandboxError: the engine failed, or a program could not do its work.
    """
    with make() as sandbox:
        folders = _list_folders(sandbox, image)
    if _free_caches():
        note("freed the machine's caches, as after a start")
    else:
        note("not root: caches stay as they are, and directory blocks are left out")
        folders = []
    readings = []
    with make() as sandbox:
        for when in WHENS:
            note(f"sender and receiver {'at once' if when == 'at once' else 'one after the other'}")
            half = folders[: len(folders) // 2] if when == "after" else folders[len(folders) // 2 :]
            readings += measure(Setting(sandbox, image, generator, folders=half), when)
    return readings


def measure(setting: Setting, when: When) -> list[Reading]:
    """Run one pair through all media; half a minute for each `when`.

    Raises:
        PrerequisiteError: the image is not there.
        SandboxError: the engine failed, or a program could not do its work.
    """
    rows = [row for row in setting.rows if when == "at once" or row.bits_after is not None]
    rows = [row for row in rows if row.name != DIRECTORY_BLOCKS or len(setting.folders) > PILOT_BITS]
    bits = {row.name: row.bits if when == "at once" else row.bits_after or 0 for row in rows}
    if DIRECTORY_BLOCKS in bits:  # an image has only so many folders
        bits[DIRECTORY_BLOCKS] = min(bits[DIRECTORY_BLOCKS], len(setting.folders) - PILOT_BITS)
    messages = {name: f"{setting.generator.getrandbits(count):0{count}b}" for name, count in bits.items()}
    run_id = f"channels-{secrets.token_hex(6)}"
    with _folders() as mounts:
        job = {
            "key": secrets.token_hex(8), "data": str(DATA), "many": str(MANY), "begin_s": 0.0,
            "folders": list(setting.folders),
        }  # fmt: skip
        if when == "after":
            sent = _side(setting, "predict", run_id, mounts)(job | {"sends": True, "messages": messages})
            receive = _side(setting, "agent", run_id, mounts)
            received = receive(job | {"sends": False, "messages": {name: "0" * n for name, n in bits.items()}})
        else:
            sent, received = _at_once(setting, run_id, mounts, job, messages)
    return [_reading(row, when, messages[row.name], sent[row.name], received[row.name]) for row in rows]


def _at_once(
    setting: Setting, run_id: str, mounts: tuple[Mount, ...], job: Mapping[str, Any], messages: Mapping[str, str]
) -> tuple[dict[str, Any], dict[str, Any]]:
    empty = {name: "0" * len(message) for name, message in messages.items()}
    with ThreadPoolExecutor(max_workers=2) as pool:
        preparing = [pool.submit(_side, setting, role, run_id, mounts) for role in _ROLES]
        sides = [future.result() for future in preparing]
        begin = {"begin_s": time.time() + LEAD_S}
        jobs = (dict(job) | begin | {"sends": True, "messages": dict(messages)},
                dict(job) | begin | {"sends": False, "messages": empty})  # fmt: skip
        sent, received = pool.map(lambda side, asked: side(asked), sides, jobs)
        return sent, received


_ROLES: tuple[Role, Role] = ("predict", "agent")


def _side(
    setting: Setting, role: Role, run_id: str, mounts: tuple[Mount, ...]
) -> Callable[[Mapping[str, Any]], dict[str, Any]]:
    """Start a container; what is returned gives it its job and waits for its death."""
    container = setting.sandbox.prepare(ContainerSpec(setting.image, role, run_id, LIMITS, mounts))

    def work(job: Mapping[str, Any]) -> dict[str, Any]:
        files = {
            "channels.py": hardening.source("channels"),
            "aira_bench/sandbox/inside/media.py": hardening.source("media"),
            "aira_bench/sandbox/inside/file_media.py": hardening.source("file_media"),
            "job.json": json.dumps(job),
        }
        try:
            with tempfile.TemporaryDirectory(prefix="aira-channels-") as folder:
                outcome = container.run(
                    ["python3", "channels.py"],
                    files={name: text.encode() for name, text in files.items()},
                    timeout_s=TIMEOUT_S,
                    artifacts=[_RESULT],
                    destination=Path(folder),
                )
                result = outcome.artifacts[_RESULT.name]
                if outcome.exit_code != 0 or not isinstance(result, Artifact):
                    said = f"{outcome.ended}, exit status {outcome.exit_code}: {last_line(outcome.stderr)}"
                    raise SandboxError(f"A channel program ended without a result ({said})")
                found: dict[str, Any] = json.loads(result.path.read_bytes())
                return found
        finally:
            container.close()

    return work


@contextmanager
def _folders() -> Iterator[tuple[Mount, ...]]:
    """Two folders of ours as tasks' data would be: one of few files, with one whose pages are cold, and one of many."""
    parent = host_paths().home / "containers"
    parent.mkdir(parents=True, exist_ok=True)
    with tempfile.TemporaryDirectory(prefix="channels-", dir=parent) as folder:
        data, many = Path(folder) / "data", Path(folder) / "many"
        data.mkdir(mode=0o755)
        many.mkdir(mode=0o755)
        (data / "lock").write_bytes(b"x")
        for number in range(mounts.MOST_FILES + 1):
            (many / str(number)).touch(mode=0o644)
        _write_cold(data / "pages")
        yield tuple(
            Mount(source, target, content=hashlib.sha256(f"{target} {PAGES} {mounts.MOST_FILES}".encode()).hexdigest())
            for source, target in ((data, DATA), (many, MANY))
        )


def _write_cold(path: Path) -> None:
    """A file with a page for each bit, none of them in memory."""
    descriptor = os.open(path, os.O_RDWR | os.O_CREAT | os.O_EXCL, 0o644)
    try:
        for index in range(PAGES):
            os.pwrite(descriptor, bytes(PAGE_BYTES), index * STRIDE_PAGES * PAGE_BYTES)
        os.ftruncate(descriptor, PAGES * STRIDE_PAGES * PAGE_BYTES)
        os.fsync(descriptor)
        os.posix_fadvise(descriptor, 0, 0, os.POSIX_FADV_DONTNEED)
    finally:
        os.close(descriptor)


_LIST = """
import json, os
found = []
for folder, _, files in sorted(os.walk("/usr", followlinks=False)):
    regular = [path for path in (os.path.join(folder, name) for name in files) if os.path.isfile(path)]
    if regular:
        found.append(min(regular))
json.dump(found, open("result.json", "w"))
"""


def _list_folders(sandbox: Sandbox, image: str) -> list[str]:
    container = sandbox.prepare(ContainerSpec(image, "agent", f"channels-{secrets.token_hex(6)}", LIMITS))
    try:
        with tempfile.TemporaryDirectory(prefix="aira-channels-") as folder:
            outcome = container.run(
                ["python3", "-c", _LIST], files={}, timeout_s=60, artifacts=[_RESULT], destination=Path(folder)
            )
            result = outcome.artifacts[_RESULT.name]
            if not isinstance(result, Artifact):
                raise SandboxError(f"The image's folders could not be listed: {last_line(outcome.stderr)}")
            found: list[str] = json.loads(result.path.read_bytes())
    finally:
        container.close()
    spread = found[:: max(len(found) // FOLDERS, 1)][:FOLDERS]
    return spread[::2] + spread[1::2]


def _free_caches() -> bool:
    if os.geteuid() != 0 or not os.access("/proc/sys/vm/drop_caches", os.W_OK):
        return False
    os.sync()
    Path("/proc/sys/vm/drop_caches").write_text("3\n", encoding="ascii")
    return True


def _reading(row: Medium, when: When, message: str, sent: Mapping[str, Any], received: Mapping[str, Any]) -> Reading:
    closed = str(sent.get("closed") or received.get("closed") or "")
    if closed:
        return Reading(row.name, when, len(message), 0.0, None, row.closed_by, closed, row.known_open)
    wrong = sum(ours != theirs for ours, theirs in zip(message, received["bits"], strict=True))
    slots_s = duration_s(row.name, len(message)) if when == "at once" and received["seconds"] > 1 else 0.0
    seconds = max(sent["seconds"] + received["seconds"] if slots_s == 0 else slots_s, 1e-6)
    return Reading(row.name, when, len(message), seconds, wrong / len(message), row.closed_by, "", row.known_open)


def _entropy(rate: float) -> float:
    return 0.0 if rate in (0.0, 1.0) else -rate * math.log2(rate) - (1 - rate) * math.log2(1 - rate)
