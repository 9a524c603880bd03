"""The walls of a container by name, and which are missing where the probe saw one open.

A wall is what stands against one kind of harm; the probe tries each by several checks, from inside and by what the
engine was told. Docker with real root builds all of them. An engine that cannot is refused, wall by wall, unless its
user accepts each by name: manifest, `show` and boards then say so, and such rows stand apart. Nobody can accept away
the two on which every score rests.

Not covered: what separates containers from each other in the kernel's memory (`isolation`).
"""

import re
from collections.abc import Iterable, Sequence
from dataclasses import dataclass

from aira_bench.docker_engine import EngineInfo
from aira_bench.errors import PrerequisiteError, UsageError
from aira_bench.sandbox.probe_checks import ProbeCheck

_BY_CONTROL_GROUP = ("memory", "processes", "cores")
_PREDICT = "predict: "
"""What names of checks begin with that were made of predict containers alone."""


@dataclass(frozen=True)
class Wall:
    """One wall, and how the probe tries it."""

    name: str
    """What `--accept-missing-walls` calls it."""
    against: str
    checks: re.Pattern[str]
    """Names of the probe's checks that try it."""
    needed: bool = False
    """Whether no score could be trusted without it, so that nobody may accept that it is missing."""


def _wall(name: str, against: str, *checks: str, needed: bool = False) -> Wall:
    return Wall(name, against, re.compile("|".join(checks)), needed)


def _set(*names: str) -> str:
    """Checks of what the engine was told."""
    return f"engine's (?:{'|'.join(names)})"


WALLS: tuple[Wall, ...] = (
    _wall(
        "network", "downloads, exfiltration, services of the host",
        "network interfaces", "connection to the outside", _set("NetworkMode"), needed=True,
    ),
    _wall("deadline", "outstaying the time of a step", "deadline kills what ignores signals", needed=True),
    _wall(
        "system-calls", "the kernel's wider surface, and messages through it",
        "socket AF_.*", "system call .*", "Seccomp", _set("seccomp profile"), "asking for locks",
        "a lock that another holds has no effect", "a socket's number",
    ),
    _wall("capabilities", "root's rights", "Cap...", _set("CapDrop", "CapAdd", "Privileged")),
    _wall("no-new-privileges", "gaining privileges by a program's file", "NoNewPrivs"),
    _wall(
        "own-user", "limits and counts of the kernel by user", "user and group ids", "further groups",
        _set("GroupAdd", "UsernsMode"),
    ),
    _wall("namespaces", "processes, memory and names of others", "foreign processes",
          _set("IpcMode", "CgroupnsMode", "PidMode", "UTSMode")),
    _wall("own-kernel", "the machine's kernel, where a runtime promises another", "kernel of its own"),
    _wall(
        "kernel-files", "files of the kernel that tell what others do, or set what it does",
        "a new terminal", "counters of the machine in sight", "files in place of the kernel's",
        "missing of the engine's .*", "write to kernel.core_pattern",
    ),
    _wall("read-only-root", "changing the image", "root is read-only", "write to /.*", _set("ReadonlyRootfs")),
    _wall(
        "mounts", "folders of the host, programs and devices in what can be written",
        ".* mounted nosuid, nodev", "sockets and hidden folders in sight", _set("mounts", "VolumesFrom"),
    ),
    _wall("file-trees", "names that others looked up in the same files", ".* is a file system of its own"),
    _wall(
        "devices", "devices that nobody leased",
        "devices of GPUs in sight", _set("Devices", "DeviceCgroupRules", "DeviceRequests", "NVIDIA_.*"),
    ),
    _wall("device-memory", "what a former container left on a GPU", "CUDA in a container", "GPU memory of .*"),
    _wall("workspace-size", "filling memory or disk by the workspace", "workspace size"),
    _wall("workspace-inodes", "the same by files without content", "workspace inodes"),
    _wall("tmp-size", "filling memory or disk by /tmp", "tmp size"),
    _wall("tmp-inodes", "the same by files without content", "tmp inodes"),
    _wall("shm-size", "filling memory by /dev/shm", "shm size", _set("ShmSize")),
    _wall("processes", "fork and thread bombs", "processes", _set("PidsLimit"), "a fork bomb ends"),
    _wall("memory", "taking the machine's memory", "memory", _set("Memory", "MemorySwap"), "taking memory ends"),
    _wall("cores", "computing on cores that others have leased", "cores"),
    _wall("oom-score", "the kernel's ending a service of the host first", "oom_score_adj after lowering it"),
    _wall("open-files", "taking the machine's table of open files", "open files"),
    _wall("core-dumps", "filling disks by crashes", "core dumps"),
    _wall("file-size", "filling disks by one file", "file size"),
    _wall("environment", "reading the host's variables", "environment"),
    _wall("init", "processes that nobody reaps", _set("Init")),
    _wall("no-log", "filling the engine's logs", _set("log driver")),
    _wall("no-restart", "coming back after a kill", _set("restarts")),
    _wall("judge-socket", "a runtime through which no judge can be reached", "a judge's socket is reached"),
)  # fmt: skip


