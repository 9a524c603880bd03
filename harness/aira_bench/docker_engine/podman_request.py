"""A container as podman is asked for it: from the request body of the Docker Engine API to that of podman's own API.

Podman speaks Docker's API too, and drops walls there without a word: masked paths, the number of a tmpfs's inodes, a
seccomp profile that is no file. Its own API (libpod, `SpecGenerator`) takes all but one of them, the inodes of a tmpfs;
so each tmpfs of a step becomes a volume, whose options reach the kernel. Sizes of those go as `nr_blocks`, since podman
takes `size` for a quota of the disk.

Not covered: calling the API (`podman`), and what a container may do (`aira_bench.sandbox.hardening`).
"""

import re
import resource
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Any

Body = Mapping[str, Any]
"""A request body of the Docker Engine API."""

PAGE_BYTES = 4096
"""What tmpfs counts `nr_blocks` in, on the machines we have images for."""
SECCOMP = "seccomp="
ALWAYS_MASKED = ("/sys/fs/cgroup",)
"""Podman mounts the control groups also where something else is mounted in place of /sys."""
MOST = {"nproc": 32_768, "nofile": 1_048_576}
"""Where a body says nothing of them podman asks for more than the machine may grant, so they are always said. Processes
are counted by user here; the control group has its own limit.
"""
_UNITS = {"": 1, "k": 2**10, "m": 2**20, "g": 2**30}
_SIZE = re.compile(r"size=(\d+)([kmg]?)")
_INODES = "nr_inodes="
_OF_MOUNT = ("rw", "ro", "exec", "noexec", "nosuid", "nodev")


@dataclass(frozen=True)
class Asked:
    """What one container takes: volumes that are made first, then the container."""

    volumes: Mapping[str, str]
    """Options of each tmpfs volume, by its name."""
    spec: Mapping[str, Any]
    """The body of `POST /libpod/containers/create`."""


def volume_options(options: Mapping[str, str]) -> dict[str, str]:
    """Return the driver options of a volume, with a tmpfs's size as podman hands it on to the kernel."""
    if options.get("type") != "tmpfs":
        return dict(options)
    return {**options, "o": ",".join(map(_in_blocks, options["o"].split(",")))}


def _in_blocks(option: str) -> str:
    found = _SIZE.fullmatch(option)
    return option if found is None else f"nr_blocks={int(found[1]) * _UNITS[found[2]] // PAGE_BYTES}"


def seccomp_of(body: Body) -> str | None:
    """Return the content of the profile a body asks for; None where it asks for none of its own."""
    options = (body["HostConfig"].get("SecurityOpt") or []) if "HostConfig" in body else []
    return next((each.removeprefix(SECCOMP) for each in options if each.startswith(SECCOMP)), None)


def asked(name: str, body: Body, seccomp_path: str | None) -> Asked:
    """Return what to ask podman for.

    Args:
        name: the container's.
        body: as Docker's engine would be asked.
        seccomp_path: where the body's profile was written, on podman's machine; None for podman's own.
    """
    host = body["HostConfig"]
    mounts, volumes, made = _mounts(name, host)
    spec: dict[str, Any] = {
        "name": name,
        "image": body["Image"],
        "image_volume_mode": "ignore",
        "entrypoint": list(body["Entrypoint"]),
        "command": list(body.get("Cmd") or []),
        "user": body.get("User", ""),
        "labels": dict(body.get("Labels") or {}),
        "env": dict(line.split("=", 1) for line in body.get("Env") or []),
        "httpproxy": False,
        "stdin": bool(body.get("OpenStdin")),
        "work_dir": body.get("WorkingDir") or "/",
        "stop_timeout": 0,
        "remove": bool(host.get("AutoRemove")),
        "init": bool(host.get("Init")),
        "read_only_filesystem": bool(host.get("ReadonlyRootfs")),
        "cap_drop": list(host.get("CapDrop") or []),
        "cap_add": list(host.get("CapAdd") or []),
        "no_new_privileges": "no-new-privileges" in (host.get("SecurityOpt") or []),
        "log_configuration": {"driver": "none" if host["LogConfig"]["Type"] == "none" else "k8s-file"},
        "mounts": mounts,
        "volumes": volumes,
        "mask": [*(host.get("MaskedPaths") or []), *ALWAYS_MASKED],
        "r_limits": _limits(host.get("Ulimits") or []),
        "resource_limits": _resources(host),
        "netns": {"nsmode": "none" if host.get("NetworkMode") == "none" else "private"},
        "ipcns": {"nsmode": "private"},
        "cgroupns": {"nsmode": "private"},
        "pidns": {"nsmode": "host" if host.get("PidMode") == "host" else "private"},
    }
    if body.get("Hostname"):
        spec["hostname"] = body["Hostname"]
    if seccomp_path is not None:
        spec["seccomp_profile_path"] = seccomp_path
    if "OomScoreAdj" in host:
        spec["oom_score_adj"] = host["OomScoreAdj"]
    if "ShmSize" in host:
        spec["shm_size"] = host["ShmSize"]
    if "Runtime" in host:
        spec["oci_runtime"] = host["Runtime"]
    if requests := host.get("DeviceRequests"):
        spec["devices"] = [{"path": device} for device in _devices(requests)]
    return Asked(made, spec)


