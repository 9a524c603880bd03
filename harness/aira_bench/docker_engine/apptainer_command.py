"""A container as Apptainer is asked for it: from the request body of the Docker Engine API to a command line.

Options are those of Apptainer's user guide and of `apptainer exec --help`, version 1.1 and later. Nothing here was
tried on a real Apptainer. What its command line has no option for is left out and told as unset (`in_docker_terms`), so
that the probe finds that wall missing by its name; what a container could not do its work without is refused.

Not covered: running the command (`apptainer_process`), and whether walls hold (`aira_bench.sandbox.probe`).
"""

import os
import re
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from aira_bench.docker_engine.podman_request import Body, seccomp_of
from aira_bench.errors import PrerequisiteError, SandboxError
from aira_bench.excerpts import LINE_CHARS

LEAST_VERSION = (1, 1)
"""The first with limits of control groups on its command line, and with `--network none` for users."""
BEGUN = b"aira-bench: begun\n"
"""A container prints it to standard error before its program, which may be an agent's: what stands before it is
Apptainer's own."""
CONTROLLERS = frozenset({"memory", "pids", "cpuset"})
"""Those of control groups that limits of memory, processes and cores need."""
_BEGIN = f"printf '%s\\n' '{BEGUN.decode().strip()}' >&2; exec \"$@\""
_LIMITED = """read -r stat <"/proc/$$/stat"; echo "$stat" >"$0"
echo "$1" >/proc/self/oom_score_adj 2>/dev/null; shift
exec "$@"
"""
"""Leaves its line of /proc/PID/stat, whose number and beginning are Apptainer's then, before there is a container; a
user may only raise the score."""
_ULIMITS = {"nofile": "--nofile", "core": "--core", "fsize": "--fsize"}
_NOT_MOUNTED = ("home", "tmp", "cwd", "hostfs", "bind-paths", "devpts")
_KERNELS = ("/proc", "/sys")
_KEPT = "/sys/devices/system/cpu"
"""The one folder of the kernel's that is bound; of others the guide does not say that they can be."""
_KNOWN = {
    "AutoRemove", "CapAdd", "CapDrop", "CgroupnsMode", "CpusetCpus", "Init", "IpcMode", "LogConfig", "MaskedPaths",
    "Memory", "MemorySwap", "Mounts", "NetworkMode", "OomScoreAdj", "PidsLimit", "ReadonlyPaths", "ReadonlyRootfs",
    "SecurityOpt", "ShmSize", "Tmpfs", "Ulimits",
}  # fmt: skip
_VERSION = re.compile(r"^(?:apptainer version )?(\d+)\.(\d+)[\w.+~-]*$")
_USER_GROUP = "user.slice/user-{uid}.slice/user@{uid}.service/cgroup.controllers"


@dataclass(frozen=True)
class CallerRights:
    """What Apptainer may do here for this user."""

    root: bool
    """Whether it is called with real root: then it takes a seccomp profile and a user for the container."""
    controllers: frozenset[str]
    """Of control groups, those whose limits it can set."""


@dataclass(frozen=True)
class ContainerFiles:
    """Where one container's files lie on the host."""

    pid: Path
    """Gets the line of /proc/PID/stat of Apptainer's process."""
    seccomp: Path
    """The profile of system calls, as content."""
    temporary: Path
    """Its /tmp."""
    volumes: Mapping[str, Path]
    """Folders of the volumes it mounts, by their names."""


def version_of(said: str) -> tuple[int, int]:
    """Return the version of Apptainer, of what `apptainer version` or `apptainer --version` prints.

    Raises:
        PrerequisiteError: it is none, or too old.
    """
    found = _VERSION.match(said.strip())
    if found is None:
        raise PrerequisiteError(
            f"`apptainer version` says {said.strip()[:LINE_CHARS]!r}, expected a version such as 1.3.4.",
            hint="apptainer version",
        )
    version = (int(found[1]), int(found[2]))
    if version < LEAST_VERSION:
        raise PrerequisiteError(
            f"Apptainer is {version[0]}.{version[1]}, expected {LEAST_VERSION[0]}.{LEAST_VERSION[1]} or later.",
            hint="ask whoever keeps this machine for a later one, or --containers podman",
        )
    return version


def caller_rights(cgroups: Path = Path("/sys/fs/cgroup")) -> CallerRights:
    """Look at what this user may ask for: control groups belong to root, or are handed on by systemd (v2 alone)."""
    if os.geteuid() == 0:
        return CallerRights(root=True, controllers=CONTROLLERS)
    try:
        handed_on = (cgroups / _USER_GROUP.format(uid=os.geteuid())).read_text().split()
    except OSError:
        handed_on = []
    return CallerRights(root=False, controllers=CONTROLLERS & set(handed_on))


def command(body: Body, image: Path, place: ContainerFiles, rights: CallerRights) -> list[str]:
    """Return the command line of one container.

    Args:
        body: as Docker's engine would be asked.
        image: its SIF file.
        place: its files.
        rights: what may be asked for.

    Raises:
        SandboxError: the body asks for what Apptainer cannot give, and what the container could not do without.
        PrerequisiteError: it asks for a GPU.
    """
    host = body["HostConfig"]
    _require_known(host)
    program = ["env", *(body.get("Env") or []), *body["Entrypoint"], *(body.get("Cmd") or [])]
    return [
        *_limited(host, place),
        "apptainer", "--silent", "exec", *_walls(body, place, rights), *_mounts(host, place), str(image),
        "/bin/sh", "-c", _BEGIN, "sh", *program,
    ]  # fmt: skip


