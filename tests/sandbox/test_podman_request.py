"""What podman is asked for has every wall of what Docker is asked for, and what it says it set is what its runtime got."""

import json
from pathlib import Path
from typing import Any

import pytest

from aira_bench.docker_engine.podman_request import asked, seccomp_of, volume_options
from aira_bench.docker_engine.podman_terms import in_docker_terms, is_profile
from aira_bench.sandbox import hardening
from aira_bench.sandbox.hardening import ContainerPlace
from aira_bench.sandbox.probe import LIMITS
from aira_bench.sandbox.sandbox import ContainerSpec
from aira_bench.sandbox.seccomp import seccomp_profile

SPEC = ContainerSpec("image:1", "agent", "r", LIMITS)
PLACE = ContainerPlace("aira-agent-1", 1, uid=40_001, kernel_files=None)


def body() -> dict[str, Any]:
    return hardening.step_body(SPEC, PLACE)


def test_the_size_of_a_tmpfs_reaches_the_kernel() -> None:
    options = volume_options(hardening.workspace_options(LIMITS, "agent", PLACE))
    # 8 MiB are 2,048 pages of 4,096 bytes.
    assert options == {
        "type": "tmpfs", "device": "tmpfs",
        "o": "nr_blocks=2048,nr_inodes=32768,uid=40001,gid=40001,mode=0700,nosuid,nodev",
    }  # fmt: skip
    assert "nr_blocks=3" in volume_options({"type": "tmpfs", "o": "size=12k"})["o"], "12,288 bytes"
    trees = {"type": "erofs", "device": "/store/usr.erofs", "o": "ro,directio"}
    assert volume_options(trees) == trees


def test_a_step_has_each_wall_in_podmans_own_words() -> None:
    wanted = asked("aira-user-40001", body(), "/tmp/profile.json")
    spec = wanted.spec
    assert spec["netns"] == {"nsmode": "none"}
    assert (spec["read_only_filesystem"], spec["no_new_privileges"], spec["cap_drop"]) == (True, True, ["ALL"])
    assert (spec["seccomp_profile_path"], spec["user"]) == ("/tmp/profile.json", "40001:40001")
    # Processes 96 MiB, workspace, /tmp and /dev/shm 8 MiB each: 120 MiB.
    assert spec["resource_limits"] == {"memory": {"limit": 125_829_120, "swap": 125_829_120}, "pids": {"limit": 32}}
    assert set(body()["HostConfig"]["MaskedPaths"]) < set(spec["mask"])
    limits = {each["type"]: (each["soft"], each["hard"]) for each in spec["r_limits"]}
    assert (limits["nofile"], limits["core"], limits["fsize"]) == ((256, 256), (0, 0), (8 << 20, 8 << 20))
    assert spec["log_configuration"] == {"driver": "none"}
    assert (spec["oom_score_adj"], spec["shm_size"], spec["stop_timeout"], spec["httpproxy"]) == (
        500,
        8 << 20,
        0,
        False,
    )


def test_tmp_is_a_volume_since_podman_takes_no_inodes_of_a_tmpfs() -> None:
    wanted = asked("aira-user-40001", body(), None)
    assert wanted.volumes == {"aira-user-40001-tmp": "nosuid,nodev,size=8m,nr_inodes=32768,mode=1777"}
    mounted = {each["Dest"]: each for each in wanted.spec["volumes"]}
    assert mounted["/tmp"]["Name"] == "aira-user-40001-tmp"
    assert {"rw", "nosuid", "nodev", "exec"} <= set(mounted["/tmp"]["Options"])
    assert {"rw", "nosuid", "nodev"} <= set(mounted["/workspace"]["Options"])
    (sys_,) = [each for each in wanted.spec["mounts"] if each["destination"] == "/sys"]
    assert sys_["type"] == "tmpfs"
    assert "ro" in sys_["options"]
    assert not any(option.startswith("nr_inodes") for option in sys_["options"])


def test_a_reader_has_the_workspace_read_only() -> None:
    spec = asked("reader", hardening.reader_body(SPEC, PLACE), None).spec
    (workspace,) = spec["volumes"]
    assert (workspace["Dest"], workspace["Options"][0]) == ("/workspace", "ro")