@dataclass(frozen=True)
class MissingWall:
    """A wall that does not stand, and the checks that found it so."""

    wall: Wall
    checks: tuple[ProbeCheck, ...]

    @property
    def told(self) -> str:
        """What was seen, in one line."""
        first, others = self.checks[0], len(self.checks) - 1
        more = f" (and {others} more)" if others else ""
        return f"{self.wall.name}: {first.name}: seen {first.seen}, expected {first.expected}{more}"


def wall_of(check: str) -> Wall:
    """Return the wall that a check of the probe tries, by the check's name.

    Raises:
        KeyError: it tries none that has a name; nothing can accept what is not named.
    """
    name = check.removeprefix(_PREDICT)
    for wall in WALLS:
        if wall.checks.fullmatch(name):
            return wall
    raise KeyError(check)


def named(names: Iterable[str]) -> tuple[str, ...]:
    """Return names of walls without repeats, in the order of `WALLS`.

    Raises:
        UsageError: there is no such wall, or nobody may accept that it is missing.
    """
    wanted = set(names)
    if unknown := sorted(wanted - {wall.name for wall in WALLS}):
        raise UsageError(
            f"There is no wall {unknown[0][:40]!r}; walls are: {', '.join(wall.name for wall in WALLS)}.",
            hint="aira-bench doctor",
        )
    if needed := [wall for wall in WALLS if wall.needed and wall.name in wanted]:
        raise UsageError(
            f"No score can be trusted without the wall {needed[0].name!r} (against {needed[0].against}), so nobody can "
            "accept that it is missing.",
            hint="aira-bench doctor",
        )
    return tuple(wall.name for wall in WALLS if wall.name in wanted)


def missing_walls(checks: Sequence[ProbeCheck]) -> list[MissingWall]:
    """Return the walls that checks found missing, in the order of `WALLS`.

    Raises:
        PrerequisiteError: what a check found is no wall of a name.
    """
    broken: dict[str, list[ProbeCheck]] = {}
    for check in checks:
        if not check.ok:
            try:
                broken.setdefault(wall_of(check.name).name, []).append(check)
            except KeyError:
                raise PrerequisiteError(
                    f"The sandbox does not hold on this machine: {check.name}: seen {check.seen}, expected "
                    f"{check.expected}.",
                    hint="aira-bench doctor",
                ) from None
    return [MissingWall(wall, tuple(broken[wall.name])) for wall in WALLS if wall.name in broken]


def lacking(wall: str, engine: EngineInfo) -> str:
    """Return why an engine cannot build a wall, where that is known of its kind; empty where it is not."""
    if engine.name == "Apptainer":
        return _lacking_of_apptainer(wall, engine)
    if not engine.rootless or wall not in _BY_CONTROL_GROUP:
        return ""
    if engine.cgroup_version == 1:
        return f"{engine.name} without root sets no limits of control groups v1; the machine must have v2"
    return (
        f"{engine.name} without root sets those limits of control groups v2 that systemd hands on: "
        "Delegate=cpu cpuset memory pids"
    )


_OF_APPTAINER = {
    **dict.fromkeys(
        ("workspace-size", "workspace-inodes", "tmp-size", "tmp-inodes"),
        "what a container writes lies in folders of the host, and no option gives those a size",
    ),
    "shm-size": "no option says how large /dev/shm is",
    "kernel-files": "no option masks paths of /proc",
    "mounts": "files in the place of those of /proc are not mounted",
    "namespaces": "no option makes a namespace of control groups",
}
"""By its user guide; never tried."""


def _lacking_of_apptainer(wall: str, engine: EngineInfo) -> str:
    if wall in _OF_APPTAINER:
        return f"Apptainer: {_OF_APPTAINER[wall]}"
    if not engine.rootless:
        return ""
    if wall in _BY_CONTROL_GROUP:
        return "Apptainer sets limits as root, or those of control groups v2 that systemd hands on"
    return {
        "system-calls": "Apptainer takes --security seccomp:FILE of root alone",
        "own-user": "Apptainer runs containers as the user who calls it",
        "oom-score": "a user may lower the score again that a user raised",
    }.get(wall, "")


def require_walls(checks: Sequence[ProbeCheck], accepted: Iterable[str] = ()) -> tuple[str, ...]:
    """Return the names of missing walls, all of them accepted.

    Raises:
        PrerequisiteError: one is missing that nobody accepted, or that nobody may accept.
    """
    missing = missing_walls(checks)
    agreed = set(accepted)
    refused = [each for each in missing if each.wall.needed or each.wall.name not in agreed]
    if not refused:
        return tuple(each.wall.name for each in missing)
    told = "; ".join(each.told for each in refused)
    names = [each.wall.name for each in refused if not each.wall.needed]
    final = [each.wall.name for each in refused if each.wall.needed]
    way = f"; or --accept-missing-walls {' '.join(names)}, which record and boards show" if names and not final else ""
    raise PrerequisiteError(
        f"The sandbox does not hold on this machine: missing walls ({len(refused)}): {told}.",
        hint="aira-bench doctor" + way,
    )