def _require_known(host: Mapping[str, Any]) -> None:
    if host.get("DeviceRequests"):
        raise PrerequisiteError(
            "Containers of Apptainer get no GPU: --nv gives all devices of a machine to each.",
            hint="--containers podman, or a profile without GPUs",
        )
    if unknown := sorted(name for name, value in host.items() if value and name not in _KNOWN):
        raise SandboxError(f"Apptainer cannot give a container {', '.join(unknown)}.", hint="docs/engines.md")
    if host.get("NetworkMode") != "none":
        raise SandboxError("A container of Apptainer without the wall 'network' was asked for.")


def _limited(host: Mapping[str, Any], place: ContainerFiles) -> list[str]:
    """What processes inherit: limits of the kernel by process, and the score by which it chooses whom to end."""
    limits = [
        f"{_ULIMITS[each['Name']]}={each['Soft']}:{each['Hard']}"
        for each in host.get("Ulimits") or []
        if each["Name"] in _ULIMITS
    ]
    score = str(host.get("OomScoreAdj", 0))
    return ["prlimit", *limits, "--", "/bin/sh", "-c", _LIMITED, str(place.pid), score] if limits else [
        "/bin/sh", "-c", _LIMITED, str(place.pid), score,
    ]  # fmt: skip


def _walls(body: Body, place: ContainerFiles, rights: CallerRights) -> list[str]:
    host = body["HostConfig"]
    hidden = [*_NOT_MOUNTED, *(["sys"] if "/sys" in (host.get("Tmpfs") or {}) else [])]
    found = [
        "--containall", "--cleanenv", "--no-home", "--no-mount", ",".join(hidden), "--net", "--network", "none",
        "--pid", "--ipc", "--no-privs", "--no-umask", "--pwd", body.get("WorkingDir") or "/",
    ]  # fmt: skip
    if body.get("Hostname"):
        found += ["--uts", "--hostname", body["Hostname"]]
    if not host.get("Init"):
        found.append("--no-init")
    if rights.root:
        uid, _, gid = str(body.get("User") or "0:0").partition(":")
        found += ["--security", f"uid:{uid}", "--security", f"gid:{gid or uid}"]
        if seccomp_of(body) is not None:
            found += ["--security", f"seccomp:{place.seccomp}"]
    if host.get("Memory") and "memory" in rights.controllers:
        found += ["--memory", str(host["Memory"]), "--memory-swap", str(host["MemorySwap"])]
    if host.get("PidsLimit") and "pids" in rights.controllers:
        found += ["--pids-limit", str(host["PidsLimit"])]
    if host.get("CpusetCpus") and "cpuset" in rights.controllers:
        found += ["--cpuset-cpus", host["CpusetCpus"]]
    return found


def _mounts(host: Mapping[str, Any], place: ContainerFiles) -> list[str]:
    found = []
    if "/tmp" in (host.get("Tmpfs") or {}):
        found += ["--mount", _mount(place.temporary, "/tmp", read_only=False)]
    for mount in bound(host):
        source = place.volumes[mount["Source"]] if mount["Type"] == "volume" else Path(mount["Source"])
        found += ["--mount", _mount(source, mount["Target"], read_only=bool(mount.get("ReadOnly")))]
    return found


def bound(host: Mapping[str, Any]) -> list[Mapping[str, Any]]:
    """Return those mounts of a body that Apptainer is asked for."""
    return [
        mount
        for mount in host.get("Mounts") or []
        if mount["Target"] == _KEPT or not any(Path(mount["Target"]).is_relative_to(kernel) for kernel in _KERNELS)
    ]


def _mount(source: Path, target: str, *, read_only: bool) -> str:
    """One mount, quoted as fields of CSV are."""
    fields = ["type=bind", f"src={source}", f"dst={target}", *(["ro"] if read_only else [])]
    quoted = ['"' + field.replace('"', '""') + '"' if set(field) & set(',"\r\n') else field for field in fields]
    return ",".join(quoted)


def in_docker_terms(body: Body, rights: CallerRights) -> dict[str, Any]:
    """Return what a container's command line asks for, in the terms of Docker's inspection.

    What it has no option for is told as unset.
    """
    host = body["HostConfig"]
    limits = "memory" in rights.controllers
    security = [each for each in host.get("SecurityOpt") or [] if rights.root or not each.startswith("seccomp=")]
    return {
        "Config": {
            "Image": body["Image"],
            "Env": list(body.get("Env") or []),
            "Labels": dict(body.get("Labels") or {}),
        },
        "Mounts": [{"Destination": mount["Target"]} for mount in bound(host)],
        "HostConfig": {
            "Init": bool(host.get("Init")),
            "NetworkMode": "none",
            "ReadonlyRootfs": True,
            "IpcMode": "private",
            "CgroupnsMode": "host",
            "PidMode": "",
            "UTSMode": "" if body.get("Hostname") else "host",
            "UsernsMode": "",
            "PidsLimit": host.get("PidsLimit", 0) if "pids" in rights.controllers else 0,
            "Memory": host.get("Memory", 0) if limits else 0,
            "MemorySwap": host.get("MemorySwap", 0) if limits else 0,
            "ShmSize": 0,
            "CapDrop": list(host.get("CapDrop") or []),
            "CapAdd": [],
            "SecurityOpt": security,
            "MaskedPaths": [],
            "ReadonlyPaths": [],
            "RestartPolicy": {"Name": ""},
            "Privileged": False,
            "LogConfig": {"Type": "none"},
        },
    }


def volumes_asked_for(host: Mapping[str, Any]) -> Sequence[str]:
    """Return the names of the volumes that a body mounts."""
    return [mount["Source"] for mount in host.get("Mounts") or [] if mount["Type"] == "volume"]
