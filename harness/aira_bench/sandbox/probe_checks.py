"""What a probe container's answers and the engine's settings must be, wall by wall.

`facts` are what `inside/witness.py` reports, `inspected` is the engine's description of the same container.

Not covered: getting them (`probe`).
"""

from collections.abc import Iterator, Mapping
from dataclasses import dataclass
from typing import Any

from aira_bench.sandbox import hardening, kernel_files
from aira_bench.sandbox.sandbox import ContainerSpec, Limits
from aira_bench.sandbox.trees import BARE_IMAGE, OPTIONS
from aira_contract.containers import WORKSPACE


@dataclass(frozen=True)
class ProbeCheck:
    """One property of the sandbox, as it was seen against as it must be."""

    name: str
    ok: bool
    seen: str
    expected: str


def checks_of(facts: Mapping[str, Any], inspected: Mapping[str, Any], spec: ContainerSpec) -> list[ProbeCheck]:
    """Return every check of one container that was made from `spec`."""
    return [
        *_network(facts),
        *_privileges(facts),
        *_channels(facts),
        *_file_systems(facts),
        *_trees(facts, inspected),
        *_caps(facts, spec.limits),
        *_surroundings(facts, spec),
        *_settings(inspected, spec),
    ]


def _equal(name: str, seen: object, expected: object) -> ProbeCheck:
    return ProbeCheck(name, seen == expected, str(seen), str(expected))


def _refused(name: str, outcome: str, errors: tuple[str, ...] = ("EPERM", "ENOSYS")) -> ProbeCheck:
    return ProbeCheck(name, outcome in errors, outcome, " or ".join(errors))


def _network(facts: Mapping[str, Any]) -> Iterator[ProbeCheck]:
    yield _equal("network interfaces", facts["interfaces"], ["lo"])
    yield _refused("connection to the outside", facts["connect"], ("ENETUNREACH", "EHOSTUNREACH", "EPERM"))
    for family, outcome in facts["families"].items():
        yield _refused(f"socket {family}", outcome, ("EPERM", "EAFNOSUPPORT") if family == "AF_ALG" else ("EPERM",))


def _privileges(facts: Mapping[str, Any]) -> Iterator[ProbeCheck]:
    for call, outcome in facts["syscalls"].items():
        yield _refused(f"system call {call}", outcome)
    status = facts["status"]
    for capabilities in ("CapEff", "CapPrm", "CapBnd", "CapAmb"):
        yield _equal(capabilities, int(status.get(capabilities, "-1"), 16), 0)
    yield _equal("NoNewPrivs", status.get("NoNewPrivs"), "1")
    yield _equal("Seccomp", status.get("Seccomp"), "2")
    own = facts["ids"][0]
    expected = f"four times one of {hardening.UNTRUSTED_UIDS.start} to {hardening.UNTRUSTED_UIDS.stop - 1}"
    yield ProbeCheck(
        "user and group ids", {*facts["ids"]} == {own} and own in hardening.UNTRUSTED_UIDS, str(facts["ids"]), expected
    )
    yield _equal("further groups", sorted(set(facts["groups"]) - {own}), [])
    yield _equal("oom_score_adj after lowering it", facts["oom_score_adj"], 500)


def _channels(facts: Mapping[str, Any]) -> Iterator[ProbeCheck]:
    """Walls against messages to other containers, as far as one container can tell (`aira_bench.sandbox.channels`)."""
    yield _equal("a lock that another holds has no effect", facts["locks"]["flock held by another"], "allowed")
    yield _refused("asking for locks", facts["locks"]["asking for locks"])
    yield _refused("a socket's number", facts["cookie"])
    yield _refused("a new terminal", facts["terminal"], ("ENOENT", "ENXIO", "ENODEV"))
    yield _equal("counters of the machine in sight", facts["counters"], [])
    replaced = [target for target in kernel_files.REPLACED if target in facts["mounts"]]
    yield _equal("files in place of the kernel's", replaced, [*kernel_files.REPLACED])


def _file_systems(facts: Mapping[str, Any]) -> Iterator[ProbeCheck]:
    yield _equal("root is read-only", facts["root_read_only"], True)
    for folder, outcome in facts["writes"].items():
        # Where file trees stand in for the image, a folder that nothing needs is not there.
        yield _refused(f"write to {folder or '/'}", outcome, ("EROFS", "EACCES", "ENOENT"))
    yield _refused("write to kernel.core_pattern", facts["core_pattern"], ("EROFS", "EACCES", "EPERM", "ENOENT"))
    for folder in (str(WORKSPACE), "/tmp", "/dev/shm"):
        options = set(facts["mounts"].get(folder, []))
        yield _equal(f"{folder} mounted nosuid, nodev", sorted(options & {"nosuid", "nodev"}), ["nodev", "nosuid"])
    yield _equal("sockets and hidden folders in sight", facts["present"], [])
    yield _equal("devices of GPUs in sight", facts["devices"], [])


def _trees(facts: Mapping[str, Any], inspected: Mapping[str, Any]) -> Iterator[ProbeCheck]:
    for target in _tree_targets(inspected):
        options = set(facts["mounts"].get(target, []))
        lacking = sorted(set(OPTIONS) - options)
        yield ProbeCheck(
            f"{target} is a file system of its own", not lacking, f"lacks {lacking}" if lacking else "yes", "yes"
        )


