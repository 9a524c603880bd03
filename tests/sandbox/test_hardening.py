import json
from dataclasses import replace
from pathlib import Path, PurePosixPath
from typing import Any, get_args

import pytest

from aira_bench.docker_engine import DockerEngine
from aira_bench.errors import SandboxError
from aira_bench.sandbox import hardening, kernel_files, mounts
from aira_bench.sandbox.docker_sandbox import DockerSandbox
from aira_bench.sandbox.hardening import ContainerPlace
from aira_bench.sandbox.sandbox import ContainerSpec, Limits, Mount, Role
from aira_bench.sandbox.seccomp import Kind, seccomp_profile

FORBIDDEN = {
    "ptrace", "process_vm_readv", "process_vm_writev", "kcmp", "pidfd_getfd", "userfaultfd", "bpf", "perf_event_open",
    "io_uring_setup", "io_uring_enter", "io_uring_register", "keyctl", "add_key", "request_key", "mq_open", "mount",
    "umount2", "unshare", "setns", "pivot_root", "chroot", "init_module", "finit_module", "kexec_load", "swapon",
    "clock_settime", "settimeofday", "open_by_handle_at", "name_to_handle_at", "socketcall", "reboot", "quotactl",
    "fsopen", "move_mount", "open_tree", "iopl", "ioperm", "modify_ldt", "personality", "memfd_secret", "mincore",
}  # fmt: skip


KINDS: tuple[Kind, ...] = ("trusted", "untrusted", "untrusted with a GPU")
SHARED = {"pidfd_open", "pidfd_send_signal", "inotify_init1", "inotify_add_watch", "sysinfo", "readahead"}
"""Calls that reach what all containers of a machine share."""
PLACE = ContainerPlace("volume", 1, 40_000)


def rules(kind: Kind, call: str) -> list[dict[str, Any]]:
    return [rule for rule in json.loads(seccomp_profile(kind))["syscalls"] if call in rule["names"]]


@pytest.mark.parametrize("kind", KINDS)
def test_the_seccomp_profile_denies_by_default_and_allows_nothing_forbidden(kind: Kind) -> None:
    profile = json.loads(seccomp_profile(kind))
    assert profile["defaultAction"] == "SCMP_ACT_ERRNO"
    allowed = [name for group in profile["syscalls"] if group["action"] == "SCMP_ACT_ALLOW" for name in group["names"]]
    assert not FORBIDDEN & set(allowed)
    for entry in profile["archMap"]:
        assert entry["subArchitectures"] == []


def test_trusted_containers_have_streams_and_datagrams_over_loopback_and_no_other_protocol() -> None:
    seen = {tuple((each["index"], each["value"], each.get("valueTwo")) for each in rule["args"])
            for rule in rules("trusted", "socket")}  # fmt: skip
    loopback = {((0, family, None), (1, 0xF, kind), (2, protocol, None))
                for family in (2, 10) for kind, protocol in ((1, 0), (1, 6), (2, 0), (2, 17))}  # fmt: skip
    assert seen == {((0, 1, None),)} | loopback


@pytest.mark.parametrize("kind", KINDS[1:])
def test_untrusted_containers_get_less_of_what_all_share(kind: Kind) -> None:
    assert [rule["args"] for rule in rules(kind, "socket")] == [[{"index": 0, "value": 1, "op": "SCMP_CMP_EQ"}]]
    assert not [call for call in SHARED if rules(kind, call)]
    assert [(rule["action"], rule["errnoRet"]) for rule in rules(kind, "flock")] == [("SCMP_ACT_ERRNO", 0)]
    commands = {rule["args"][0]["value"]: rule["action"] for rule in rules(kind, "fcntl")}
    assert {commands.get(command) for command in (6, 7, 37, 38)} == {"SCMP_ACT_ERRNO"}
    assert not {5, 36, 1024, 1025, 1026} & set(commands), "GETLK, OFD_GETLK, leases, notification"
    assert 57 not in {rule["args"][1]["value"] for rule in rules(kind, "getsockopt")}, "SO_COOKIE"
    (clone,) = rules(kind, "clone")
    assert clone["args"][0]["value"] & 0x1000, "CLONE_PIDFD"


def test_memory_is_locked_only_where_a_gpu_may_need_it() -> None:
    assert [bool(rules(kind, "mlock")) for kind in KINDS] == [True, False, True]


