"""What a container may do: the request body of the Docker Engine API for step and reader containers.

One function makes the body for every role, so that no role can lose a wall by another's settings. Untrusted roles,
which run an agent's code, get further walls: against messages from one container to another
(docs/decisions/0011-walls-between-containers.md). Field names are the Engine API's; `SECURITY.md` says which wall
stands against what.

Not covered: whether the engine enforces what it is told. `aira_bench.sandbox.probe` asks from inside.
"""

import os
from collections.abc import Container
from dataclasses import dataclass
from functools import cache
from pathlib import Path, PurePosixPath
from typing import Any

from aira_bench.errors import SandboxError
from aira_bench.sandbox import kernel_files, mounts
from aira_bench.sandbox.owner import this_process
from aira_bench.sandbox.sandbox import ContainerSpec, Limits, Mount, Role
from aira_bench.sandbox.seccomp import seccomp_profile
from aira_contract.containers import WORKSPACE

RUN_LABEL = "aira-bench.run"
ROLE_LABEL = "aira-bench.role"
OWNER_LABEL = "aira-bench.owner"
TRUSTED_ROLES = ("judge", "prepare")
TRUSTED_UID = 10001
"""Of trusted containers where the host's user is root."""
UNTRUSTED_UIDS = range(40_000, 60_000)
"""One for each untrusted container: numbers that systems keep free, below the 65,536 of engines without root."""
WORKSPACE_INODES = 32768
TMP_INODES = 32768
SOCKET_VOLUME_INODES = 64
READER_MEMORY_MIB = 64
READER_PIDS = 16
HOME = "/tmp/home"
CACHE = "/tmp/cache"
WORKSPACE_CACHE = f"{WORKSPACE}/.cache"
"""Of untrusted containers: what compilers keep there is as large as a step may make it, and goes with the step."""
CDI_KIND = "nvidia.com/gpu"
"""What names of devices begin with in the engine's list of container devices (CDI)."""
NO_DEVICE = "void"
"""To the hook and the runtime of NVIDIA's toolkit: nothing for this container, whatever its image asks for."""
PASSED_ON = ("PATH", "HOSTNAME", "LD_LIBRARY_PATH")
"""Set by the engine or the image, and let through to the command."""
_MIB = 2**20
_HERE = Path(__file__).parent


@cache
def source(name: str) -> str:
    """Text of a program under `inside/`."""
    return (_HERE / "inside" / f"{name}.py").read_text(encoding="utf-8")


@dataclass(frozen=True)
class ContainerPlace:
    """What is chosen for one container and is in no spec, as no two containers share it."""

    volume: str
    """Name of its workspace."""
    threads: int
    """Cores it may use."""
    uid: int = UNTRUSTED_UIDS[0]
    """User and group of an untrusted container; no two that live at the same time have the same."""
    kernel_files: Path | None = None
    """Its files in place of the kernel's (`aira_bench.sandbox.kernel_files`); None leaves the kernel's own."""
    cdi_devices: Container[str] = ()
    """Full names of the devices that the engine gives by their container device interface."""


def is_trusted(role: Role) -> bool:
    """Whether containers of the role run no code of an agent's."""
    return role in TRUSTED_ROLES


def user(role: Role, place: ContainerPlace) -> tuple[int, int]:
    """User and group id inside.

    Trusted scripts read and write host folders through bind mounts, so they run as the host's user unless that is
    root. Agent code never does, and has an id that no other container of the machine has, because the kernel limits
    and counts much by user.
    """
    if not is_trusted(role):
        return place.uid, place.uid
    return (os.geteuid(), os.getegid()) if os.geteuid() != 0 else (TRUSTED_UID, TRUSTED_UID)


def seccomp(spec: ContainerSpec) -> str:
    """Return the security option that sets the system calls of a container."""
    untrusted = "untrusted" if spec.limits.gpu_uuid is None else "untrusted with a GPU"
    return f"seccomp={seccomp_profile('trusted' if is_trusted(spec.role) else untrusted)}"


def workspace_options(limits: Limits, role: Role, place: ContainerPlace) -> dict[str, str]:
    """Driver options of the workspace volume: a tmpfs, which unlike a bind mount has a size."""
    uid, gid = user(role, place)
    options = f"size={limits.workspace_mib}m,nr_inodes={WORKSPACE_INODES},uid={uid},gid={gid},mode=0700,nosuid,nodev"
    return {"type": "tmpfs", "device": "tmpfs", "o": options}


def socket_volume_options() -> dict[str, str]:
    """Driver options of the socket volume: judges write, others may only look up a socket's name.

    Nobody may list it, not even who has the judge's id: a predictor must not find the socket of the next one.
    """
    uid, gid = user("judge", ContainerPlace("", 1))
    options = f"size=1m,nr_inodes={SOCKET_VOLUME_INODES},uid={uid},gid={gid},mode=0311,nosuid,nodev,noexec"
    return {"type": "tmpfs", "device": "tmpfs", "o": options}


