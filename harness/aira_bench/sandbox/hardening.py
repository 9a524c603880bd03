"""What a container may do: the request body of the Docker Engine API for step and reader containers.

One function makes the body for every role, so that no role can lose a wall by another's settings. Field names are
the Engine API's; `SECURITY.md` says which wall stands against what.

Not covered: whether the engine enforces what it is told. `aira_bench.sandbox.probe` asks from inside.
"""

import os
from functools import cache
from pathlib import Path
from typing import Any

from aira_bench.errors import SandboxError
from aira_bench.sandbox.owner import this_process
from aira_bench.sandbox.protocol import MEETING, WORKSPACE, ContainerSpec, Limits, Mount, Role

RUN_LABEL = "aira-bench.run"
ROLE_LABEL = "aira-bench.role"
OWNER_LABEL = "aira-bench.owner"
CONTAINER_UID = 10001
WORKSPACE_INODES = 32768
TMP_INODES = 32768
MEETING_INODES = 64
READER_MEMORY_MIB = 64
READER_PIDS = 16
HOME = "/tmp/home"
CACHE = "/tmp/cache"
PASSED_ON = ("PATH", "HOSTNAME", "LD_LIBRARY_PATH")
"""Set by the engine or the image, and let through to the command."""
_MIB = 2**20
_HERE = Path(__file__).parent


@cache
def source(name: str) -> str:
    """Text of a program under `inside/`."""
    return (_HERE / "inside" / f"{name}.py").read_text(encoding="utf-8")


@cache
def seccomp_profile() -> str:
    """The seccomp profile as the engine takes it: content, not a path."""
    return (_HERE / "seccomp.json").read_text(encoding="utf-8")


def user(role: Role) -> tuple[int, int]:
    """User and group id inside.

    Trusted scripts read and write host folders through bind mounts, so they run as the host's user unless that is
    root. Agent code never does.
    """
    if role in ("judge", "prepare") and os.geteuid() != 0:
        return os.geteuid(), os.getegid()
    return CONTAINER_UID, CONTAINER_UID


def workspace_options(limits: Limits, role: Role) -> dict[str, str]:
    """Driver options of the workspace volume: a tmpfs, which unlike a bind mount has a size."""
    uid, gid = user(role)
    options = f"size={limits.workspace_mib}m,nr_inodes={WORKSPACE_INODES},uid={uid},gid={gid},mode=0700,nosuid,nodev"
    return {"type": "tmpfs", "device": "tmpfs", "o": options}


def meeting_options() -> dict[str, str]:
    """Driver options of a meeting volume: judges write, others may only look up a socket's name.

    Nobody may list it, not even who has the judge's id: a predictor must not find the socket of the next one.
    """
    uid, gid = user("judge")
    options = f"size=1m,nr_inodes={MEETING_INODES},uid={uid},gid={gid},mode=0311,nosuid,nodev,noexec"
    return {"type": "tmpfs", "device": "tmpfs", "o": options}


def labels(run_id: str, role: Role) -> dict[str, str]:
    """Labels under which leftovers of a crash are found."""
    return {RUN_LABEL: run_id, ROLE_LABEL: role, OWNER_LABEL: this_process()}