def test_agent_code_never_runs_as_the_host_s_user(monkeypatch: pytest.MonkeyPatch) -> None:
    untrusted: tuple[Role, ...] = ("agent", "fit", "predict", "probe")
    monkeypatch.setattr("os.geteuid", lambda: 1000)
    monkeypatch.setattr("os.getegid", lambda: 1000)
    assert {hardening.user(role, PLACE) for role in untrusted} == {(40_000, 40_000)}
    assert hardening.user("judge", PLACE) == hardening.user("prepare", PLACE) == (1000, 1000)
    monkeypatch.setattr("os.geteuid", lambda: 0)
    assert hardening.user("judge", PLACE) == hardening.user("prepare", PLACE) == (10001, 10001)


def test_a_small_folder_is_bound_file_by_file_for_untrusted_containers(tmp_path: Path) -> None:
    (tmp_path / "deep" / "er").mkdir(parents=True)
    (tmp_path / "deep" / "er" / "b").write_text("")
    (tmp_path / "a").write_text("")
    mounts = (Mount(tmp_path, PurePosixPath("/data")),)

    def targets(role: Role) -> list[str]:
        body = hardening.step_body(ContainerSpec("image", role, "run", mounts=mounts), PLACE)
        return [mount["Target"] for mount in body["HostConfig"]["Mounts"] if mount["Target"].startswith("/data")]

    assert targets("judge") == targets("prepare") == ["/data"]
    assert targets("agent") == targets("fit") == targets("predict") == ["/data/a", "/data/deep/er/b"]


def test_a_folder_that_cannot_be_bound_by_its_files_is_bound_whole(tmp_path: Path) -> None:
    mount = Mount(tmp_path, PurePosixPath("/data"))
    assert mounts.by_file(mount) == [mount], "an empty one"
    for number in range(mounts.MOST_FILES):
        (tmp_path / str(number)).write_text("")
    assert len(mounts.by_file(mount)) == mounts.MOST_FILES
    (tmp_path / "one more").write_text("")
    assert mounts.by_file(mount) == [mount]
    (tmp_path / "one more").unlink()
    (tmp_path / "0").unlink()
    (tmp_path / "0").symlink_to("1")
    assert mounts.by_file(mount) == [mount], "a link would lead elsewhere by itself"


def test_no_file_in_place_of_the_kernel_s_is_shared_or_tells_of_the_machine(tmp_path: Path) -> None:
    folders = [tmp_path / "one", tmp_path / "two"]
    for folder in folders:
        folder.mkdir()
        kernel_files.write_stand_ins(folder, memory_mib=160)
    assert "MemTotal:         163840 kB" in (folders[0] / "meminfo").read_text()
    assert [path.read_text() for path, _ in kernel_files.stand_ins(folders[0])] == [
        path.read_text() for path, _ in kernel_files.stand_ins(folders[1])
    ]
    assert not (folders[0] / "stat").samefile(folders[1] / "stat")


def test_memory_is_granted_on_top_of_what_files_may_take() -> None:
    spec = ContainerSpec("image", "agent", "run", Limits(memory_mib=100, workspace_mib=30, tmp_mib=20, shm_mib=10))
    host = hardening.step_body(spec, PLACE)["HostConfig"]
    assert host["Memory"] == host["MemorySwap"] == 160 << 20


def test_a_gpu_is_asked_for_by_its_name_only() -> None:
    spec = ContainerSpec("image", "agent", "run", Limits(gpu_uuid="GPU-1"))
    (request,) = hardening.step_body(spec, PLACE)["HostConfig"]["DeviceRequests"]
    assert request["DeviceIDs"] == ["GPU-1"]
    assert "graphics" not in request["Capabilities"][0]
    assert "DeviceRequests" not in hardening.reader_body(spec, PLACE)["HostConfig"]


def variables(body: dict[str, Any]) -> dict[str, str]:
    return dict(line.split("=", 1) for line in body["Env"])


@pytest.mark.parametrize("uuid", ["GPU-1", "MIG-1"])
def test_a_device_that_the_engine_lists_by_cdi_is_asked_for_so_and_any_other_by_the_hook(uuid: str) -> None:
    spec = ContainerSpec("image", "agent", "run", Limits(gpu_uuid=uuid))
    place = replace(PLACE, cdi_devices=frozenset({"nvidia.com/gpu=all", f"nvidia.com/gpu={uuid}"}))
    (request,) = hardening.step_body(spec, place)["HostConfig"]["DeviceRequests"]
    assert request == {"Driver": "cdi", "DeviceIDs": [f"nvidia.com/gpu={uuid}"]}
    other = replace(PLACE, cdi_devices=frozenset({"nvidia.com/gpu=all", "nvidia.com/gpu=0"}))
    (request,) = hardening.step_body(spec, other)["HostConfig"]["DeviceRequests"]
    assert request == {"DeviceIDs": [uuid], "Capabilities": [["gpu", "compute", "utility"]]}