def labels(run_id: str, role: Role) -> dict[str, str]:
    """Labels under which leftovers of a crash are found."""
    return {RUN_LABEL: run_id, ROLE_LABEL: role, OWNER_LABEL: this_process()}


def device_variables(gpu_uuid: str | None) -> dict[str, str]:
    """Return the variables in which NVIDIA's container toolkit reads which device a container gets, if any.

    Images based on CUDA's ask for all devices, and where the toolkit's runtime is the engine's own it obeys them.
    """
    return {
        "NVIDIA_VISIBLE_DEVICES": NO_DEVICE if gpu_uuid is None else gpu_uuid,
        "NVIDIA_DRIVER_CAPABILITIES": "compute,utility",
    }


def device_request(gpu_uuid: str, cdi_devices: Container[str]) -> dict[str, Any]:
    """Return how the engine is asked for one device: by its container device interface where it lists the device there.

    A device that the toolkit's hook has added is lost to a running container when systemd reloads its units; one that
    the engine itself has added stays.
    """
    name = f"{CDI_KIND}={gpu_uuid}"
    if name in cdi_devices:
        return {"Driver": "cdi", "DeviceIDs": [name]}
    return {"DeviceIDs": [gpu_uuid], "Capabilities": [["gpu", "compute", "utility"]]}


def _caches(role: Role) -> dict[str, str]:
    """Where libraries keep what they made: with the step's files for code that is not trusted, else in /tmp.

    Both are one container's own, so no judge reads what an agent's code has compiled.
    """
    cache = CACHE if is_trusted(role) else WORKSPACE_CACHE
    return {
        "XDG_CACHE_HOME": cache,
        "MPLCONFIGDIR": f"{cache}/matplotlib",
        "NUMBA_CACHE_DIR": f"{cache}/numba",
        "TORCHINDUCTOR_CACHE_DIR": f"{cache}/inductor",
        "TORCH_EXTENSIONS_DIR": f"{cache}/torch_extensions",
        "TRITON_CACHE_DIR": f"{cache}/triton",
        "CUDA_CACHE_PATH": f"{cache}/cuda",
        "HF_HOME": f"{cache}/huggingface",
    } | ({"JAX_COMPILATION_CACHE_DIR": f"{cache}/xla"} if role == "agent" else {})


def environment(spec: ContainerSpec, threads: int) -> dict[str, str]:
    """Return the whole environment of a command but for `PASSED_ON`.

    Raises:
        SandboxError: the spec would override a fixed variable.
    """
    count = str(threads)
    fixed = {
        "HOME": HOME,
        "USER": "sandbox",
        "LOGNAME": "sandbox",
        "TMPDIR": "/tmp",
        "LANG": "C.UTF-8",
        "OMP_NUM_THREADS": count,
        "MKL_NUM_THREADS": count,
        "OPENBLAS_NUM_THREADS": count,
        "PYTHONHASHSEED": "0",
        "PYTHONDONTWRITEBYTECODE": "1",
        "PYTHONUNBUFFERED": "1",
        "HF_HUB_OFFLINE": "1",
        "HF_DATASETS_OFFLINE": "1",
        "TRANSFORMERS_OFFLINE": "1",
        # Data folders are read-only: datasets of up to half the memory are worked on there, not in files beside them.
        "HF_DATASETS_IN_MEMORY_MAX_SIZE": str(spec.limits.memory_mib << 19),
        **_caches(spec.role),
        **device_variables(spec.limits.gpu_uuid),
    }
    if clash := sorted({*fixed, *PASSED_ON} & set(spec.environment)):
        raise SandboxError(f"The environment of a container is fixed; {', '.join(clash)} cannot be set.")
    return fixed | dict(spec.environment)


def granted_mib(limits: Limits) -> int:
    """Memory of a container in all: for its processes, and for the files it keeps there."""
    return limits.memory_mib + limits.workspace_mib + limits.tmp_mib + limits.shm_mib


