"""Each wall's check: it holds for what a real container once reported, and fails for any one thing that is otherwise.

The container's report is recorded (tests/probe_facts.py); tests/sandbox/test_probe.py asks real ones.
"""

from collections.abc import Callable
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from aira_bench.sandbox import hardening
from aira_bench.sandbox.probe import LIMITS
from aira_bench.sandbox.probe_checks import ProbeCheck, checks_of
from aira_bench.sandbox.sandbox import ContainerSpec
from probe_facts import facts, inspected

SPEC = ContainerSpec("image:1", "probe", "r", LIMITS)
Change = Callable[[dict[str, Any]], object]


def failing(change: Change = lambda facts: None, engine: Change = lambda inspected: None) -> list[ProbeCheck]:
    seen, described = facts(), inspected(SPEC)
    change(seen)
    engine(described)
    return [check for check in checks_of(seen, described, SPEC) if not check.ok]


def test_the_recorded_container_has_every_wall() -> None:
    assert failing() == []
    names = [check.name for check in checks_of(facts(), inspected(SPEC), SPEC)]
    assert len(names) == len(set(names)) > 60, "each check has a name of its own, which manifests keep"


@pytest.mark.parametrize("call", sorted(facts()["syscalls"]))
def test_a_system_call_that_is_let_through_fails(call: str) -> None:
    (check,) = failing(lambda seen: seen["syscalls"].update({call: "allowed"}))
    assert (check.name, check.seen) == (f"system call {call}", "allowed")


@pytest.mark.parametrize("family", sorted(facts()["families"]))
def test_a_socket_family_that_opens_fails(family: str) -> None:
    (check,) = failing(lambda seen: seen["families"].update({family: "allowed"}))
    assert check.name == f"socket {family}"


@pytest.mark.parametrize(
    ("change", "name"),
    [
        (lambda seen: seen["interfaces"].append("eth0"), "network interfaces"),
        (lambda seen: seen.update(connect="allowed"), "connection to the outside"),
        (lambda seen: seen["status"].update(CapEff="0000000000000001"), "CapEff"),
        (lambda seen: seen["status"].update(CapBnd="00000000a80425fb"), "CapBnd"),
        (lambda seen: seen["status"].pop("NoNewPrivs"), "NoNewPrivs"),
        (lambda seen: seen["status"].update(Seccomp="0"), "Seccomp"),
        (lambda seen: seen.update(ids=[0] * 4, groups=[0]), "user and group ids"),
        (lambda seen: seen["ids"].__setitem__(1, 0), "user and group ids"),
        (lambda seen: seen["groups"].append(999), "further groups"),
        (lambda seen: seen.update(oom_score_adj=-1000), "oom_score_adj after lowering it"),
        (lambda seen: seen["locks"].update({"flock held by another": "EAGAIN"}), "a lock that another holds has no effect"),
        (lambda seen: seen["locks"].update({"asking for locks": "allowed"}), "asking for locks"),
        (lambda seen: seen.update(cookie="allowed"), "a socket's number"),
        (lambda seen: seen.update(terminal="allowed"), "a new terminal"),
        (lambda seen: seen["counters"].append("/proc/vmstat"), "counters of the machine in sight"),
        (lambda seen: seen["mounts"].pop("/proc/meminfo"), "files in place of the kernel's"),
        (lambda seen: seen.update(root_read_only=False), "root is read-only"),
        (lambda seen: seen["writes"].update({"/usr": "allowed"}), "write to /usr"),
        (lambda seen: seen.update(core_pattern="allowed"), "write to kernel.core_pattern"),
        (lambda seen: seen["mounts"]["/tmp"].remove("nosuid"), "/tmp mounted nosuid, nodev"),
        (lambda seen: seen["present"].append("/hidden"), "sockets and hidden folders in sight"),
        (lambda seen: seen["devices"].append("nvidia0"), "devices of GPUs in sight"),
        (lambda seen: seen["workspace"].update(mib=9.0), "workspace size"),
        (lambda seen: seen["tmp"].update(outcome="allowed"), "tmp size"),
        (lambda seen: seen["workspace"].update(inodes=10**6), "workspace inodes"),
        (lambda seen: seen["pids"].update(children=LIMITS.pids), "processes"),
        (lambda seen: seen.update(memory="allowed"), "memory"),
        (lambda seen: seen["limits"].update(nofile=[256, 10**6]), "open files"),
        (lambda seen: seen["limits"].update(core=[0, 1]), "core dumps"),
        (lambda seen: seen["limits"].update(fsize=[-1, -1]), "file size"),
        (lambda seen: seen["environment"].update(GEMINI_API_KEY="k"), "environment"),
        (lambda seen: seen["environment"].pop("HF_HUB_OFFLINE"), "environment"),
        (lambda seen: seen.update(processes=3), "foreign processes"),
    ],
)  # fmt: skip
def test_one_thing_that_is_otherwise_inside_fails_one_check(change: Change, name: str) -> None:
    assert [check.name for check in failing(change)] == [name]