@pytest.mark.parametrize("role", get_args(Role))
def test_whatever_its_image_asks_for_a_container_gets_no_device_but_its_own(role: Role) -> None:
    """Images based on CUDA's set NVIDIA_VISIBLE_DEVICES=all, which the toolkit's runtime obeys."""
    spec = ContainerSpec("image", role, "run")
    for body in (hardening.step_body(spec, PLACE), hardening.reader_body(spec, PLACE)):
        assert variables(body)["NVIDIA_VISIBLE_DEVICES"] == "void"
        assert "DeviceRequests" not in body["HostConfig"]
    spec = replace(spec, limits=Limits(gpu_uuid="GPU-1"))
    given = variables(hardening.step_body(spec, PLACE))
    assert (given["NVIDIA_VISIBLE_DEVICES"], given["NVIDIA_DRIVER_CAPABILITIES"]) == ("GPU-1", "compute,utility")
    assert variables(hardening.reader_body(spec, PLACE))["NVIDIA_VISIBLE_DEVICES"] == "void"


def test_what_compilers_keep_goes_with_a_step_s_files_and_a_judge_s_stays_apart() -> None:
    names = ("TRITON_CACHE_DIR", "TORCHINDUCTOR_CACHE_DIR", "CUDA_CACHE_PATH", "XDG_CACHE_HOME")
    for role in get_args(Role):
        given = hardening.environment(ContainerSpec("image", role, "run"), 1)
        place = "/tmp/" if hardening.is_trusted(role) else "/workspace/"
        assert all(given[name].startswith(place) for name in names), role
        assert ("JAX_COMPILATION_CACHE_DIR" in given) == (role == "agent")


@pytest.mark.parametrize("name", ["HOME", "PATH", "LD_LIBRARY_PATH", "OMP_NUM_THREADS", "NVIDIA_VISIBLE_DEVICES"])
def test_fixed_variables_stay(name: str) -> None:
    with pytest.raises(SandboxError, match=name):
        hardening.environment(ContainerSpec("image", "agent", "run", environment={name: "x"}), 1)


@pytest.mark.parametrize("role", ["agent", "fit", "judge", "probe"])
def test_only_preparation_may_write_to_the_host(role: Role, tmp_path: Path) -> None:
    mounts = (Mount(tmp_path, PurePosixPath("/output"), writable=True),)
    with pytest.raises(SandboxError, match="cannot write to a host folder"):
        hardening.step_body(ContainerSpec("image", role, "run", mounts=mounts), PLACE)
    body = hardening.step_body(ContainerSpec("image", "prepare", "run", mounts=mounts), PLACE)
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
        assert f"seccomp={seccomp_profile('untrusted')}" in host["SecurityOpt"]
        assert host["Memory"] == host["MemorySwap"] > 0
        assert host["PidsLimit"] > 0
        assert host["IpcMode"] == "private"
        assert host["Init"] or inspected["Config"]["Entrypoint"][0] == "/sbin/docker-init"
        assert host["OomScoreAdj"] == (500 if inspected is step else 0)
        assert host["Privileged"] is False
        assert host["LogConfig"] == {"Type": "none", "Config": {}}
        assert inspected["Config"]["User"] == step["Config"]["User"]
        assert inspected["Config"]["Labels"][hardening.RUN_LABEL] == spec.run_id
    uid, _, gid = step["Config"]["User"].partition(":")
    assert uid == gid
    assert int(uid) in hardening.UNTRUSTED_UIDS
    assert step["Name"] == f"/aira-user-{uid}", "the engine takes no name twice"
    limits = {limit["Name"]: limit["Hard"] for limit in step["HostConfig"]["Ulimits"]}
    assert limits == {"core": 0, "nofile": 256, "fsize": 16 << 20}
    assert step["HostConfig"]["CpusetCpus"] == "0"
    assert "size=16m" in step["HostConfig"]["Tmpfs"]["/tmp"]
    assert step["HostConfig"]["MaskedPaths"] == list(kernel_files.masked_paths(gpu=False))
    replaced = (
        kernel_files.REPLACED if container.containers.trees else (*kernel_files.REPLACED, kernel_files.PROCESSORS)
    )
    kernels = dict.fromkeys(replaced, False)
    shared = [mount for mount in step["Mounts"] if mount.get("Name") not in container.containers.trees]
    assert {mount["Destination"]: mount["RW"] for mount in shared} == {
        "/workspace": True, "/task": False, **kernels,
    }  # fmt: skip
    assert {mount["Destination"]: mount["RW"] for mount in reader["Mounts"]} == {"/workspace": False}