def _tree_targets(inspected: Mapping[str, Any]) -> list[str]:
    """Where a container has file trees of its own; an image without layers comes with them alone."""
    if inspected["Config"]["Image"] != BARE_IMAGE:
        return []
    names = {mount["Destination"]: str(mount.get("Name", "")) for mount in inspected["Mounts"]}
    return [target for target, name in names.items() if name.startswith(f"{names[str(WORKSPACE)]}-")]


def _caps(facts: Mapping[str, Any], limits: Limits) -> Iterator[ProbeCheck]:
    caps = {
        "workspace": (limits.workspace_mib, hardening.WORKSPACE_INODES),
        "tmp": (limits.tmp_mib, hardening.TMP_INODES),
    }
    for name in ("workspace", "tmp", "shm"):
        cap_mib = {"workspace": limits.workspace_mib, "tmp": limits.tmp_mib, "shm": limits.shm_mib}[name]
        filled = facts[name]
        seen = f"{filled['outcome']} at {filled['mib']:.2f} MiB"
        ok = filled["outcome"] == "ENOSPC" and filled["mib"] <= cap_mib
        yield ProbeCheck(f"{name} size", ok, seen, f"ENOSPC at {cap_mib} MiB or before")
        if name in caps:
            yield _equal(f"{name} inodes", filled["inodes"], caps[name][1])
    pids = facts["pids"]
    ok = pids["outcome"] == "EAGAIN" and pids["children"] < limits.pids
    yield ProbeCheck("processes", ok, f"{pids['outcome']} at {pids['children']}", f"EAGAIN below {limits.pids}")
    yield _equal("memory", facts["memory"], "killed by signal 9")
    if limits.cpus is not None:
        yield _equal("cores", facts["affinity"], sorted(limits.cpus))
    yield _equal("open files", facts["limits"]["nofile"], [limits.open_files] * 2)
    yield _equal("core dumps", facts["limits"]["core"], [0, 0])
    largest = max(limits.workspace_mib, limits.tmp_mib, limits.shm_mib) * 2**20
    yield _equal("file size", facts["limits"]["fsize"], [largest] * 2)


def _surroundings(facts: Mapping[str, Any], spec: ContainerSpec) -> Iterator[ProbeCheck]:
    threads = int(facts["environment"].get("OMP_NUM_THREADS", "0"))
    expected = hardening.environment(spec, threads)
    seen = {name: value for name, value in facts["environment"].items() if name not in hardening.PASSED_ON}
    strange = sorted({name for name, _ in seen.items() ^ expected.items()})
    yield ProbeCheck("environment", not strange, f"differs in {strange}" if strange else "as set", "as set")
    yield ProbeCheck(
        "foreign processes", facts["processes"] <= 2, f"{facts['processes']} processes", "an init and the command"
    )


def _settings(inspected: Mapping[str, Any], spec: ContainerSpec) -> Iterator[ProbeCheck]:
    host = inspected["HostConfig"]
    expected = hardening.step_body(spec, hardening.ContainerPlace("", 1))["HostConfig"]
    trees = _tree_targets(inspected)
    yield _equal("engine's Init", host["Init"], "/sbin" not in trees)
    same = ("NetworkMode", "ReadonlyRootfs", "IpcMode", "CgroupnsMode", "PidsLimit", "Memory", "MemorySwap", "ShmSize")
    for name in same:
        yield _equal(f"engine's {name}", host[name], expected[name])
    yield _equal("engine's CapDrop", host["CapDrop"], ["ALL"])
    for name in ("CapAdd", "Devices", "DeviceCgroupRules", "DeviceRequests", "GroupAdd", "VolumesFrom"):
        yield _equal(f"engine's {name}", host.get(name) or [], [])
    # The hook of NVIDIA's toolkit reads these, of an image that asks for devices too, before anything inside runs.
    variables = dict(line.split("=", 1) for line in inspected["Config"]["Env"])
    for name, value in hardening.device_variables(None).items():
        yield _equal(f"engine's {name}", variables.get(name), value)
    yield _equal("engine's restarts", host["RestartPolicy"]["Name"] or "no", "no")
    yield _equal("engine's Privileged", host["Privileged"], False)
    for name in ("PidMode", "UTSMode", "UsernsMode"):
        yield _equal(f"engine's {name}", host[name], "")
    yield _equal("engine's log driver", host["LogConfig"]["Type"], "none")
    profile = hardening.seccomp(spec) in (host["SecurityOpt"] or [])
    yield ProbeCheck("engine's seccomp profile", profile, "ours" if profile else "another", "ours")
    mounts = sorted(mount["Destination"] for mount in inspected["Mounts"])
    mounted = [*kernel_files.REPLACED, *(mount["Target"] for mount in expected["Mounts"])]
    mounted = [target for target in mounted if target != kernel_files.PROCESSORS or "/sys" not in trees]
    yield _equal("engine's mounts", mounts, sorted([*mounted, *trees]))
    for name in ("MaskedPaths", "ReadonlyPaths"):
        missing = sorted(set(expected[name]) - set(host[name] or []))
        yield _equal(f"missing of the engine's {name}", missing, [])