def step_body(spec: ContainerSpec, place: ContainerPlace) -> dict[str, Any]:
    """Request body of a step container, whose first process is the bootstrap.

    Raises:
        SandboxError: the spec would override a fixed variable, have anything but preparation write to the host, or
            let a role meet a judge that should not.
        FileNotFoundError: a folder to mount is not there.
    """
    limits = spec.limits
    body = _body(spec, place, ["python3", "-I", "-S", "-c", source("bootstrap")])
    body["Env"] = [f"{name}={value}" for name, value in sorted(environment(spec, place.threads).items())]
    host = body["HostConfig"]
    host |= {
        "Memory": granted_mib(limits) * _MIB,
        "MemorySwap": granted_mib(limits) * _MIB,
        "PidsLimit": limits.pids,
        "ShmSize": limits.shm_mib * _MIB,
        "Tmpfs": {"/tmp": f"rw,nosuid,nodev,exec,size={limits.tmp_mib}m,nr_inodes={TMP_INODES},mode=1777"},
        "Mounts": [mounts.workspace(place.volume, read_only=False)],
    }
    for mount in spec.mounts:
        host["Mounts"] += [
            mounts.bind(each, spec.role) for each in ([mount] if is_trusted(spec.role) else mounts.by_file(mount))
        ]
    if spec.socket_volume is not None:
        host["Mounts"].append(mounts.socket_volume(spec.socket_volume, spec.role))
    host["Ulimits"].append(_ulimit("nofile", limits.open_files))
    if spec.role != "prepare":  # preparation writes data sets of any size into its bind mount
        host["Ulimits"].append(_ulimit("fsize", max(limits.workspace_mib, limits.tmp_mib, limits.shm_mib) * _MIB))
    if limits.cpus is not None:
        host["CpusetCpus"] = ",".join(str(core) for core in limits.cpus)
    if limits.gpu_uuid is not None:
        host["DeviceRequests"] = [device_request(limits.gpu_uuid, place.cdi_devices)]
    if not is_trusted(spec.role):
        _hide_the_kernel(host, spec, place)
    return body


def _hide_the_kernel(host: dict[str, Any], spec: ContainerSpec, place: ContainerPlace) -> None:
    """Leave an untrusted container no file that tells what others do."""
    gpu = spec.limits.gpu_uuid is not None
    host["MaskedPaths"] = list(kernel_files.masked_paths(gpu=gpu))
    host["ReadonlyPaths"] = list(kernel_files.READ_ONLY)
    if not gpu:
        host["Tmpfs"]["/sys"] = "ro,nosuid,nodev,noexec,size=4k,nr_inodes=16,mode=0555"
        host["Mounts"].append(kernel_files.processors())
    if place.kernel_files is not None:
        for path, target in kernel_files.stand_ins(place.kernel_files):
            host["Mounts"].append(mounts.bind(Mount(path, PurePosixPath(target)), spec.role))


def reader_body(spec: ContainerSpec, place: ContainerPlace) -> dict[str, Any]:
    """Request body of the reader container, which keeps the workspace alive and can only read it."""
    body = _body(spec, place, ["python3", "-I", "-S", "-c", source("reader"), str(WORKSPACE)])
    body["WorkingDir"] = "/"
    body["HostConfig"] |= {
        "Memory": READER_MEMORY_MIB * _MIB,
        "MemorySwap": READER_MEMORY_MIB * _MIB,
        "PidsLimit": READER_PIDS,
        # Where the machine itself runs out of memory, the small one that is needed must not go first.
        "OomScoreAdj": 0,
        "Mounts": [mounts.workspace(place.volume, read_only=True)],
    }
    return body


def _body(spec: ContainerSpec, place: ContainerPlace, program: list[str]) -> dict[str, Any]:
    uid, gid = user(spec.role, place)
    body = bare_body(spec.image, program, f"{uid}:{gid}", labels(spec.run_id, spec.role), seccomp(spec))
    body |= {"WorkingDir": str(WORKSPACE), "Hostname": "sandbox", "Tty": False}
    body["HostConfig"] |= {
        "CgroupnsMode": "private",
        "Init": True,
        "OomScoreAdj": 500,
        "AutoRemove": False,
        "Ulimits": [_ulimit("core", 0)],
    }
    return body


def bare_body(
    image: str, program: list[str], user: str, labels: dict[str, str], security_option: str
) -> dict[str, Any]:
    """Return what the requests of all our containers have in common: one program, fed over its input, and no way out.

    A container whose orchestrator was killed reads the end of its input, and ends.
    """
    return {
        "Image": image,
        "Entrypoint": program,
        "Cmd": [],
        "User": user,
        "Labels": labels,
        "Env": [f"{name}={value}" for name, value in device_variables(None).items()],
        "OpenStdin": True,
        "StdinOnce": True,
        "AttachStdin": True,
        "AttachStdout": True,
        "AttachStderr": True,
        "HostConfig": {
            "NetworkMode": "none",
            "ReadonlyRootfs": True,
            "CapDrop": ["ALL"],
            "SecurityOpt": ["no-new-privileges", security_option],
            "IpcMode": "private",
            "LogConfig": {"Type": "none", "Config": {}},
        },
    }


def _ulimit(name: str, value: int) -> dict[str, Any]:
    return {"Name": name, "Soft": value, "Hard": value}
