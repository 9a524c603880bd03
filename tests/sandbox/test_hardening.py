import json
from dataclasses import replace
from pathlib import Path, PurePosixPath

import pytest

from aira_bench.docker_engine import DockerEngine
from aira_bench.errors import SandboxError
from aira_bench.sandbox import hardening
from aira_bench.sandbox.docker_sandbox import DockerSandbox
from aira_bench.sandbox.protocol import ContainerSpec, Limits, Mount, Role

FORBIDDEN = {
    "ptrace", "process_vm_readv", "process_vm_writev", "kcmp", "pidfd_getfd", "userfaultfd", "bpf", "perf_event_open",
    "io_uring_setup", "io_uring_enter", "io_uring_register", "keyctl", "add_key", "request_key", "mq_open", "mount",
    "umount2", "unshare", "setns", "pivot_root", "chroot", "init_module", "finit_module", "kexec_load", "swapon",
    "clock_settime", "settimeofday", "open_by_handle_at", "name_to_handle_at", "socketcall", "reboot", "quotactl",
    "fsopen", "move_mount", "open_tree", "iopl", "ioperm", "modify_ldt", "personality", "memfd_secret", "mincore",
}  # fmt: skip


def test_the_seccomp_profile_denies_by_default_and_allows_nothing_forbidden() -> None:
    profile = json.loads(hardening.seccomp_profile())
    assert profile["defaultAction"] == "SCMP_ACT_ERRNO"
    allowed = [name for group in profile["syscalls"] if group["action"] == "SCMP_ACT_ALLOW" for name in group["names"]]
    assert not FORBIDDEN & set(allowed)
    for group in profile["syscalls"]:
        if "socket" in group["names"]:
            (condition,) = group["args"]
            assert condition["op"] == "SCMP_CMP_EQ"
            assert condition["value"] in (1, 2, 10)
    for entry in profile["archMap"]:
        assert entry["subArchitectures"] == []


def test_agent_code_never_runs_as_the_host_s_user(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("os.geteuid", lambda: 1000)
    monkeypatch.setattr("os.getegid", lambda: 1000)
    assert {role: hardening.user(role) for role in ("agent", "fit", "probe")} == {
        role: (10001, 10001) for role in ("agent", "fit", "probe")
    }
    assert hardening.user("judge") == hardening.user("prepare") == (1000, 1000)
    monkeypatch.setattr("os.geteuid", lambda: 0)
    assert hardening.user("judge") == hardening.user("prepare") == (10001, 10001)


def test_memory_is_granted_on_top_of_what_files_may_take() -> None:
    spec = ContainerSpec("image", "agent", "run", Limits(memory_mib=100, workspace_mib=30, tmp_mib=20, shm_mib=10))
    host = hardening.step_body(spec, "volume", 1)["HostConfig"]
    assert host["Memory"] == host["MemorySwap"] == 160 << 20


def test_a_gpu_is_asked_for_by_its_name_only() -> None:
    spec = ContainerSpec("image", "agent", "run", Limits(gpu_uuid="GPU-1"))
    (request,) = hardening.step_body(spec, "volume", 1)["HostConfig"]["DeviceRequests"]
    assert request["DeviceIDs"] == ["GPU-1"]
    assert "graphics" not in request["Capabilities"][0]
    assert "DeviceRequests" not in hardening.reader_body(spec, "volume")["HostConfig"]


@pytest.mark.parametrize("name", ["HOME", "PATH", "LD_LIBRARY_PATH", "OMP_NUM_THREADS"])
def test_fixed_variables_stay(name: str) -> None:
    with pytest.raises(SandboxError, match=name):
        hardening.environment(ContainerSpec("image", "agent", "run", environment={name: "x"}), 1)


@pytest.mark.parametrize("role", ["agent", "fit", "judge", "probe"])
def test_only_preparation_may_write_to_the_host(role: Role, tmp_path: Path) -> None:
    mounts = (Mount(tmp_path, PurePosixPath("/output"), writable=True),)
    with pytest.raises(SandboxError, match="cannot write to a host folder"):
        hardening.step_body(ContainerSpec("image", role, "run", mounts=mounts), "volume", 1)
    body = hardening.step_body(ContainerSpec("image", "prepare", "run", mounts=mounts), "volume", 1)
    assert [mount["ReadOnly"] for mount in body["HostConfig"]["Mounts"]] == [False, False]


def test_threads_follow_the_pinned_cores() -> None:
    assert hardening.environment(ContainerSpec("image", "agent", "run"), 3)["OMP_NUM_THREADS"] == "3"


@pytest.mark.docker
def test_docker_inspect_shows_the_hardening(
    sandbox: DockerSandbox, engine: DockerEngine, spec: ContainerSpec, tmp_path: Path
) -> None:
    tmp_path.chmod(0o755)
    pinned = replace(spec, limits=replace(spec.limits, cpus=(0,)), mounts=(Mount(tmp_path, PurePosixPath("/task")),))
    container = sandbox.prepare(pinned)
    try:
        step = engine.inspect_container(container.containers.step)
        reader = engine.inspect_container(container.containers.reader)
    finally:
        container.close()
    for inspected in (step, reader):
        host = inspected["HostConfig"]
        assert host["NetworkMode"] == "none"
        assert host["ReadonlyRootfs"] is True
        assert host["CapDrop"] == ["ALL"]
        assert "no-new-privileges" in host["SecurityOpt"]
        assert f"seccomp={hardening.seccomp_profile()}" in host["SecurityOpt"]
        assert host["Memory"] == host["MemorySwap"] > 0
        assert host["PidsLimit"] > 0
        assert host["IpcMode"] == "private"
        assert host["Init"] is True
        assert host["OomScoreAdj"] == 500
        assert host["Privileged"] is False
        assert host["LogConfig"] == {"Type": "none", "Config": {}}
        assert inspected["Config"]["User"] == "10001:10001"
        assert inspected["Config"]["Labels"][hardening.RUN_LABEL] == spec.run_id
    limits = {limit["Name"]: limit["Hard"] for limit in step["HostConfig"]["Ulimits"]}
    assert limits == {"core": 0, "nofile": 256, "fsize": 16 << 20}
    assert step["HostConfig"]["CpusetCpus"] == "0"
    assert "size=16m" in step["HostConfig"]["Tmpfs"]["/tmp"]
    shared = [mount for mount in step["Mounts"] if mount.get("Name") not in container.containers.trees]
    assert {mount["Destination"]: mount["RW"] for mount in shared} == {"/workspace": True, "/task": False}
    assert {mount["Destination"]: mount["RW"] for mount in reader["Mounts"]} == {"/workspace": False}
