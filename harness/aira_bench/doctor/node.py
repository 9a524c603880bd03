"""What one machine of a cluster says of itself: the doctor's findings, and what must be alike on all machines.

The report goes into a folder that whoever asked for it sees too, which tries that folder. Clocks are compared by it as
well: the machine answers a file with its time.

Not covered: what is made of the reports of all machines (`cluster`).
"""

import hashlib
import json
import platform
import time
from collections.abc import Callable
from dataclasses import asdict, dataclass, replace
from pathlib import Path

from pydantic import ConfigDict, TypeAdapter
from pydantic.dataclasses import dataclass as checked_dataclass

from aira_bench.docker_engine import connect_engine
from aira_bench.doctor.diagnosis import Diagnosis
from aira_bench.doctor.examination import examine
from aira_bench.errors import AiraError
from aira_bench.files import parse_json, read_file, write_atomically, write_json
from aira_bench.hardware import Hardware, this_machine
from aira_bench.hidden_keys import machine_hidden_key
from aira_bench.images.ensure import planned_images
from aira_bench.keys import KeyFolder
from aira_bench.paths import HostPaths
from aira_bench.runs.declared import flavour_for
from aira_bench.runs.leases import lease_folder, make_shared
from aira_bench.sandbox.engine_gpus import engine_gpus
from aira_bench.tasks.store import task_data
from aira_bench.tasks.task import shipped_tasks
from aira_bench.version import __version__

HELLO, PING, PONG, REPORT = "hello", "ping", "pong", "node.json"
"""The files of one machine, in the order in which they come; the asker writes the second."""
_MOST_BYTES = 2**22
_LOOK_S = 0.02
_PING_TIMEOUT_S = 90.0
"""A client of NFS may see a new file late."""


@checked_dataclass(frozen=True, config=ConfigDict(extra="forbid"))
class NodeReport:
    """One machine, as it sees itself."""

    host: str
    version: str
    hardware_class: str
    cores: int
    gpus: tuple[str, ...]
    key: str
    """The public key with which it signs records; empty if it has none yet."""
    trusted: tuple[str, ...]
    """Further keys, whose records it goes on with."""
    images: dict[str, str]
    """The tag of each image that runs use here, which says what is in it, by flavour and role; empty where it is
    missing."""
    data: dict[str, str]
    """What identifies the prepared data of each task; empty where it is missing."""
    findings: tuple[Diagnosis, ...]


_REPORT: TypeAdapter[NodeReport] = TypeAdapter(NodeReport)
_NO_KEY = Diagnosis(
    "hidden key", "warning", "none: hidden data can be drawn again from the seeds that tasks publish",
    "aira-bench key hidden AIRA_HOME/keys/hidden.key, there and on the other judge nodes alone",
)  # fmt: skip


@dataclass(frozen=True)
class NodeRequest:
    """What a machine is to look at."""

    place: Path
    """The folder of its report, where it leaves one."""
    profile: str
    runtime: str | None = None
    containers: str | None = None
    """Which engine makes containers; None for the default there."""


def report(asked: NodeRequest, paths: HostPaths, note: Callable[[str], None]) -> NodeReport:
    """Examine this machine and leave what comes of it where it was asked for.

    Raises:
        OSError: the folder is not to be seen here, or not to be written to.
    """
    if not asked.place.is_dir():
        raise NotADirectoryError(None, "not to be seen on this machine", str(asked.place))
    write_atomically(asked.place / HELLO, platform.node().encode())
    _answer(asked.place)
    made = examined(asked, paths, note)
    write_json(asked.place / REPORT, asdict(made))
    return made


def examined(asked: NodeRequest, paths: HostPaths, note: Callable[[str], None]) -> NodeReport:
    """Examine this machine as the doctor does, and return what it says of itself."""
    machine = this_machine(otherwise=engine_gpus)
    findings = [*examine(paths, asked.profile, asked.runtime, note, asked.containers, models=False), _leases()]
    return _facts(paths, asked, machine, tuple(findings))


def judging_report(asked: NodeRequest, paths: HostPaths, note: Callable[[str], None]) -> bytes:
    """Examine this machine as a judge node, whose hidden key matters; return its report as `decode_report` reads it."""
    made = examined(asked, paths, note)
    try:
        key = machine_hidden_key(paths)
        found = Diagnosis("hidden key", "ok", f"{key.sha256[:12]}, of which others know the hash") if key else _NO_KEY
    except AiraError as error:
        found = Diagnosis("hidden key", "failed", error.message, error.hint or "")
    return json.dumps(asdict(replace(made, findings=(*made.findings, found)))).encode()


def decode_report(data: bytes) -> NodeReport:
    """Return the report in some bytes.

    Raises:
        ValueError: it is none.
    """
    return _REPORT.validate_python(parse_json(data))


def read_report(place: Path) -> NodeReport:
    """Return the report that a machine left.

    Raises:
        FileNotFoundError: there is none yet.
        ValueError: it is none.
    """
    if not (place / REPORT).exists():
        raise FileNotFoundError(place / REPORT)
    return decode_report(read_file(place, REPORT, _MOST_BYTES))


def _answer(place: Path) -> None:
    """Wait for the asker's file, and answer with the time of this machine's clock."""
    ends_s = time.monotonic() + _PING_TIMEOUT_S
    while not (place / PING).exists() and time.monotonic() < ends_s:
        list(place.iterdir())  # asks a file server anew
        time.sleep(_LOOK_S)
    write_atomically(place / PONG, repr(time.time()).encode())


def _facts(paths: HostPaths, asked: NodeRequest, machine: Hardware, findings: tuple[Diagnosis, ...]) -> NodeReport:
    ring, profile = KeyFolder(paths.keys).ring(), asked.profile
    tasks = [task for task in shipped_tasks() if profile in task.metadata.aira.profiles]
    flavours = {task.title: flavour_for(task, profile, machine) for task in tasks}
    planned = {flavour: planned_images(flavour) for flavour in sorted(set(flavours.values()))}
    return NodeReport(
        host=platform.node(),
        version=__version__,
        hardware_class=machine.label,
        cores=machine.cores,
        gpus=tuple(gpu.name for gpu in machine.gpus),
        key=ring.own or "",
        trusted=tuple(sorted(ring.trusted)),
        images=_images(planned, asked.containers),
        data={
            task.title: _identity(
                task_data(paths, task, profile, raw=None, image=planned[flavours[task.title]][1]).marker
            )
            for task in tasks
        },
        findings=findings,
    )


def _images(planned: dict[str, tuple[str, str]], containers: str | None) -> dict[str, str]:
    try:
        engine = connect_engine(containers)
        return {
            f"{flavour} {role}": tag if engine.image_exists(tag) else ""
            for flavour, tags in planned.items()
            for role, tag in zip(("agent", "evaluator"), tags, strict=True)
        }
    except AiraError:  # among the findings
        return {f"{flavour} {role}": "" for flavour in planned for role in ("agent", "evaluator")}


def _identity(marker: Path) -> str:
    """What stands for both halves of prepared data; empty if they are not whole."""
    try:
        recorded = json.loads(marker.read_text(encoding="utf-8"))
        halves = json.dumps([recorded["public"], recorded["hidden"]], sort_keys=True)
    except (OSError, ValueError, KeyError):
        return ""
    return hashlib.sha256(halves.encode()).hexdigest()[:12]


def _leases() -> Diagnosis:
    try:
        folder = lease_folder()
        make_shared(folder)
    except AiraError as error:
        return Diagnosis("leases of cores", "failed", error.message, error.hint or "")
    return Diagnosis("leases of cores", "ok", str(folder))