HOST: list[tuple[Change, str]] = [
    (lambda host: host.update(NetworkMode="bridge"), "engine's NetworkMode"),
    (lambda host: host.update(ReadonlyRootfs=False), "engine's ReadonlyRootfs"),
    (lambda host: host.update(IpcMode="host"), "engine's IpcMode"),
    (lambda host: host.update(CgroupnsMode="host"), "engine's CgroupnsMode"),
    (lambda host: host.update(PidsLimit=0), "engine's PidsLimit"),
    (lambda host: host.update(MemorySwap=-1), "engine's MemorySwap"),
    (lambda host: host.update(CapDrop=[]), "engine's CapDrop"),
    (lambda host: host.update(CapAdd=["SYS_ADMIN"]), "engine's CapAdd"),
    (lambda host: host.update(Devices=[{"PathOnHost": "/dev/sda"}]), "engine's Devices"),
    (lambda host: host.update(GroupAdd=["docker"]), "engine's GroupAdd"),
    (lambda host: host.update(VolumesFrom=["other"]), "engine's VolumesFrom"),
    (lambda host: host.update(RestartPolicy={"Name": "always"}), "engine's restarts"),
    (lambda host: host.update(Privileged=True), "engine's Privileged"),
    (lambda host: host.update(PidMode="host"), "engine's PidMode"),
    (lambda host: host.update(UsernsMode="host"), "engine's UsernsMode"),
    (lambda host: host.update(LogConfig={"Type": "json-file"}), "engine's log driver"),
    (lambda host: host.update(SecurityOpt=["no-new-privileges", "seccomp=unconfined"]), "engine's seccomp profile"),
    (lambda host: host.update(SecurityOpt=None), "engine's seccomp profile"),
    (lambda host: host["MaskedPaths"].remove("/proc/keys"), "missing of the engine's MaskedPaths"),
    (lambda host: host.update(ReadonlyPaths=None), "missing of the engine's ReadonlyPaths"),
]


@pytest.mark.parametrize(("change", "name"), HOST)
def test_one_setting_of_the_engine_s_that_is_otherwise_fails_one_check(change: Change, name: str) -> None:
    """A wall must stand by design: what happens to be refused from inside is not enough."""
    assert [check.name for check in failing(engine=lambda found: change(found["HostConfig"]))] == [name]


@given(target=st.sampled_from(["/var/run/docker.sock", "/task", "/hidden", "/workspace/data", "/"]))
def test_a_mount_that_the_spec_does_not_name_fails(target: str) -> None:
    found = failing(engine=lambda inspected: inspected["Mounts"].append({"Destination": target}))
    assert [check.name for check in found] == ["engine's mounts"]
    assert target in found[0].seen


@given(uid=st.integers(0, 2**31))
def test_only_the_numbers_kept_for_untrusted_containers_are_a_good_user(uid: int) -> None:
    names = [check.name for check in failing(lambda seen: seen.update(ids=[uid] * 4, groups=[uid]))]
    assert names == ([] if uid in hardening.UNTRUSTED_UIDS else ["user and group ids"])


@given(mib=st.floats(0, 100), cap=st.sampled_from(["workspace", "tmp", "shm"]))
def test_a_place_may_be_smaller_than_its_cap_and_never_larger(mib: float, cap: str) -> None:
    names = [check.name for check in failing(lambda seen: seen[cap].update(mib=mib))]
    assert names == ([] if mib <= 8 else [f"{cap} size"])