OCI = json.loads((Path(__file__).parent / "podman_container.json").read_text())
"""Podman's answers about a container of `SPEC`, recorded as root: its inspection in Docker's terms (`found`), and what
its runtime was given (`spec`)."""


def described(**changes: object) -> dict[str, Any]:
    """The container in Docker's terms, where its runtime was given something else."""
    spec = json.loads(json.dumps(OCI["spec"]))
    for path, value in changes.items():
        *folders, last = path.split("__")
        inner = spec
        for folder in folders:
            inner = inner[folder]
        inner[last] = value
    return in_docker_terms(OCI["found"], spec, seccomp_profile("untrusted"), OCI["stand_ins"])


def test_a_recorded_container_is_described_as_docker_would() -> None:
    host = described()["HostConfig"]
    wanted = body()["HostConfig"]
    for name in ("NetworkMode", "ReadonlyRootfs", "IpcMode", "CgroupnsMode", "PidsLimit", "Memory", "MemorySwap"):
        assert host[name] == wanted[name], name
    assert host["CapDrop"] == ["ALL"]
    assert host["SecurityOpt"] == wanted["SecurityOpt"]
    assert set(wanted["ReadonlyPaths"]) <= set(host["ReadonlyPaths"])
    assert "/tmp" not in {mount["Destination"] for mount in described()["Mounts"]}


@pytest.mark.parametrize(
    ("changes", "name", "seen"),
    [
        ({"linux__namespaces": [{"type": "pid"}]}, "NetworkMode", "host"),
        ({"linux__namespaces": [{"type": "ipc", "path": "/proc/1/ns/ipc"}]}, "IpcMode", "host"),
        ({"linux__namespaces": [{"type": "network"}]}, "CgroupnsMode", "host"),
        ({"root__readonly": False}, "ReadonlyRootfs", False),
        ({"process__noNewPrivileges": False}, "SecurityOpt", [f"seccomp={seccomp_profile('untrusted')}"]),
        ({"linux__seccomp": {}}, "SecurityOpt", ["no-new-privileges"]),
        ({"linux__seccomp": None}, "SecurityOpt", ["no-new-privileges"]),
        ({"linux__resources": {}}, "PidsLimit", 0),
        ({"linux__resources": {}}, "Memory", 0),
        ({"linux__maskedPaths": None}, "MaskedPaths", []),
    ],
)
def test_what_a_runtime_was_not_given_is_told_as_unset(changes: dict[str, Any], name: str, seen: object) -> None:
    assert described(**changes)["HostConfig"][name] == seen


def test_a_capability_that_is_left_is_told() -> None:
    left = described(process__capabilities={"bounding": ["CAP_CHOWN"]})
    assert left["HostConfig"]["CapDrop"] != ["ALL"]


def test_a_container_whose_runtimes_configuration_cannot_be_read_has_no_wall() -> None:
    host = in_docker_terms(OCI["found"], {}, seccomp_profile("untrusted"))["HostConfig"]
    assert (host["NetworkMode"], host["ReadonlyRootfs"], host["SecurityOpt"]) == ("host", False, [])
    assert (host["PidsLimit"], host["Memory"], host["MaskedPaths"]) == (0, 0, [])
    assert host["CapDrop"] != ["ALL"]


def test_profiles_are_compared_rule_by_rule() -> None:
    wanted = json.loads(seccomp_profile("untrusted"))
    given = OCI["spec"]["linux"]["seccomp"]
    assert is_profile(given, wanted)
    assert not is_profile(given, json.loads(seccomp_profile("trusted")))
    assert not is_profile({**given, "defaultAction": "SCMP_ACT_ALLOW"}, wanted)
    for index in (0, len(given["syscalls"]) - 1):
        fewer = [rule for number, rule in enumerate(given["syscalls"]) if number != index]
        assert not is_profile({**given, "syscalls": fewer}, wanted)
    more = [*given["syscalls"], {"names": ["ptrace"], "action": "SCMP_ACT_ALLOW"}]
    assert not is_profile({**given, "syscalls": more}, wanted)


def test_the_profile_of_a_body_is_found() -> None:
    assert seccomp_of(body()) == seccomp_profile("untrusted")
    assert seccomp_of({"HostConfig": {"SecurityOpt": ["no-new-privileges"]}}) is None