def environment(spec: ContainerSpec, threads: int) -> dict[str, str]:
    """The whole environment of a command but for `PASSED_ON`.

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
        "XDG_CACHE_HOME": CACHE,
        "MPLCONFIGDIR": f"{CACHE}/matplotlib",
        "NUMBA_CACHE_DIR": f"{CACHE}/numba",
        "TORCHINDUCTOR_CACHE_DIR": f"{CACHE}/inductor",
        "TRITON_CACHE_DIR": f"{CACHE}/triton",
        "HF_HOME": f"{CACHE}/huggingface",
        "HF_HUB_OFFLINE": "1",
        "HF_DATASETS_OFFLINE": "1",
        "TRANSFORMERS_OFFLINE": "1",
        # Data folders are read-only: datasets of up to half the memory are worked on there, not in files beside them.
        "HF_DATASETS_IN_MEMORY_MAX_SIZE": str(spec.limits.memory_mib << 19),
    }
    if clash := sorted({*fixed, *PASSED_ON} & set(spec.environment)):
        raise SandboxError(f"The environment of a container is fixed; {', '.join(clash)} cannot be set.")
    return fixed | dict(spec.environment)


def step_body(spec: ContainerSpec, volume: str, threads: int) -> dict[str, Any]:
    """Request body of a step container, whose first process is the bootstrap.

    Raises:
        SandboxError: the spec would override a fixed variable, have anything but preparation write to the host, or
            let a role meet a judge that should not.
        FileNotFoundError: a folder to mount is not there.
    """
    limits = spec.limits
    granted_mib = limits.memory_mib + limits.workspace_mib + limits.tmp_mib + limits.shm_mib
    body = _body(spec, ["python3", "-I", "-S", "-c", source("bootstrap")])
    body["Env"] = [f"{name}={value}" for name, value in sorted(environment(spec, threads).items())]
    host = body["HostConfig"]
    host |= {
        "Memory": granted_mib * _MIB,
        "MemorySwap": granted_mib * _MIB,
        "PidsLimit": limits.pids,
        "ShmSize": limits.shm_mib * _MIB,
        "Tmpfs": {"/tmp": f"rw,nosuid,nodev,exec,size={limits.tmp_mib}m,nr_inodes={TMP_INODES},mode=1777"},
        "Mounts": [_workspace(volume, read_only=False), *(_bind(mount, spec.role) for mount in spec.mounts)],
    }
    if spec.meeting is not None:
        host["Mounts"].append(_meeting(spec.meeting, spec.role))
    host["Ulimits"].append(_ulimit("nofile", limits.open_files))
    if spec.role != "prepare":  # preparation writes data sets of any size into its bind mount
        host["Ulimits"].append(_ulimit("fsize", max(limits.workspace_mib, limits.tmp_mib, limits.shm_mib) * _MIB))
    if limits.cpus is not None:
        host["CpusetCpus"] = ",".join(str(core) for core in limits.cpus)
    if limits.gpu_uuid is not None:
        host["DeviceRequests"] = [
            {"DeviceIDs": [limits.gpu_uuid], "Capabilities": [["gpu", "compute", "utility"]]},
        ]
    return body


def reader_body(spec: ContainerSpec, volume: str) -> dict[str, Any]:
    """Request body of the reader container, which keeps the workspace alive and can only read it."""
    body = _body(spec, ["python3", "-I", "-S", "-c", source("reader"), str(WORKSPACE)])
    body["WorkingDir"] = "/"
    body["HostConfig"] |= {
        "Memory": READER_MEMORY_MIB * _MIB,
        "MemorySwap": READER_MEMORY_MIB * _MIB,
        "PidsLimit": READER_PIDS,
        # Where the machine itself runs out of memory, the small one that is needed must not go first.
        "OomScoreAdj": 0,
        "Mounts": [_workspace(volume, read_only=True)],
    }
    return body


def _body(spec: ContainerSpec, program: list[str]) -> dict[str, Any]:
    uid, gid = user(spec.role)
    return {
        "Image": spec.image,
        "Entrypoint": program,
        "Cmd": [],
        "User": f"{uid}:{gid}",
        "WorkingDir": str(WORKSPACE),
        "Hostname": "sandbox",
        "Labels": labels(spec.run_id, spec.role),
        "Tty": False,
        "OpenStdin": True,
        # A container whose orchestrator was killed reads the end of its input, and ends.
        "StdinOnce": True,
        "AttachStdin": True,
        "AttachStdout": True,
        "AttachStderr": True,
        "HostConfig": {
            "NetworkMode": "none",
            "ReadonlyRootfs": True,
            "CapDrop": ["ALL"],
            "SecurityOpt": ["no-new-privileges", f"seccomp={seccomp_profile()}"],
            "IpcMode": "private",
            "CgroupnsMode": "private",
            "Init": True,
            "OomScoreAdj": 500,
            "AutoRemove": False,
            "LogConfig": {"Type": "none", "Config": {}},
            "Ulimits": [_ulimit("core", 0)],
        },
    }


def _ulimit(name: str, value: int) -> dict[str, Any]:
    return {"Name": name, "Soft": value, "Hard": value}


def _workspace(volume: str, *, read_only: bool) -> dict[str, Any]:
    return {
        "Type": "volume",
        "Source": volume,
        "Target": str(WORKSPACE),
        "ReadOnly": read_only,
        "VolumeOptions": {"NoCopy": True},
    }


def _meeting(volume: str, role: Role) -> dict[str, Any]:
    if role not in ("judge", "predict"):
        raise SandboxError(f"A container of role {role} has nobody to meet.")
    return {
        "Type": "volume",
        "Source": volume,
        "Target": str(MEETING),
        "ReadOnly": role != "judge",
        "VolumeOptions": {"NoCopy": True},
    }


def _bind(mount: Mount, role: Role) -> dict[str, Any]:
    if mount.writable and role != "prepare":
        raise SandboxError(f"A container of role {role} cannot write to a host folder ({mount.target}).")
    return {
        "Type": "bind",
        "Source": str(mount.source.resolve(strict=True)),
        "Target": str(mount.target),
        "ReadOnly": not mount.writable,
        "BindOptions": {"Propagation": "rprivate"},
    }