def _mounts(name: str, host: Mapping[str, Any]) -> tuple[list[dict[str, Any]], list[dict[str, Any]], dict[str, str]]:
    """Mounts, named volumes, and the options of those volumes that stand in for a tmpfs."""
    mounts: list[dict[str, Any]] = []
    volumes: list[dict[str, Any]] = []
    made: dict[str, str] = {}
    for target, text in (host.get("Tmpfs") or {}).items():
        options = text.split(",")
        if "ro" in options:  # nobody can make a file there
            kept = [each for each in options if not each.startswith(_INODES)]
            mounts.append(
                {"type": "tmpfs", "source": "tmpfs", "destination": target, "options": [*kept, "notmpcopyup"]}
            )
            continue
        volume = f"{name}{target.replace('/', '-')}"
        made[volume] = ",".join(each for each in options if each not in ("rw", "exec"))
        volumes.append(_volume(volume, target, [each for each in options if each in _OF_MOUNT]))
    for mount in host.get("Mounts") or []:
        writing = "ro" if mount.get("ReadOnly") else "rw"
        if mount["Type"] == "volume":
            volumes.append(_volume(mount["Source"], mount["Target"], [writing, "nosuid", "nodev"]))
        else:
            options = ["rbind", "rprivate", writing]
            mounts.append(
                {"type": "bind", "source": mount["Source"], "destination": mount["Target"], "options": options}
            )
    return mounts, volumes, made


def _volume(name: str, target: str, options: Sequence[str]) -> dict[str, Any]:
    return {"Name": name, "Dest": target, "Options": [*options, "nocopy"]}


def _limits(wanted: Sequence[Mapping[str, Any]]) -> list[dict[str, Any]]:
    found = [{"type": each["Name"], "soft": each["Soft"], "hard": each["Hard"]} for each in wanted]
    given = {each["type"] for each in found}
    return found + [{"type": name, "soft": most, "hard": most} for name, most in _most().items() if name not in given]


def _most() -> dict[str, int]:
    """What this process may grant of the limits in `MOST`; podman's service has them of it."""
    numbers = {"nproc": resource.RLIMIT_NPROC, "nofile": resource.RLIMIT_NOFILE}
    hard = {name: resource.getrlimit(number)[1] for name, number in numbers.items()}
    return {
        name: most if hard[name] == resource.RLIM_INFINITY else min(most, hard[name]) for name, most in MOST.items()
    }


def _resources(host: Mapping[str, Any]) -> dict[str, Any]:
    found: dict[str, Any] = {}
    if host.get("Memory"):
        found["memory"] = {"limit": host["Memory"], "swap": host["MemorySwap"]}
    if host.get("PidsLimit"):
        found["pids"] = {"limit": host["PidsLimit"]}
    if host.get("CpusetCpus"):
        found["cpu"] = {"cpus": host["CpusetCpus"]}
    return found


def _devices(requests: Sequence[Mapping[str, Any]]) -> list[str]:
    """Podman gives devices by their names in the container device interface alone."""
    return [
        device if "=" in device else f"nvidia.com/gpu={device}"
        for request in requests
        for device in request.get("DeviceIDs") or ["all"]
    ]
