"""What podman has set for a container, in the terms of Docker's inspection.

Podman's own words for it leave out what matters most (masked paths, the profile of system calls), so what is told here
is what the container runtime was given: the configuration (OCI) that podman wrote for it, and beside it podman's words
where that has none. What neither says is told as unset, so that whoever compares finds the wall missing.

Not covered: whether the kernel enforces it (`aira_bench.sandbox.probe`).
"""

import json
from collections.abc import Collection, Mapping
from typing import Any

from aira_bench.docker_engine.podman_request import ALWAYS_MASKED, SECCOMP

Facts = Mapping[str, Any]
_LOCAL = "localhost/"


def in_docker_terms(found: Facts, spec: Facts, seccomp: str | None, stand_ins: Collection[str] = ()) -> dict[str, Any]:
    """Return a container's description.

    Args:
        found: podman's answer to Docker's inspection.
        spec: the configuration of its runtime; empty where it cannot be read.
        seccomp: the profile that it was to have, as content.
        stand_ins: volumes that it has in place of a tmpfs.
    """
    linux, process = spec.get("linux") or {}, spec.get("process") or {}
    said = found["HostConfig"]
    resources = linux.get("resources") or {}
    memory = resources.get("memory") or {}
    no_capabilities = process.get("capabilities") is not None and not any(process["capabilities"].values())
    security = ["no-new-privileges"] if process.get("noNewPrivileges") else []
    if seccomp is not None and is_profile(linux.get("seccomp") or {}, json.loads(seccomp)):
        security.append(f"{SECCOMP}{seccomp}")
    own = {each["type"] for each in linux.get("namespaces") or [] if not each.get("path")}
    host = {
        **said,
        "NetworkMode": said["NetworkMode"] if "network" in own else "host",
        "ReadonlyRootfs": bool((spec.get("root") or {}).get("readonly")),
        "IpcMode": "private" if "ipc" in own else "host",
        "CgroupnsMode": "private" if "cgroup" in own else "host",
        "PidMode": "" if "pid" in own else "host",
        "UTSMode": "" if "uts" in own else "host",
        "UsernsMode": "",
        "CapDrop": ["ALL"] if no_capabilities else list(said.get("CapDrop") or []),
        "SecurityOpt": security,
        "PidsLimit": (resources.get("pids") or {}).get("limit", 0),
        "Memory": memory.get("limit", 0),
        "MemorySwap": memory.get("swap", 0),
        "MaskedPaths": [path for path in linux.get("maskedPaths") or [] if path not in ALWAYS_MASKED],
        "ReadonlyPaths": list(linux.get("readonlyPaths") or []),
        "DeviceRequests": [],
        "DeviceCgroupRules": [
            rule for rule in resources.get("devices") or [] if rule.get("allow") and rule.get("type") is None
        ],
    }
    config = {**found["Config"], "Image": str(found["Config"]["Image"]).removeprefix(_LOCAL)}
    mounts = [mount for mount in found["Mounts"] if mount.get("Name") not in stand_ins]
    return {**found, "HostConfig": host, "Config": config, "Mounts": mounts}


def is_profile(given: Facts, wanted: Facts) -> bool:
    """Whether the system calls that a runtime was told to filter are those of a profile, rule for rule."""
    same = given.get("defaultAction") == wanted["defaultAction"] and given.get("defaultErrnoRet") == wanted.get(
        "defaultErrnoRet"
    )
    return same and _rules(given) == _rules(wanted)


def _rules(profile: Facts) -> set[tuple[str, str, int | None, frozenset[tuple[Any, ...]]]]:
    return {
        (
            name,
            rule["action"],
            rule.get("errnoRet"),
            frozenset(
                (arg["index"], arg["value"], arg.get("valueTwo", 0), arg["op"]) for arg in rule.get("args") or []
            ),
        )
        for rule in profile.get("syscalls") or []
        for name in rule["names"]
    }
